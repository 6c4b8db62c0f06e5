#include "learner/held_out_rounds.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/metrics/eval_stats.h"
#include "common/tasks/held_out_prompts.h"
#include "proto/config.pb.h"

namespace tactus {

HeldOutRounds::HeldOutRounds(const config::RunConfig& config, std::shared_ptr<const std::vector<Prompt>> prompts)
    : prompts_(std::move(prompts)),
      every_steps_(static_cast<uint64_t>(config.eval().every_steps())),
      last_step_(static_cast<uint64_t>(config.learner().steps())),
      patience_(absl::Seconds(config.rollout().lease_timeout_s()) * std::max(1, config.rollout().max_attempts())),
      round_{.version = {},
             .prompts = prompts_,
             .samples = config.eval().samples_per_prompt(),
             .seed = kHeldOutSeed,
             .sampling = {.temperature = static_cast<float>(config.eval().temperature()),
                          .top_p = static_cast<float>(config.rollout().top_p()),
                          .top_k = config.rollout().top_k()}} {}

absl::StatusOr<std::unique_ptr<HeldOutRounds>> HeldOutRounds::Create(const config::RunConfig& config,
                                                                     std::shared_ptr<const std::vector<Prompt>> prompts,
                                                                     const RunFolder& folder) {
  std::unique_ptr<HeldOutRounds> rounds(new HeldOutRounds(config, std::move(prompts)));
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> measured, ReadHeldOut(folder.held_out()));
  for (const HeldOutRecord& record : measured) rounds->measured_.insert(static_cast<uint64_t>(record.step));
  return rounds;
}

std::optional<EvalRound> HeldOutRounds::Due(PolicyVersion version) {
  const std::optional<uint64_t> before = std::exchange(published_, version.step);
  if (!on() || measured_.count(version.step) > 0) return std::nullopt;
  bool due = version.step == 0 || version.step == last_step_;
  if (every_steps_ > 0) {
    due = due || version.step % every_steps_ == 0 ||
          (before.has_value() && version.step / every_steps_ > *before / every_steps_);
  }
  if (!due) return std::nullopt;
  EvalRound round = round_;
  round.version = version;
  return round;
}

HeldOutRecord HeldOutRounds::RecordOf(const EvalResult& result) const {
  std::vector<int> correct;
  for (const TrajectoryGroup& group : result.answers) {
    correct.push_back(static_cast<int>(std::ranges::count_if(
        group.completions, [](const Completion& completion) { return completion.reward.correct > 0; })));
  }
  const PassEstimate pass = EstimatePass(round_.samples, correct, round_.seed);
  HeldOutRecord record{.step = static_cast<int64_t>(result.version.step),
                       .pass1 = pass.pass1.value,
                       .low = pass.pass1.low,
                       .high = pass.pass1.high,
                       .samples = round_.samples,
                       .temperature = round_.sampling.temperature,
                       .version = VersionName(result.version)};
  if (pass.pass_k.has_value()) {
    record.pass_k = pass.pass_k->value;
    record.pass_k_low = pass.pass_k->low;
    record.pass_k_high = pass.pass_k->high;
  }
  return record;
}

}  // namespace tactus
