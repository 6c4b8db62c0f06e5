// Countdown: reach the target with every given number used exactly once, by + - * / and parentheses.
//
// CountdownVerifier judges an answer; DrawCountdown makes puzzles that have a solution by construction.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/json_field.h"
#include "common/tasks/draw_stream.h"
#include "common/tasks/task.h"

namespace tactus {

struct CountdownPuzzle {
  std::vector<int64_t> numbers;  // in the order shown
  int64_t target = 0;
};

// {"numbers":[...],"target":n}, and back. InvalidArgument names the field; numbers may be 1 to 100 of any 64-bit value.
std::string CountdownKey(const CountdownPuzzle& puzzle);
absl::StatusOr<CountdownPuzzle> ParseCountdownKey(absl::string_view answer_key_json);
// The same from the members of an object, which may have others, and from wherever the two stand.
absl::StatusOr<CountdownPuzzle> ReadPuzzle(const JsonField& object);
absl::StatusOr<CountdownPuzzle> ReadPuzzle(const JsonField& numbers, const JsonField& target);

// The answer is the text of the last complete <answer>...</answer> (see answer_text.h) in the grammar of expression.h.
// A right answer earns total = correct = 1 and format = 0. One that parses but is wrong earns total = format =
// format_reward. Everything else earns 0. reason is one of correct, no_answer, empty_answer, too_long, bad_character,
// too_deep, syntax_error, wrong_numbers, wrong_stated_value, division_by_zero, wrong_value. Thread-safe, stateless.
class CountdownVerifier : public Verifier {
 public:
  explicit CountdownVerifier(double format_reward) : format_reward_(format_reward) {}

  absl::StatusOr<Reward> Score(absl::string_view answer_key_json, absl::string_view completion) const override;
  // The same for a key already parsed.
  Reward Score(const CountdownPuzzle& puzzle, absl::string_view completion) const;

 private:
  double format_reward_;
};

struct CountdownShape {
  int min_numbers = 3;
  int max_numbers = 4;
  int max_number = 99;
  int max_target = 100;
};

// One attempt at a puzzle: numbers in [1, max_number], joined by drawn operations. None when a step is not a whole
// number of at least 0 or the result is outside [1, max_target]; so a puzzle that comes back has a solution with whole
// steps.
std::optional<CountdownPuzzle> DrawCountdown(const CountdownShape& shape, DrawStream& draws);

}  // namespace tactus
