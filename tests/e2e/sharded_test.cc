// Jobs whose ranks divide the optimizer among themselves: no bit depends on that, nor on any rank's death.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/e2e/job.h"

namespace tactus {
namespace {

using std::chrono::milliseconds;

std::vector<std::string> TwoRanks(const std::string& shard) {
  return {"--learners", "2", "--actors", "1", "--set", "learner.shard=" + shard};
}

// The uninterrupted run of two whole ranks.
const std::string& ReferenceHash() {
  static const std::string* const hash = [] {
    Job job("whole_ranks", TwoRanks("NONE"));
    EXPECT_EQ(job.Wait(), 0);
    EXPECT_FALSE(std::filesystem::exists(NewestCheckpoint(job.folder()) + "/optimizer-00001-of-00002.safetensors"));
    return new std::string(job.WeightsHash());
  }();
  return *hash;
}

TEST(ShardedTest, NoBitDependsOnTheSharding) {
  Job job("sharded", TwoRanks("OPTIMIZER"));
  ASSERT_EQ(job.Wait(), 0);
  EXPECT_EQ(job.WeightsHash(), ReferenceHash());
  for (const char* file : {"/optimizer-00001-of-00002.safetensors", "/optimizer-00002-of-00002.safetensors"}) {
    EXPECT_TRUE(std::filesystem::exists(NewestCheckpoint(job.folder()) + file));
  }
  EXPECT_FALSE(std::filesystem::exists(NewestCheckpoint(job.folder()) + "/optimizer.safetensors"));
}

TEST(ShardedTest, AStoppedRunGoesOnUnderAnotherSharding) {
  for (const auto& [before, after] : {std::pair("OPTIMIZER", "NONE"), std::pair("NONE", "OPTIMIZER")}) {
    Job stopped("sharded_stopped", TwoRanks(before));
    bool asked = false;
    EXPECT_EQ(stopped.Wait([&] {
      if (asked || stopped.Steps().empty()) return;
      stopped.Signal(SIGINT);
      asked = true;
    }),
              130);
    EXPECT_LT(stopped.Steps().size(), static_cast<size_t>(Job::kDefaultSteps)) << "over before it could be stopped";
    Job again("sharded_stopped", TwoRanks(after), /*fresh=*/false);
    ASSERT_EQ(again.Wait(), 0);
    EXPECT_EQ(again.WeightsHash(), ReferenceHash()) << before << " then " << after;
  }
}

// Every checkpoint takes more than twice as long as the ranks wait for each other.
TEST(ShardedTest, ADiskSlowerThanTheCollectivesTimeoutEndsNothing) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's runtime must be loaded before anything else";
#endif
  for (const std::string& shard : {std::string("OPTIMIZER"), std::string("NONE")}) {
    std::vector<std::string> arguments = TwoRanks(shard);
    arguments.insert(arguments.end(),
                     {"--set", "learner.collective_timeout_s=10", "--set", "checkpoint.every_steps=3"});
    ::setenv("LD_PRELOAD", BuildPath("lib/libslow_disk.so").c_str(), 1);
    ::setenv("TACTUS_TEST_FSYNC_MS", "25000", 1);
    Job job("slow_disk", arguments);
    ::unsetenv("LD_PRELOAD");
    ::unsetenv("TACTUS_TEST_FSYNC_MS");
    ASSERT_EQ(job.Wait(), 0) << shard;
    EXPECT_EQ(job.WeightsHash(), ReferenceHash()) << shard;
  }
}

// A learner rank is killed at a random instant of every start, at a checkpoint of each step often enough, until a start
// comes through. --gtest_repeat=N with --gtest_random_seed tries others.
TEST(ShardedTest, ARankKilledAtAnyInstantCostsNoBit) {
  constexpr int kKills = 3;
  std::mt19937 random(std::random_device{}());
  RunFolder folder;
  for (int kills = 0; kills <= kKills; ++kills) {
    const bool fresh = kills == 0 || NewestCheckpoint(folder).empty();  // killed before the first: from the start
    Job job("sharded_killed", TwoRanks("OPTIMIZER"), fresh);
    folder = job.folder();
    if (kills == kKills) {
      ASSERT_EQ(job.Wait(), 0);
      EXPECT_EQ(job.WeightsHash(), ReferenceHash());
      return;
    }
    const auto end = std::chrono::steady_clock::now() + milliseconds(500 + random() % 6000);
    const size_t victim = random() % 2;
    const int code = job.Wait([&] {
      if (std::chrono::steady_clock::now() < end) return;
      const std::vector<int> ranks = job.Processes("tactus-learner");
      if (victim < ranks.size()) ::kill(ranks[victim], SIGKILL);
    });
    std::printf("kill %d: the job ended with %d after %zu steps\n", kills, code, job.Steps().size());
    ASSERT_NE(code, -1);
    ASSERT_NE(code, 2) << "a crash is no mistake of the user's";
    if (code != 0) continue;
    EXPECT_EQ(job.WeightsHash(), ReferenceHash());
    return;  // came through before it was killed
  }
}

}  // namespace
}  // namespace tactus
