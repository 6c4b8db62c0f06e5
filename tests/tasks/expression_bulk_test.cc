// Random expressions against evaluators that share nothing with the parser: the tree the text was written from, in
// 64-bit fractions, and for mutated text a shunting-yard in long double.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "common/tasks/countdown.h"
#include "common/tasks/expression.h"

namespace tactus {
namespace {

using Random = std::mt19937_64;

int Draw(Random& random, int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); }

struct Fraction {
  int64_t top = 0;
  int64_t bottom = 1;
};

std::optional<Fraction> Combine(char op, const Fraction& a, const Fraction& b) {
  if (op == '+') return Fraction{a.top * b.bottom + b.top * a.bottom, a.bottom * b.bottom};
  if (op == '-') return Fraction{a.top * b.bottom - b.top * a.bottom, a.bottom * b.bottom};
  if (op == '*') return Fraction{a.top * b.top, a.bottom * b.bottom};
  if (b.top == 0) return std::nullopt;
  return Fraction{a.top * b.bottom, a.bottom * b.top};
}

struct Tree {
  std::string text;
  int precedence = 3;  // of the outermost operation: 1 sum, 2 product, 3 number
  std::optional<Fraction> value;
  std::vector<int64_t> numbers;
};

std::string Sign(Random& random, char op) {
  if (Draw(random, 4) == 0) {
    if (op == '*') return "\xC3\x97";
    if (op == '/') return "\xC3\xB7";
    if (op == '-') return "\xE2\x88\x92";
  }
  return std::string(1, op);
}

// At most 8 numbers up to 99: no part of an unreduced fraction exceeds 99^8 * 2^7 < 2^63.
Tree RandomTree(Random& random, int numbers) {
  if (numbers == 1) {
    const int64_t number = Draw(random, 100);
    return {std::to_string(number), 3, Fraction{number, 1}, {number}};
  }
  const int left_count = 1 + Draw(random, numbers - 1);
  Tree left = RandomTree(random, left_count), right = RandomTree(random, numbers - left_count);
  const char op = "+-*/"[Draw(random, 4)];
  const int precedence = op == '+' || op == '-' ? 1 : 2;
  const bool bracket_left = left.precedence < precedence || Draw(random, 5) == 0;
  const bool bracket_right = right.precedence <= precedence || Draw(random, 5) == 0;
  Tree out;
  const std::string gap(static_cast<size_t>(Draw(random, 3)), ' ');
  out.text = (bracket_left ? "(" + left.text + gap + ")" : left.text) + gap + Sign(random, op) + gap +
             (bracket_right ? "(" + gap + right.text + ")" : right.text);
  out.precedence = precedence;
  if (left.value && right.value) out.value = Combine(op, *left.value, *right.value);
  out.numbers = left.numbers;
  out.numbers.insert(out.numbers.end(), right.numbers.begin(), right.numbers.end());
  return out;
}

TEST(ExpressionBulk, AgreesWithFractionsOnRandomExpressions) {
  Random random(1);
  int undefined = 0;
  for (int i = 0; i < 100'000; ++i) {
    const Tree tree = RandomTree(random, 1 + Draw(random, 8));
    const auto parsed = ParseExpression(tree.text);
    ASSERT_TRUE(parsed.ok()) << tree.text << ": " << parsed.status();
    ASSERT_EQ(parsed->numbers.size(), tree.numbers.size()) << tree.text;
    for (size_t n = 0; n < tree.numbers.size(); ++n) ASSERT_EQ(parsed->numbers[n], tree.numbers[n]) << tree.text;
    ASSERT_EQ(parsed->value.has_value(), tree.value.has_value()) << tree.text;
    if (!tree.value) {
      ++undefined;
      continue;
    }
    mpq_class expected(mpz_class(static_cast<long>(tree.value->top)), mpz_class(static_cast<long>(tree.value->bottom)));
    expected.canonicalize();
    ASSERT_EQ(*parsed->value, expected) << tree.text;
    // The verifier says the same: right exactly when the value is the target.
    const int64_t target = Draw(random, 2) == 0 && expected.get_den() == 1 ? expected.get_num().get_si() : 17;
    const Reward reward = CountdownVerifier(0.05).Score({tree.numbers, target}, "<answer>" + tree.text + "</answer>");
    ASSERT_EQ(reward.correct, expected == target ? 1 : 0) << tree.text << " for " << target;
    ASSERT_EQ(reward.total, expected == target ? 1 : 0.05) << tree.text;
  }
  EXPECT_GT(undefined, 100);
}

// Shunting-yard over ASCII text that ParseExpression accepted; NaN or infinity where a division by zero occurs.
long double ShuntingYard(const std::string& text) {
  std::vector<long double> values;
  std::vector<char> operators;
  const auto rank = [](char op) { return op == '(' ? 0 : op == '+' || op == '-' ? 1 : 2; };
  const auto reduce = [&] {
    const long double b = values.back();
    values.pop_back();
    long double& a = values.back();
    const char op = operators.back();
    operators.pop_back();
    if (op == '/' && b == 0) a = NAN;
    a = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '=') break;
    if (c >= '0' && c <= '9') {
      long double number = 0;
      for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) number = number * 10 + (text[i] - '0');
      --i;
      values.push_back(number);
    } else if (c == '(') {
      operators.push_back(c);
    } else if (c == ')') {
      while (operators.back() != '(') reduce();
      operators.pop_back();
    } else if (c != ' ') {
      while (!operators.empty() && rank(operators.back()) >= rank(c)) reduce();
      operators.push_back(c);
    }
  }
  while (!operators.empty()) reduce();
  return values.back();
}

