// Held-out prompts answered by the actors of a whole job (eval.by: ACTORS): the numbers are those of `tactus eval` on
// the same weights, the training is the same bit for bit, and an actor that is killed costs neither.
#include "common/metrics/held_out.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "tests/e2e/job.h"

namespace tactus {
namespace {

constexpr int kSteps = Job::kDefaultSteps;
constexpr int kPrompts = 24;

std::vector<std::string> ByActors(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"--actors", "2"};
  more.insert(more.end(), {"eval.by=ACTORS", absl::StrCat("eval.max_prompts=", kPrompts), "eval.every_steps=2",
                           "checkpoint.keep=10"});
  for (const std::string& set : more) arguments.insert(arguments.end(), {"--set", set});
  return arguments;
}

std::vector<HeldOutRecord> Measured(const Job& job) { return ReadHeldOut(job.folder().held_out()).value(); }

std::vector<int64_t> StepsOf(const std::vector<HeldOutRecord>& measured) {
  std::vector<int64_t> steps;
  steps.reserve(measured.size());
  for (const HeldOutRecord& record : measured) steps.push_back(record.step);
  return steps;
}

// The same weights, measured by a process of its own.
nlohmann::json Alone(const Job& job, int64_t step, const std::string& how, int prompts = kPrompts) {
  const std::string out = job.folder().root + "/alone.json";
  const std::string model = step == 0 ? SourcePath("models/quickstart")
                                      : absl::StrFormat("%s/step-%06d/model", job.folder().checkpoints(), step);
  const std::string command = absl::StrCat(BuildPath("bin/tactus"), " eval --model ", model, " --config ",
                                           job.folder().config(), " --prompts ", prompts, " ", how, " > ", out);
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  return nlohmann::json::parse(ReadFile(out).value_or("{}"));
}

const std::string& HashWithoutEvaluation() {
  static const std::string* const hash = [] {
    Job job("held_out_none", {"--actors", "1", "--set", "eval.max_prompts=0"});
    EXPECT_EQ(job.Wait(), 0);
    return new std::string(job.WeightsHash());
  }();
  return *hash;
}

TEST(HeldOutByActorsTest, GreedyAnswersAreThoseOfTactusEvalAndTheTrainingIsTheSame) {
  Job job("held_out_greedy", ByActors({"eval.temperature=0"}));
  ASSERT_EQ(job.Wait(), 0);
  EXPECT_EQ(job.WeightsHash(), HashWithoutEvaluation());
  const std::vector<HeldOutRecord> measured = Measured(job);
  ASSERT_EQ(StepsOf(measured), (std::vector<int64_t>{0, 2, kSteps}));
  for (const HeldOutRecord& record : measured) {
    const nlohmann::json pass1 = Alone(job, record.step, "--temperature 0").at("pass@1");
    EXPECT_EQ(record.pass1, pass1.at("value").get<double>()) << "step " << record.step;
    EXPECT_EQ(record.low, pass1.at("low").get<double>());
    EXPECT_EQ(record.high, pass1.at("high").get<double>());
    EXPECT_EQ(record.temperature, 0);
    EXPECT_EQ(record.version, absl::StrCat("0.", record.step));
  }
  const auto best = FindBestCheckpoint(job.folder()).value();
  ASSERT_TRUE(best.has_value());
  for (const HeldOutRecord& record : measured) {
    if (record.step > 0) {
      EXPECT_LE(record.pass1, best->held_out.pass1);
    }
  }
}

TEST(HeldOutByActorsTest, AKilledActorCostsNoAnswer) {
  Job job("held_out_killed", ByActors({"eval.samples_per_prompt=3", "rollout.lease_timeout_s=10"}));
  // Once while the starting policy is measured, as the step before is not trained yet, and once later.
  std::set<int> killed;
  ASSERT_EQ(job.Wait([&] {
    if (killed.size() > job.Steps().size() || killed.size() == 2) return;
    const std::string log = ReadFile(job.folder().logs() + "/learner-0.log").value_or("");
    if (log.find("attached from") == std::string::npos) return;
    for (const int pid : job.Actors()) {
      if (killed.size() <= job.Steps().size() && killed.insert(pid).second) ::kill(pid, SIGKILL);
    }
  }),
            0);
  EXPECT_EQ(killed.size(), 2u);
  EXPECT_EQ(job.WeightsHash(), HashWithoutEvaluation());
  const std::vector<HeldOutRecord> measured = Measured(job);
  ASSERT_EQ(StepsOf(measured), (std::vector<int64_t>{0, 2, kSteps}));
  double solved = 0;
  for (const HeldOutRecord& record : measured) {
    const nlohmann::json alone = Alone(job, record.step, "--samples 3");
    EXPECT_EQ(record.pass1, alone.at("pass@1").at("value").get<double>()) << "step " << record.step;
    EXPECT_EQ(record.low, alone.at("pass@1").at("low").get<double>());
    EXPECT_EQ(record.pass_k, alone.at("pass@3").at("value").get<double>());
    solved += record.pass_k;
  }
  EXPECT_GT(solved, 0) << "nothing was ever right, so that nothing is compared";
}

// The quick start with two more held-out sets.
std::string WithSets() {
  const std::string config = testing::TempDir() + "/tactus_e2e_sets.textproto";
  std::string text = ReadFile(SourcePath("configs/quickstart.textproto")).value();
  text = absl::StrReplaceAll(text, {{"\neval {",
                                     "\neval { sets { name: 'greedy' max_prompts: 12 temperature: 0 } sets { "
                                     "name: 'many' max_prompts: 8 samples_per_prompt: 6 temperature: 0.7 }"}});
  EXPECT_TRUE(WriteFileAtomic(config, text).ok());
  return config;
}

std::map<std::string, std::vector<HeldOutRecord>> MeasuredSets(const Job& job) {
  std::map<std::string, std::vector<HeldOutRecord>> by_set;
  const std::vector<HeldOutRecord> records = ReadHeldOutSets(job.folder().held_out()).value();
  for (const HeldOutRecord& record : records) by_set[record.set].push_back(record);
  return by_set;
}

TEST(HeldOutByLauncherTest, EverySetIsMeasured) {
  Job job("held_out_launcher_sets", {"--actors", "1"}, /*fresh=*/true, WithSets());
  ASSERT_EQ(job.Wait(), 0);
  EXPECT_EQ(job.WeightsHash(), HashWithoutEvaluation());
  auto by_set = MeasuredSets(job);
  ASSERT_EQ(by_set.size(), 3u);
  for (const auto& [set, measured] : by_set) ASSERT_EQ(StepsOf(measured), (std::vector<int64_t>{0, kSteps})) << set;
  const nlohmann::json alone = Alone(job, kSteps, "--samples 6 --temperature 0.7", 8);
  EXPECT_EQ(by_set["many"].back().pass1, alone.at("pass@1").at("value").get<double>());
  EXPECT_EQ(by_set["many"].back().pass_k, alone.at("pass@6").at("value").get<double>());
  EXPECT_EQ(by_set["greedy"].back().temperature, 0);
}

// Three sets of the run's test prompts; each is what `tactus eval` gives, and the training the same bit for bit.
TEST(HeldOutByActorsTest, EverySetIsMeasuredAsByTactusEval) {
  Job job("held_out_sets", ByActors({}), /*fresh=*/true, WithSets());
  ASSERT_EQ(job.Wait(), 0);
  EXPECT_EQ(job.WeightsHash(), HashWithoutEvaluation());
  auto by_set = MeasuredSets(job);
  ASSERT_EQ(by_set.size(), 3u);
  for (const auto& [set, measured] : by_set) ASSERT_EQ(StepsOf(measured), (std::vector<int64_t>{0, 2, kSteps})) << set;
  double solved = 0;
  for (const HeldOutRecord& record : by_set["greedy"]) {
    const nlohmann::json alone = Alone(job, record.step, "--temperature 0", 12).at("pass@1");
    EXPECT_EQ(record.pass1, alone.at("value").get<double>()) << "step " << record.step;
    EXPECT_EQ(record.samples, 1);
  }
  for (const HeldOutRecord& record : by_set["many"]) {
    const nlohmann::json alone = Alone(job, record.step, "--samples 6 --temperature 0.7", 8);
    EXPECT_EQ(record.pass1, alone.at("pass@1").at("value").get<double>()) << "step " << record.step;
    EXPECT_EQ(record.low, alone.at("pass@1").at("low").get<double>());
    EXPECT_EQ(record.pass_k, alone.at("pass@6").at("value").get<double>());
    EXPECT_EQ(record.pass_k_high, alone.at("pass@6").at("high").get<double>());
    solved += record.pass_k;
  }
  EXPECT_GT(solved, 0) << "nothing was ever right, so that nothing is compared";
  const std::string report = ReadFile(job.folder().root + "/report.html").value_or("");
  EXPECT_NE(report.find("<th scope=\"row\">many</th><td>0</td><td>6</td><td>0.7</td>"), std::string::npos);
}

TEST(HeldOutByActorsTest, AResumedRunMeasuresWhatIsLeft) {
  Job job("held_out_resumed", ByActors({}));
  bool stopped = false;
  ASSERT_EQ(job.Wait([&] {
    if (stopped || Measured(job).empty() || job.Steps().empty()) return;
    job.Signal(SIGINT);
    stopped = true;
  }),
            130);
  Job resumed("held_out_resumed", {}, /*fresh=*/false);
  ASSERT_EQ(resumed.Wait(), 0);
  EXPECT_EQ(resumed.WeightsHash(), HashWithoutEvaluation());
  EXPECT_EQ(StepsOf(Measured(resumed)), (std::vector<int64_t>{0, 2, kSteps}));
}

TEST(HeldOutByActorsTest, AnAsynchronousRunIsMeasuredAtItsVersions) {
  Job job("held_out_async", ByActors({"eval.temperature=0", "rollout.max_staleness_steps=1"}));
  ASSERT_EQ(job.Wait(), 0);
  const std::vector<HeldOutRecord> measured = Measured(job);
  ASSERT_GE(measured.size(), 2u);
  EXPECT_EQ(measured.front().step, 0);
  EXPECT_EQ(measured.back().step, kSteps);
  for (const HeldOutRecord& record : measured) {
    EXPECT_EQ(record.pass1, Alone(job, record.step, "--temperature 0").at("pass@1").at("value").get<double>())
        << "step " << record.step;
  }
}

}  // namespace
}  // namespace tactus
