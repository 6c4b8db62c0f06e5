#include "common/tasks/countdown_trace.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "common/tasks/task.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

std::unique_ptr<Task> QuickStart() {
  config::TaskOptions options;
  options.set_name("countdown");
  options.set_max_numbers(3);
  options.set_max_number(12);
  options.set_prompt_style("compact");
  auto task = CreateTask(options);
  EXPECT_TRUE(task.ok()) << task.status();
  return *std::move(task);
}

// Checks "a op b=c" with a >= b; returns c.
int64_t CheckStep(const std::string& step) {
  static const std::regex kStep("([0-9]+)([-+*/])([0-9]+)=([0-9]+)");
  std::smatch m;
  EXPECT_TRUE(std::regex_match(step, m, kStep)) << step;
  if (m.size() != 5) return -1;
  const int64_t a = std::stoll(m[1]), b = std::stoll(m[3]), c = std::stoll(m[4]);
  EXPECT_GE(a, b) << step;
  EXPECT_LE(c, kMaxTraceValue) << step;
  const char op = m[2].str()[0];
  const int64_t back = op == '+' ? c - b : op == '-' ? c + b : op == '*' ? (c == a * b ? a : -1) : c * b;
  EXPECT_EQ(back, a) << step;
  return c;
}

TEST(CountdownTrace, EveryLineIsTrueAndTheVerdictIsTheVerifiers) {
  const auto task = QuickStart();
  const std::unique_ptr<Verifier> verifier = CreateVerifier("countdown", 0.05).value();
  int solved = 0;
  size_t longest = 0;
  constexpr int kTraces = 4000;
  for (size_t i = 0; i < kTraces; ++i) {
    const TaskExample example = task->Example(Split::kTrain, i).value();
    const int64_t target = ParseCountdownKey(example.answer_key_json)->target;
    const auto trace = task->Trace(i, 0);
    ASSERT_TRUE(trace.ok()) << trace.status();
    std::istringstream lines(*trace);
    std::string first, second, verdict, line;
    std::set<std::string> seen;
    bool found = false;
    while (std::getline(lines, line) && line.rfind("<answer>", 0) != 0) {
      EXPECT_FALSE(found) << "goes on after the solution: " << *trace;
      EXPECT_TRUE(seen.insert(line).second) << "repeats: " << *trace;
      std::istringstream words(line);
      ASSERT_TRUE(words >> first >> second >> verdict) << line;
      CheckStep(first);
      found = CheckStep(second) == target;
      EXPECT_EQ(verdict, found ? "yes" : "no") << *trace;
    }
    EXPECT_TRUE(!seen.empty() && seen.size() <= static_cast<size_t>(kMaxTries)) << *trace;
    const Reward reward = verifier->Score(example.answer_key_json, *trace).value();
    EXPECT_EQ(reward.reason, found ? "correct" : "wrong_value") << *trace;
    solved += found;
    longest = std::max(longest, seen.size());
  }
  // The header's 41 %, within four standard errors.
  EXPECT_NEAR(solved / double{kTraces}, 0.41, 4 * std::sqrt(0.41 * 0.59 / kTraces));
  EXPECT_GE(longest, 10u);
}

TEST(CountdownTrace, VariantsDifferAndRepeat) {
  const auto task = QuickStart();
  std::set<std::string> traces;
  for (uint64_t variant = 0; variant < 50; ++variant) {
    traces.insert(*task->Trace(5, variant));
    EXPECT_EQ(*task->Trace(5, variant), *task->Trace(5, variant));
  }
  EXPECT_GT(traces.size(), 40u);
}

TEST(CountdownTrace, WorksForFourNumbers) {
  DrawStream draws(1, DataKind::kTrace, 0);
  const CountdownPuzzle puzzle{{2, 3, 4, 5}, 14};
  for (int i = 0; i < 200; ++i) {
    const std::string trace = *CountdownTrace(puzzle, draws);
    const Reward reward = CountdownVerifier(0.05).Score(puzzle, trace);
    EXPECT_EQ(reward.reason, trace.find(" yes\n") != std::string::npos ? "correct" : "wrong_value") << trace;
  }
}

TEST(CountdownTrace, IsUnimplementedWhereThereIsNone) {
  config::TaskOptions options;
  options.set_name("countdown");
  EXPECT_EQ((*CreateTask(options))->Trace(0, 0).status().code(), absl::StatusCode::kUnimplemented);
  DrawStream draws(1, DataKind::kTrace, 0);
  EXPECT_EQ(CountdownTrace({{1, 2, 151}, 3}, draws).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace tactus
