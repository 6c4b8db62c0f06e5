// Judges a free answer against a reference: the same text, or the same number. For arithmetic and qa.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tasks/task.h"

namespace tactus {

// {"answer": reference}
std::string AnswerKey(absl::string_view reference);

// What counts in a reference answer: the rest of its last "####" line (GSM8K), else the inside of its last \boxed{},
// else all of it; trimmed.
std::string FinalAnswer(absl::string_view reference);

// The answer in a completion is its last mark (<answer></answer>, \boxed{} or "####", see answer_text.h), or the whole
// trimmed text when it has none; a \boxed{} inside another mark is opened. Right, with total = correct = 1, when it is
// the reference's text or both are the same number (number_text.h, exactly). A marked answer that is wrong but of the
// reference's kind (a number where the reference is one, else any text) earns total = format = format_reward. reason is
// one of correct, no_answer, empty_answer, not_a_number, wrong_answer. Thread-safe, stateless.
class AnswerVerifier : public Verifier {
 public:
  explicit AnswerVerifier(double format_reward) : format_reward_(format_reward) {}
  absl::StatusOr<Reward> Score(absl::string_view answer_key_json, absl::string_view completion) const override;

 private:
  double format_reward_;
};

}  // namespace tactus
