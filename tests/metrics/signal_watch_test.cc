#include "common/metrics/signal_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

StepRecord Step(int64_t step, double zero_signal) {
  StepRecord record;
  record.step = step;
  record.zero_signal_share = zero_signal;
  record.reward_mean = record.correct_rate = record.format_rate = 0;
  record.completion_tokens_mean = 20;
  return record;
}

TEST(SignalWatchTest, TellsAfterFiveStepsThenAfterTwiceAsMany) {
  SignalWatch watch(100);
  std::vector<int64_t> told;
  for (int64_t step = 1; step <= 40; ++step) {
    if (watch.Add(Step(step, step == 7 ? 0.99 : 1)).has_value()) told.push_back(step);
  }
  EXPECT_THAT(told, ElementsAre(5, 12, 17, 27));
}

TEST(SignalWatchTest, AStepWithoutTheNumberIsNoStepWithoutSignal) {
  SignalWatch watch(100);
  for (int64_t step = 1; step <= 40; ++step) EXPECT_FALSE(watch.Add(Step(step, kAbsent)).has_value());
}

// The sentence after `steps` like this one.
std::string Told(const StepRecord& record) {
  SignalWatch watch(100);
  for (int i = 1; i < SignalWatch::kSteps; ++i) watch.Add(record);
  return watch.Add(record).value_or("nothing");
}

TEST(SignalWatchTest, SaysWhatItLooksLike) {
  StepRecord record = Step(9, 1);
  EXPECT_THAT(Told(record), HasSubstr("5 steps in a row without any signal, up to step 9"));
  EXPECT_THAT(Told(record), HasSubstr("no answer is right (reward 0.000); none has the form"));
  EXPECT_THAT(Told(record), Not(HasSubstr("cut")));
  record.completion_tokens_mean = 97;
  EXPECT_THAT(Told(record), HasSubstr("answers are cut: 97 tokens on average of rollout.max_completion_tokens 100"));
  record.format_rate = 0.5;
  EXPECT_THAT(Told(record), HasSubstr("too hard"));
  record.correct_rate = 0.25;
  EXPECT_THAT(Told(record), HasSubstr("25 % are always answered right"));
  record.correct_rate = 1;
  EXPECT_THAT(Told(record), HasSubstr("too easy"));
}

}  // namespace
}  // namespace tactus
