#include "learner/held_out_rounds.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/metrics/eval_stats.h"
#include "proto/config.pb.h"

namespace tactus {

HeldOutRounds::HeldOutRounds(const config::RunConfig& config, std::vector<HeldOutSet> sets)
    : sets_(std::move(sets)),
      every_steps_(static_cast<uint64_t>(config.eval().every_steps())),
      last_step_(static_cast<uint64_t>(config.learner().steps())),
      patience_(absl::Seconds(config.rollout().lease_timeout_s()) * std::max(1, config.rollout().max_attempts())) {}

absl::StatusOr<std::unique_ptr<HeldOutRounds>> HeldOutRounds::Create(const config::RunConfig& config,
                                                                     std::vector<HeldOutSet> sets,
                                                                     const RunFolder& folder) {
  std::unique_ptr<HeldOutRounds> rounds(new HeldOutRounds(config, std::move(sets)));
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> measured, ReadHeldOutSets(folder.held_out()));
  for (const HeldOutRecord& record : measured) {
    rounds->measured_.emplace(record.set, static_cast<uint64_t>(record.step));
  }
  return rounds;
}

int HeldOutRounds::most_samples() const {
  int most = 0;
  for (const HeldOutSet& set : sets_) most = std::max(most, set.samples);
  return most;
}

std::optional<EvalRound> HeldOutRounds::Due(PolicyVersion version) {
  const std::optional<uint64_t> before = std::exchange(published_, version.step);
  bool due = version.step == 0 || version.step == last_step_;
  if (every_steps_ > 0) {
    due = due || version.step % every_steps_ == 0 ||
          (before.has_value() && version.step / every_steps_ > *before / every_steps_);
  }
  if (!due) return std::nullopt;
  EvalRound round{.version = version, .sets = {}, .seed = kHeldOutSeed};
  for (const HeldOutSet& set : sets_) {
    if (measured_.count({set.name, version.step}) == 0) round.sets.push_back(set);
  }
  return round.sets.empty() ? std::nullopt : std::optional(std::move(round));
}

HeldOutRecord HeldOutRounds::RecordOf(PolicyVersion version, const EvalAnswers& answers) const {
  const HeldOutSet& set = *std::ranges::find(sets_, answers.set, &HeldOutSet::name);
  std::vector<int> correct;
  for (const TrajectoryGroup& group : answers.answers) {
    correct.push_back(static_cast<int>(std::ranges::count_if(
        group.completions, [](const Completion& completion) { return completion.reward.correct > 0; })));
  }
  const PassEstimate pass = EstimatePass(set.samples, correct, kHeldOutSeed);
  HeldOutRecord record{.step = static_cast<int64_t>(version.step),
                       .pass1 = pass.pass1.value,
                       .low = pass.pass1.low,
                       .high = pass.pass1.high,
                       .samples = set.samples,
                       .temperature = set.sampling.temperature,
                       .version = VersionName(version),
                       .set = set.name};
  if (pass.pass_k.has_value()) {
    record.pass_k = pass.pass_k->value;
    record.pass_k_low = pass.pass_k->low;
    record.pass_k_high = pass.pass_k->high;
  }
  return record;
}

}  // namespace tactus
