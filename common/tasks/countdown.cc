#include "common/tasks/countdown.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/tasks/answer_text.h"
#include "common/tasks/expression.h"

namespace tactus {
namespace {

Reward Wrong(absl::string_view reason, double format = 0) {
  return {.total = format, .correct = 0, .format = format, .reason = std::string(reason)};
}

// Each given number exactly once, as values: "007" is 7.
bool SameNumbers(std::vector<mpz_class> used, const std::vector<int64_t>& given) {
  if (used.size() != given.size()) return false;
  std::vector<int64_t> sorted = given;
  std::sort(used.begin(), used.end());
  std::sort(sorted.begin(), sorted.end());
  return std::equal(used.begin(), used.end(), sorted.begin(),
                    [](const mpz_class& a, int64_t b) { return a == static_cast<long>(b); });
}

// Applies a drawn operation; false when the result is not a whole number >= 0 of 64 bits.
bool ApplyDrawn(uint32_t op, int64_t a, int64_t b, int64_t* result) {
  switch (op) {
    case 0:
      return !__builtin_add_overflow(a, b, result);
    case 1:
      *result = a - b;
      return *result >= 0;
    case 2:
      return !__builtin_mul_overflow(a, b, result);
    default:
      if (b == 0 || a % b != 0) return false;
      *result = a / b;
      return true;
  }
}

}  // namespace

std::string CountdownKey(const CountdownPuzzle& puzzle) {
  return absl::StrCat("{\"numbers\":[", absl::StrJoin(puzzle.numbers, ","), "],\"target\":", puzzle.target, "}");
}

absl::StatusOr<CountdownPuzzle> ReadPuzzle(const JsonField& object) {
  ASSIGN_OR_RETURN(const JsonField numbers, object.Member("numbers"));
  ASSIGN_OR_RETURN(const JsonField target, object.Member("target"));
  return ReadPuzzle(numbers, target);
}

absl::StatusOr<CountdownPuzzle> ReadPuzzle(const JsonField& numbers, const JsonField& target) {
  CountdownPuzzle puzzle;
  const absl::StatusOr<size_t> count = numbers.ArraySize();
  if (!count.ok() || *count < 1 || *count > 100) return numbers.Expected("an array of 1 to 100 integers");
  for (size_t i = 0; i < *count; ++i) {
    ASSIGN_OR_RETURN(puzzle.numbers.emplace_back(), numbers.Element(i).Integer());
  }
  ASSIGN_OR_RETURN(puzzle.target, target.Integer());
  return puzzle;
}

absl::StatusOr<CountdownPuzzle> ParseCountdownKey(absl::string_view answer_key_json) {
  constexpr absl::string_view kWhere = "countdown answer key";
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(answer_key_json, kWhere, kJsonLineLimits));
  const JsonField key(json, kWhere);
  RETURN_IF_ERROR(key.CheckKeys({"numbers", "target"}));
  return ReadPuzzle(key);
}

absl::StatusOr<Reward> CountdownVerifier::Score(absl::string_view answer_key_json, absl::string_view completion) const {
  ASSIGN_OR_RETURN(const CountdownPuzzle puzzle, ParseCountdownKey(answer_key_json));
  return Score(puzzle, completion);
}

Reward CountdownVerifier::Score(const CountdownPuzzle& puzzle, absl::string_view completion) const {
  const auto answer = LastAnswerTag(completion);
  if (!answer) return Wrong("no_answer");
  if (answer->text.empty()) return Wrong("empty_answer");
  const auto expression = ParseExpression(answer->text);
  if (!expression.ok()) return Wrong(expression.status().message());
  if (!SameNumbers(expression->numbers, puzzle.numbers)) return Wrong("wrong_numbers", format_reward_);
  const mpz_class target(static_cast<long>(puzzle.target));
  if (expression->stated && *expression->stated != target) return Wrong("wrong_stated_value", format_reward_);
  if (!expression->value) return Wrong("division_by_zero", format_reward_);
  if (*expression->value != target) return Wrong("wrong_value", format_reward_);
  return {.total = 1, .correct = 1, .format = 0, .reason = "correct"};
}

std::optional<CountdownPuzzle> DrawCountdown(const CountdownShape& shape, DrawStream& draws) {
  CountdownPuzzle puzzle;
  const auto count = static_cast<size_t>(draws.Between(shape.min_numbers, shape.max_numbers));
  for (size_t i = 0; i < count; ++i) puzzle.numbers.push_back(draws.Between(1, shape.max_number));
  std::vector<int64_t> values = puzzle.numbers;
  while (values.size() > 1) {
    std::swap(values[draws.Below(static_cast<uint32_t>(values.size()))], values.back());
    const int64_t a = values.back();
    values.pop_back();
    int64_t& b = values[draws.Below(static_cast<uint32_t>(values.size()))];
    if (!ApplyDrawn(draws.Below(4), a, b, &b)) return std::nullopt;
  }
  puzzle.target = values.front();
  if (puzzle.target < 1 || puzzle.target > shape.max_target) return std::nullopt;
  return puzzle;
}

}  // namespace tactus
