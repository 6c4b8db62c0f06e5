#include "common/tasks/countdown_trace.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tactus {
namespace {

// Draws of one try before the search counts as having tried everything.
constexpr int kMaxRedraws = 500;

struct Term {
  int64_t value = 0;
  std::string text;  // "7", or "(7+5)" for a result
};

struct Try {
  std::string steps;       // "7+5=12 12*3=36"
  std::string expression;  // "(7+5)*3"
  int64_t value = 0;
};

// None: the result is not whole, or out of range. a >= b.
std::optional<int64_t> Apply(char op, int64_t a, int64_t b) {
  if (op == '/' && (b == 0 || a % b != 0)) return std::nullopt;
  const int64_t result = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
  return result <= kMaxTraceValue ? std::optional(result) : std::nullopt;
}

// Joins two drawn terms by a drawn operation until one is left. None: some step left the allowed values.
std::optional<Try> DrawTry(std::vector<Term> terms, DrawStream& draws) {
  Try out;
  while (terms.size() > 1) {
    const size_t first = draws.Below(static_cast<uint32_t>(terms.size()));
    Term a = std::move(terms[first]);
    terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(first));
    const size_t second = draws.Below(static_cast<uint32_t>(terms.size()));
    Term b = std::move(terms[second]);
    terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(second));
    // Larger first; of equal values the longer text, so that drawing them the other way round gives the same line.
    if (std::pair(a.value, a.text.size()) < std::pair(b.value, b.text.size())) std::swap(a, b);
    const char op = "+-*/"[draws.Below(4)];
    const std::optional<int64_t> value = Apply(op, a.value, b.value);
    if (!value) return std::nullopt;
    absl::StrAppend(&out.steps, out.steps.empty() ? "" : " ", a.value, absl::string_view(&op, 1), b.value, "=", *value);
    out.expression = absl::StrCat(a.text, absl::string_view(&op, 1), b.text);
    out.value = *value;
    terms.push_back({*value, absl::StrCat("(", out.expression, ")")});
  }
  return out;
}

}  // namespace

std::string CompactCountdownPrompt(const CountdownPuzzle& puzzle) {
  return absl::StrCat(absl::StrJoin(puzzle.numbers, " "), "=", puzzle.target, ":");
}

absl::StatusOr<std::string> CountdownTrace(const CountdownPuzzle& puzzle, DrawStream& draws) {
  std::vector<Term> terms;
  for (const int64_t number : puzzle.numbers) {
    if (number < 0 || number > kMaxTraceValue) {
      return absl::UnimplementedError(absl::StrCat("task.max_number: worked countdown answers exist for numbers up to ",
                                                   kMaxTraceValue, ", found ", number));
    }
    terms.push_back({number, absl::StrCat(number)});
  }
  std::string trace, last;
  std::set<std::string> tried;
  for (int redraws = 0, tries = 0; redraws < kMaxRedraws && tries < kMaxTries; ++redraws) {
    const std::optional<Try> drawn = DrawTry(terms, draws);
    if (!drawn || !tried.insert(drawn->steps).second) continue;
    redraws = 0;
    ++tries;
    last = drawn->expression;
    const bool found = drawn->value == puzzle.target;
    absl::StrAppend(&trace, drawn->steps, found ? " yes\n" : " no\n");
    if (found || draws.Below(100) < kGiveUpPercent) break;
  }
  return absl::StrCat(trace, "<answer>", last, "</answer>");
}

}  // namespace tactus
