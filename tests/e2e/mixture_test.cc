// task.sources in whole jobs: who is asked when, who judges, and that a kill changes neither. Held against the sources'
// own tasks and verifiers.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "common/data/shuffled_order.h"
#include "common/data/source_turns.h"
#include "common/metrics/held_out.h"
#include "common/tasks/task.h"
#include "proto/config.pb.h"
#include "tests/e2e/job.h"

namespace tactus {
namespace {

constexpr int kSteps = 3;
constexpr int kPrompts = 6;  // of a step

// The quick start on two kinds of questions, few enough that each source begins a second epoch.
std::string Config() {
  const std::string path = ::testing::TempDir() + "/mixture.textproto";
  const std::string text = ReadFile(SourcePath("configs/quickstart.textproto"), size_t{1} << 20).value();
  std::ofstream(path) << absl::StrReplaceAll(text, {{"task {\n", R"(task {
  sources { name: "puzzles" weight: 2 train_size: 5 test_size: 3 }
  sources { name: "sums" task: "arithmetic" train_size: 4 test_size: 3 format_reward: 0 }
)"},
                                                    {"eval {\n", R"(eval {
  by: ACTORS
  sets { name: "sums" source: "sums" }
)"}});
  return path;
}

std::vector<std::string> Arguments(int actors) {
  return {"--actors", std::to_string(actors), "--set", absl::StrCat("learner.steps=", kSteps),
          "--set",    "credit.audit_share=0"};
}

// What each prompt asks and what is right: by sources that know nothing of each other.
class Expected {
 public:
  explicit Expected(const Job& job) : run_(config::LoadRunConfig(job.folder().config(), {}).value()) {
    for (const config::TaskOptions& options : config::SourcesOf(run_.task())) {
      tasks_.push_back(CreateTask(options).value());
      verifiers_.push_back(CreateVerifier(options.name(), options.format_reward()).value());
      orders_.emplace_back(run_.seed(), tasks_.back()->Size(Split::kTrain), static_cast<uint32_t>(orders_.size()));
    }
    SourceTurns turns(run_.seed(), config::SourceWeights(run_.task()));
    for (uint64_t id = 0; id < kSteps * kPrompts; ++id) turns_.push_back(turns.At(id));
  }
  std::string SourceName(uint64_t id) const { return config::SourceNames(run_.task())[turns_[id].source]; }
  uint64_t Turn(uint64_t id) const { return turns_[id].number; }
  TaskExample Example(uint64_t id) {
    const SourceTurns::Turn turn = turns_[id];
    return tasks_[turn.source]->Example(Split::kTrain, orders_[turn.source].At(turn.number)).value();
  }
  Reward RewardOf(const SampleRecord& sample) {
    return verifiers_[turns_[sample.prompt_id].source]
        ->Score(Example(sample.prompt_id).answer_key_json, sample.text)
        .value();
  }

 private:
  const config::RunConfig run_;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::vector<std::unique_ptr<Verifier>> verifiers_;
  std::vector<ShuffledOrder> orders_;
  std::vector<SourceTurns::Turn> turns_;
};

// Synchronous steps train the prompts in their order.
void ExpectMixed(const Job& job) {
  Expected expected(job);
  const std::vector<StepRecord> steps = job.Steps();
  ASSERT_EQ(steps.size(), static_cast<size_t>(kSteps));
  std::map<std::string, double> trained;
  for (int step = 0; step < kSteps; ++step) {
    std::map<std::string, double> groups, told;
    for (int i = 0; i < kPrompts; ++i) ++groups[expected.SourceName(static_cast<uint64_t>(step * kPrompts + i))];
    double reward = 0, right = 0;
    for (const SourceStep& source : steps[static_cast<size_t>(step)].sources) {
      told[source.name] = source.groups;
      trained[source.name] += source.groups;
      reward += source.groups * source.reward_mean / kPrompts;
      right += source.groups * source.correct_rate / kPrompts;
    }
    EXPECT_EQ(told, groups) << "step " << step + 1;
    EXPECT_NEAR(reward, steps[static_cast<size_t>(step)].reward_mean, 1e-9);
    EXPECT_NEAR(right, steps[static_cast<size_t>(step)].correct_rate, 1e-9);
  }
  EXPECT_GT(trained["puzzles"], 5) << "an epoch is over";
  EXPECT_GT(trained["sums"], 4) << "of each";
  const std::vector<SampleRecord> samples = ReadSamples(job.folder().samples(), 1000, 0).value();
  EXPECT_EQ(samples.size(), 4u * kSteps);
  std::set<std::string> seen;
  for (const SampleRecord& sample : samples) {
    EXPECT_EQ(sample.prompt, expected.Example(sample.prompt_id).user);
    EXPECT_EQ(sample.source, expected.SourceName(sample.prompt_id));
    const Reward reward = expected.RewardOf(sample);
    EXPECT_EQ(sample.reward, reward.total) << sample.prompt << sample.text;
    EXPECT_EQ(sample.reason, reward.reason);
    seen.insert(sample.source);
  }
  EXPECT_EQ(seen.size(), 2u) << "samples of both sources were looked at";
}

std::vector<HeldOutRecord> HeldOut(const Job& job) { return ReadHeldOutSets(job.folder().held_out()).value(); }

TEST(MixtureTest, AKilledRunAsksAndLearnsWhatAnUndisturbedOneDoes) {
  Job whole("mixture", Arguments(1), /*fresh=*/true, Config());
  ASSERT_EQ(whole.Wait(), 0);
  ExpectMixed(whole);
  const std::vector<HeldOutRecord> measured = HeldOut(whole);
  ASSERT_EQ(measured.size(), 4u) << "all held-out prompts and those of sums, before and after";
  {
    Job job("mixture_killed", Arguments(2), /*fresh=*/true, Config());
    bool killed = false;
    job.Wait([&] {
      if (killed || NewestCheckpoint(job.folder()).empty()) return;
      job.Signal(SIGKILL);  // takes its children with it
      killed = true;
    });
    EXPECT_TRUE(killed) << "the run was over before it could be killed";
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  Job again("mixture_killed", {"--actors", "1"}, /*fresh=*/false);
  ASSERT_EQ(again.Wait(), 0);
  ExpectMixed(again);
  EXPECT_EQ(again.WeightsHash(), whole.WeightsHash());
  EXPECT_EQ(HeldOut(again).back().pass1, measured.back().pass1);
}

}  // namespace
}  // namespace tactus
