// Credit by VINE in whole jobs on the quick start's policy: it trains, and no bit depends on the number of actors, on a
// stop or on a kill.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <regex>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "tests/e2e/job.h"

namespace tactus {
namespace {

std::vector<std::string> Arguments(const std::string& strategy, int actors) {
  std::vector<std::string> arguments = {"--actors", std::to_string(actors)};
  for (const std::string& set : {"credit.strategy=" + strategy, std::string("credit.vine_positions=4"),
                                 std::string("credit.vine_samples=4"), std::string("eval.max_prompts=0")}) {
    arguments.insert(arguments.end(), {"--set", set});
  }
  return arguments;
}

// What nothing interrupted, with one actor.
const Job& Reference() {
  static Job* const job = [] {
    Job* made = new Job("vine", Arguments("VINE", 1));
    EXPECT_EQ(made->Wait(), 0);
    return made;
  }();
  return *job;
}

TEST(VineE2eTest, TrainsByItsCredit) {
  const std::vector<StepRecord> steps = Reference().Steps();
  ASSERT_EQ(steps.size(), static_cast<size_t>(Job::kDefaultSteps));
  double gradient = 0;
  for (const StepRecord& step : steps) {
    EXPECT_EQ(step.mismatch_max, 0) << "step " << step.step;
    EXPECT_GT(step.credit_amplified_share, 0) << "step " << step.step;
    EXPECT_LE(step.credit_amplified_share, 0.4) << "step " << step.step;
    gradient += step.grad_norm;
  }
  EXPECT_GT(gradient, 0);
  Job uniform("vine_uniform", Arguments("UNIFORM", 1));
  ASSERT_EQ(uniform.Wait(), 0);
  EXPECT_EQ(uniform.Steps()[0].reward_mean, steps[0].reward_mean) << "continuations change no answer";
  EXPECT_NE(uniform.WeightsHash(), Reference().WeightsHash()) << "the credit did nothing";
}

// The amplified tokens are chunks from their beginning on, of which the last one may be cut.
TEST(VineE2eTest, AmplifiesChunks) {
  const std::vector<SampleRecord> samples = ReadSamples(Reference().folder().samples(), 1000, 0).value();
  ASSERT_GE(samples.size(), 8u);
  int amplified = 0;
  for (const SampleRecord& sample : samples) {
    const auto tokens = static_cast<int>(sample.gamma.size());
    const int chunks = std::min(4, tokens);
    int chosen = 0, cut = 0;
    for (int m = 0; m < chunks; ++m) {
      const int begin = m * tokens / chunks, end = (m + 1) * tokens / chunks;
      int in_chunk = 0;
      for (int t = begin; t < end; ++t) {
        if (sample.gamma[t] == 1) continue;
        EXPECT_EQ(sample.gamma[t], 1.5);
        EXPECT_EQ(in_chunk, t - begin) << "one between others is left out";
        ++in_chunk;
      }
      chosen += in_chunk;
      cut += in_chunk > 0 && in_chunk < end - begin ? 1 : 0;
    }
    EXPECT_LE(cut, 1);
    EXPECT_LE(chosen, std::max(1, 4 * tokens / 10));
    amplified += chosen > 0 ? 1 : 0;
  }
  EXPECT_GT(amplified, 0);
}

TEST(VineE2eTest, ContinuationsAreCountedApart) {
  const std::string log = ReadFile(Reference().folder().root + "/logs/actor-0.log").value();
  std::smatch counts;
  ASSERT_TRUE(std::regex_search(log, counts, std::regex("submitted 24 groups, (\\d+) tokens \\(and (\\d+) of"))) << log;
  double trained = 0;
  for (const StepRecord& step : Reference().Steps()) trained += step.completion_tokens_mean * 24;
  EXPECT_NEAR(std::stod(counts[1]), trained, 1e-6 * trained);
  EXPECT_GT(std::stod(counts[2]), trained) << "of 4 places, 4 times each";
}

TEST(VineE2eTest, NeitherActorsNorAStopNorAKillChangeABit) {
  Job job("vine_stopped", Arguments("VINE", 3));
  bool killed = false, stopped = false;
  EXPECT_EQ(job.Wait([&] {
    const size_t steps = job.Steps().size();
    if (!killed && steps >= 1) {
      const std::vector<int> actors = job.Actors();
      if (!actors.empty()) killed = ::kill(actors[0], SIGKILL) == 0;
    }
    if (stopped || steps < 2) return;
    job.Signal(SIGTERM);
    stopped = true;
  }),
            130);
  EXPECT_TRUE(killed);
  EXPECT_LT(job.Steps().size(), static_cast<size_t>(Job::kDefaultSteps)) << "over before it could be stopped";
  Job resumed("vine_stopped", {"--actors", "2"}, /*fresh=*/false);
  ASSERT_EQ(resumed.Wait(), 0);
  EXPECT_EQ(resumed.WeightsHash(), Reference().WeightsHash());
}

}  // namespace
}  // namespace tactus
