// Judges a free answer against a reference: the same text, or the same number. For arithmetic and qa.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tasks/task.h"

namespace tactus {

// {"answer": reference}; a verifier takes a number there, too, and of a text its FinalAnswer.
std::string AnswerKey(absl::string_view reference);

// What counts in a reference answer: its last mark, as in a completion, a box in it opened; else all of it, trimmed.
std::string FinalAnswer(absl::string_view reference);

// The answer in a completion is its last mark (<answer></answer>, \boxed{} or "####", see answer_text.h), or the whole
// trimmed text when it has none; a \boxed{} inside another mark is opened. Right, with total = correct = 1, when it is
// the reference's text but for what both are dressed in (answer_dress.h), or both are the same number (number_text.h):
// what math-verify accepts for numbers (tests/goldens/tasks/number_verdicts.jsonl says where we differ and why). A
// marked answer that is wrong but of the reference's kind (a number where the reference is one, else any text) earns
// total = format = format_reward. reason is one of correct, no_answer, empty_answer, not_a_number, wrong_answer.
// Thread-safe, stateless.
class AnswerVerifier : public Verifier {
 public:
  explicit AnswerVerifier(double format_reward) : format_reward_(format_reward) {}
  absl::StatusOr<Reward> Score(absl::string_view answer_key_json, absl::string_view completion) const override;

 private:
  double format_reward_;
};

}  // namespace tactus
