// Jobs whose ranks divide optimizer, gradients and weights among themselves: no bit depends on that, nor on any rank's
// death. The shardings are held against each other step by step in tests/learner/train/sharded_trainer_test.cc; here it
// is processes, checkpoints, publishing and restarts.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>

#include "tests/e2e/job.h"
#include "tests/sanitized.h"

namespace tactus {
namespace {

using std::chrono::milliseconds;

constexpr const char* kShards[] = {"NONE", "OPTIMIZER", "GRADIENTS", "PARAMETERS"};

// Two ranks, four small steps, in each of which a rank makes one pass.
std::vector<std::string> TwoRanks(const std::string& shard, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"--learners", "2", "--actors", "1"};
  more.insert(more.end(), {"learner.shard=" + shard, "rollout.prompts_per_step=4", "rollout.max_completion_tokens=64",
                           "eval.max_prompts=1"});
  for (const std::string& set : more) arguments.insert(arguments.end(), {"--set", set});
  return arguments;
}

std::vector<std::string> Resumed(const std::string& shard) {
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
  Job job("sharded", TwoRanks("PARAMETERS"));
  ASSERT_EQ(job.Wait(), 0);
  EXPECT_EQ(job.WeightsHash(), ReferenceHash());
  for (const char* file : {"/optimizer-00001-of-00002.safetensors", "/optimizer-00002-of-00002.safetensors"}) {
    EXPECT_TRUE(std::filesystem::exists(NewestCheckpoint(job.folder()) + file));
  }
  EXPECT_FALSE(std::filesystem::exists(NewestCheckpoint(job.folder()) + "/optimizer.safetensors"));
}

TEST(ShardedTest, AStoppedRunGoesOnUnderAnotherSharding) {
  size_t before = 0;
  for (const char* const shard : {"PARAMETERS", "NONE", "OPTIMIZER"}) {
    Job job("sharded_stopped", before == 0 ? TwoRanks(shard) : Resumed(shard), /*fresh=*/before == 0);
    const bool last = std::string(shard) == "OPTIMIZER";
    bool asked = false;
    EXPECT_EQ(job.Wait([&] {
      if (last || asked || job.Steps().size() == before) return;
      job.Signal(SIGINT);
      asked = true;
    }),
              last ? 0 : 130)
        << shard;
    before = job.Steps().size();
    if (last) {
      EXPECT_EQ(job.WeightsHash(), ReferenceHash());
    }
  }
}

// A checkpoint takes more than twice as long as the ranks wait for each other, as does the one that waits for it.
TEST(ShardedTest, ADiskSlowerThanTheCollectivesTimeoutEndsNothing) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's runtime must be loaded before anything else";
  ::setenv("LD_PRELOAD", BuildPath("lib/libslow_disk.so").c_str(), 1);
  ::setenv("TACTUS_TEST_FSYNC_MS", "21000", 1);
  const auto start = [](const std::string& name, const std::string& shard, const std::string& every) {
    return std::make_unique<Job>(
        name, TwoRanks(shard, {"learner.collective_timeout_s=10", "checkpoint.every_steps=" + every}));
  };
  // Side by side, as they sleep.
  const std::unique_ptr<Job> jobs[] = {start("slow_disk_parts", "PARAMETERS", "3"),
                                       start("slow_disk_whole", "NONE", "1000")};
  ::unsetenv("LD_PRELOAD");
  ::unsetenv("TACTUS_TEST_FSYNC_MS");
  for (const std::unique_ptr<Job>& job : jobs) {
    ASSERT_EQ(job->Wait(), 0) << job->folder().root;
    EXPECT_EQ(job->WeightsHash(), ReferenceHash()) << job->folder().root;
  }
}

// A learner rank is killed at a random instant of every start, at a checkpoint of each step often enough, and the next
// start divides what it likes; until TACTUS_TEST_KILLS (2) ranks have died and every run that was begun is through.
TEST(ShardedTest, ARankKilledAtAnyInstantCostsNoBit) {
  const char* const wanted = std::getenv("TACTUS_TEST_KILLS");
  const int kills = wanted == nullptr ? 2 : std::atoi(wanted);
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  RunFolder folder;
  bool fresh = true;
  for (int killed = 0; killed < kills || !fresh;) {
    const std::string shard = kShards[random() % std::size(kShards)];
    const bool begun = !fresh && !NewestCheckpoint(folder).empty();  // else killed before the first: from the start
    Job job("sharded_killed", begun ? Resumed(shard) : TwoRanks(shard), !begun);
    folder = job.folder();
    const auto instant = std::chrono::steady_clock::now() + milliseconds(500 + random() % 6000);
    const size_t victim = random() % 2;
    bool shot = killed >= kills;
    const int code = job.Wait([&] {
      if (shot || std::chrono::steady_clock::now() < instant) return;
      const std::vector<int> ranks = job.Processes("tactus-learner");
      if (victim >= ranks.size()) return;
      ::kill(ranks[victim], SIGKILL);
      shot = true;
      ++killed;
    });
    std::printf("%d ranks killed; with %s the job ended with %d after %zu steps\n", killed, shard.c_str(), code,
                job.Steps().size());
    ASSERT_NE(code, -1);
    ASSERT_NE(code, 2) << "a crash is no mistake of the user's";
    fresh = code == 0;
    if (fresh) {
      EXPECT_EQ(job.WeightsHash(), ReferenceHash());
    }
  }
}

}  // namespace
}  // namespace tactus