std::string Mutate(Random& random, std::string text) {
  constexpr char kLikely[] = "0123456789+-*/()= ";
  for (int edits = 1 + Draw(random, 3); edits > 0; --edits) {
    const size_t at = static_cast<size_t>(Draw(random, static_cast<int>(text.size()) + 1));
    const char c = Draw(random, 4) == 0 ? static_cast<char>(Draw(random, 256)) : kLikely[Draw(random, 18)];
    const int kind = Draw(random, 3);
    if (kind == 0) text.insert(at, 1, c);
    if (kind == 1 && at < text.size()) text[at] = c;
    if (kind == 2 && at < text.size()) text.erase(at, 1 + static_cast<size_t>(Draw(random, 4)));
  }
  return text;
}

TEST(ExpressionBulk, MutatedTextNeverCrashesAndIsNeverMisjudged) {
  Random random(2);
  int parsed_count = 0, refused = 0;
  for (int i = 0; i < 100'000; ++i) {
    const Tree tree = RandomTree(random, 2 + Draw(random, 3));
    const std::string text = Mutate(random, tree.text);
    const auto parsed = ParseExpression(text);
    const Reward reward =
        CountdownVerifier(0.05).Score({tree.numbers, 17}, Mutate(random, "<answer>" + text + "</answer>"));
    ASSERT_TRUE(reward.total == 0 || reward.total == 0.05 || reward.total == 1);
    if (!parsed.ok()) {
      ++refused;
      continue;
    }
    ++parsed_count;
    if (text.find_first_not_of("0123456789+-*/()= ") != std::string::npos) continue;  // other signs
    const long double expected = ShuntingYard(text);
    if (!parsed->value) {
      // An exact zero divisor can be a tiny rounding error in floating point: then the result is huge.
      EXPECT_TRUE(!std::isfinite(expected) || std::fabs(expected) > 1e12L || std::fabs(expected) < 1e-12L) << text;
    } else if (std::isfinite(expected)) {
      const long double value = parsed->value->get_d();
      EXPECT_NEAR(static_cast<double>(value), static_cast<double>(expected),
                  1e-9 * (1 + std::fabs(static_cast<double>(value))))
          << text;
    }
  }
  EXPECT_GT(parsed_count, 5'000);
  EXPECT_GT(refused, 5'000);
}

}  // namespace
}  // namespace tactus
