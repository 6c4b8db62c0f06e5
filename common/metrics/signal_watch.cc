#include "common/metrics/signal_watch.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tactus {
namespace {

// Answers as long as this share of what they may be were mostly cut.
constexpr double kCutShare = 0.9;

std::string Cause(const StepRecord& record, int max_completion_tokens) {
  if (record.correct_rate >= 1) return "every answer is right: the questions are too easy for this policy";
  if (record.correct_rate > 0) {
    return absl::StrFormat(
        "of the questions %.0f %% are always answered right, the others never: expected questions "
        "between, or a higher rollout.temperature",
        100 * record.correct_rate);
  }
  std::string cause = absl::StrFormat("no answer is right (reward %.3f)", record.reward_mean);
  if (record.completion_tokens_mean >= kCutShare * max_completion_tokens) {
    absl::StrAppendFormat(&cause, "; answers are cut: %.0f tokens on average of rollout.max_completion_tokens %d",
                          record.completion_tokens_mean, max_completion_tokens);
  }
  if (record.format_rate == 0) {
    absl::StrAppend(&cause,
                    "; none has the form that the task's verifier reads: look at samples.jsonl, and show the "
                    "form in the question or warm the policy up with tactus sft");
  } else {
    absl::StrAppend(&cause,
                    "; they have the right form, so the questions are too hard for this policy: expected "
                    "easier ones, or more answers to each (rollout.completions_per_prompt)");
  }
  return cause;
}

}  // namespace

std::optional<std::string> SignalWatch::Add(const StepRecord& record) {
  if (!(record.zero_signal_share >= 1)) {
    without_ = 0;
    tell_at_ = kSteps;
    return std::nullopt;
  }
  if (++without_ < tell_at_) return std::nullopt;
  tell_at_ *= 2;
  return absl::StrCat(without_, " steps in a row without any signal, up to step ", record.step,
                      ", as all answers to a question earn the same: ", Cause(record, max_completion_tokens_), ".");
}

}  // namespace tactus
