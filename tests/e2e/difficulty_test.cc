// rollout.difficulty_floor in whole jobs: what is asked follows from the answers by the documented rule, and in
// synchronous mode no bit depends on the number of actors or on a kill.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/data/shuffled_order.h"
#include "tests/e2e/job.h"

namespace tactus {
namespace {

constexpr int kQuestions = 5;
constexpr int kSteps = 10;
constexpr double kFloor = 0.25;

// Two prompts of two answers a step, so that samples.jsonl holds all of them.
std::vector<std::string> Arguments(int actors, bool replace) {
  std::vector<std::string> arguments = {"--actors", std::to_string(actors)};
  for (const std::string& set :
       {absl::StrCat("learner.steps=", kSteps), absl::StrCat("task.train_size=", kQuestions),
        absl::StrCat("rollout.difficulty_floor=", kFloor), std::string("rollout.prompts_per_step=2"),
        std::string("rollout.completions_per_prompt=2"), std::string("eval.max_prompts=0"),
        absl::StrCat("rollout.max_replaced_groups=", replace ? 1 : 0)}) {
    arguments.insert(arguments.end(), {"--set", set});
  }
  return arguments;
}

// Of each step, how many of the answers to each of its prompts were right.
std::map<int64_t, std::map<uint64_t, int>> Asked(const Job& job) {
  std::map<int64_t, std::map<uint64_t, int>> steps;
  const absl::StatusOr<std::vector<SampleRecord>> samples = ReadSamples(job.folder().samples(), 1000, 0);
  EXPECT_TRUE(samples.ok()) << samples.status();
  if (!samples.ok()) return steps;
  for (const SampleRecord& sample : *samples) steps[sample.step][sample.prompt_id] += sample.correct ? 1 : 0;
  return steps;
}

// The rule as docs/configuration.md has it, in doubles.
void ExpectFollowsTheRule(const Job& job) {
  const auto steps = Asked(job);
  ASSERT_EQ(steps.size(), static_cast<size_t>(kSteps));
  ShuffledOrder order(/*seed=*/1, kQuestions);
  std::map<uint64_t, double> rates;  // by question
  uint64_t place = 0, passed_over = 0;
  for (const auto& [step, prompts] : steps) {
    ASSERT_EQ(prompts.size(), 2u) << "step " << step;
    for (const auto& [id, right] : prompts) {
      for (;; ++place, ++passed_over) {
        const auto rate = rates.find(order.At(place));
        if (rate == rates.end()) break;
        const double draw = TokenDraw(1, place, 0, 0, DrawPurpose::kDifficulty)[0] * 0x1.0p-32;
        if (draw < std::max(kFloor, 4 * rate->second * (1 - rate->second))) break;
      }
      ASSERT_EQ(id, place++) << "step " << step;
    }
    for (const auto& [id, right] : prompts) {
      const uint64_t question = order.At(id);
      rates[question] = rates.contains(question) ? (rates[question] + right / 2.0) / 2 : right / 2.0;
    }
  }
  EXPECT_GT(passed_over, 5u);
  EXPECT_EQ(job.Steps().back().prompts_passed_over, static_cast<double>(passed_over));
  const auto never = std::ranges::count_if(rates, [](const auto& rate) { return rate.second == 0; });
  EXPECT_NEAR(job.Steps().back().prompts_never_solved_share,
              static_cast<double>(never) / static_cast<double>(rates.size()), 1e-12);
}

// Kills the whole job once it has trained so many steps, and lets it go on with another number of actors.
std::string KilledAndResumed(const std::string& name, bool replace) {
  {
    Job job(name, Arguments(2, replace));
    bool killed = false;
    job.Wait([&] {
      if (killed || job.Steps().size() < 5) return;
      job.Signal(SIGKILL);  // takes its children with it
      killed = true;
    });
    EXPECT_TRUE(killed) << "the run was over before it could be killed";
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  Job again(name, {"--actors", "1"}, /*fresh=*/false);
  EXPECT_EQ(again.Wait(), 0);
  if (!replace) ExpectFollowsTheRule(again);
  return again.WeightsHash();
}

TEST(DifficultyTest, WhatIsAskedFollowsFromTheAnswersThroughAKill) {
  Job whole("difficulty", Arguments(1, /*replace=*/false));
  ASSERT_EQ(whole.Wait(), 0);
  ExpectFollowsTheRule(whole);
  EXPECT_EQ(KilledAndResumed("difficulty_killed", /*replace=*/false), whole.WeightsHash());
}

TEST(DifficultyTest, GroupsThatAreReplacedCountToo) {
  Job whole("difficulty_replacing", Arguments(3, /*replace=*/true));
  ASSERT_EQ(whole.Wait(), 0);
  const StepRecord last = whole.Steps().back();
  EXPECT_GT(last.groups_replaced, 2);
  EXPECT_GT(last.prompts_passed_over, 5);
  EXPECT_EQ(KilledAndResumed("difficulty_replacing_killed", /*replace=*/true), whole.WeightsHash());
}

}  // namespace
}  // namespace tactus
