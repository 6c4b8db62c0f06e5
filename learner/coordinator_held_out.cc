// What rank 0 does with answers to held-out prompts.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "learner/coordinator.h"

namespace tactus {
namespace {

constexpr absl::Duration kSlice = absl::Seconds(1);
constexpr char kTooLate[] = "the rest did not come in time";

std::string OfSet(const std::string& name) { return name.empty() ? "" : absl::StrCat(" of set ", name); }

}  // namespace

// Until then the actors have the version that is measured: nobody's answer mixes two, and what a lost actor held can be
// given to another. With rollout.max_staleness_steps = 0 the round's prompts went out before those of the step that was
// just trained, so as a rule it is over.
void Coordinator::AwaitMeasured() {
  if (!server_->AwaitEvaluation(rounds_->patience())) server_->GiveUpEvaluation(kTooLate);
}

absl::Status Coordinator::AwaitRound() {
  const absl::Time until = MonotonicNow() + rounds_->patience();
  while (!server_->AwaitEvaluation(kSlice)) {
    if (rank_.StopAsked()) server_->EndEvaluations();
    if (MonotonicNow() > until) server_->GiveUpEvaluation(kTooLate);
  }
  return PollHeldOut();
}

absl::Status Coordinator::EndHeldOut(bool wait) {
  if (!wait || rank_.StopAsked()) server_->EndEvaluations();
  if (!rounds_->on()) return absl::OkStatus();
  RETURN_IF_ERROR(AwaitRound());  // which the last version waits for
  if (!wait) return absl::OkStatus();
  RETURN_IF_ERROR(publishing_->Drain());
  return AwaitRound();
}

absl::Status Coordinator::PollHeldOut() {
  while (std::optional<EvalResult> result = server_->TakeEvaluation()) {
    const bool complete = result->given_up.empty();
    rank_.metrics().Add(Metric::kEvalRounds, 1, complete ? "measured" : "given_up");
    for (EvalAnswers& answers : result->sets) {
      RETURN_IF_ERROR(RecordHeldOut(result->version, result->took, std::move(answers)));
    }
    if (!complete) {
      TACTUS_LOG(WARNING) << "after step " << result->version.step
                          << ": the held-out evaluation was given up: " << result->given_up;
    }
  }
  return absl::OkStatus();
}

absl::Status Coordinator::RecordHeldOut(PolicyVersion version, absl::Duration took, EvalAnswers answers) {
  RETURN_IF_ERROR(CheckRewards(
      absl::StrCat("the held-out evaluation", OfSet(answers.set), " after step ", version.step), answers.answers,
      [&](TrajectoryGroup& group) { return prompts_->CorrectHeldOut(answers.set, group); }));
  const HeldOutRecord record = rounds_->RecordOf(version, answers);
  RETURN_IF_ERROR(recorder_->RecordHeldOut(record));
  TACTUS_LOG(INFO) << absl::StrFormat("after step %d: held-out pass@1 %.3f [%.3f, %.3f]%s, answered in %.1f s",
                                      record.step, record.pass1, record.low, record.high, OfSet(record.set),
                                      absl::ToDoubleSeconds(took));
  if (record.set.empty()) KeepIfBest(record);
  return absl::OkStatus();
}

// That a disk cannot hold one checkpoint more is no reason to stop training.
void Coordinator::KeepIfBest(const HeldOutRecord& record) {
  if (record.step == 0) return;
  const RunFolder& folder = options().folder;
  const std::string path = absl::StrCat(folder.checkpoints(), "/", CheckpointName(record.step));
  unkept_.reset();
  if (!IsFolder(path)) {
    unkept_ = record;  // it is still being written, or was never to be
    return;
  }
  const absl::Status kept = tactus::KeepIfBest(folder, path, record);
  if (!kept.ok()) TACTUS_LOG(WARNING) << "the best checkpoint is not kept: " << kept.message();
}

}  // namespace tactus
