// `tactus study` with whole jobs: two variants, two seeds, a few steps each, ended in the middle and gone on with.
#include <signal.h>

#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/folder_lock.h"
#include "common/metrics/held_out.h"
#include "common/metrics/run_folder.h"
#include "tests/e2e/job.h"
#include "tests/tools/cli.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int kSteps = 3;

class StudyTest : public CliTest {
 protected:
  // UNIFORM and COUPLED with the seeds 1 and 2; `extra` is more of the plan.
  std::string Plan(const std::string& name, const std::string& extra = "") const {
    std::string text = absl::StrCat("config: \"", SourcePath("configs/quickstart.textproto"), "\"\n");
    for (const std::string& set :
         {absl::StrCat("model.path=", SourcePath("models/quickstart")), absl::StrCat("learner.steps=", kSteps),
          std::string("rollout.prompts_per_step=4"), std::string("rollout.completions_per_prompt=4"),
          std::string("rollout.max_completion_tokens=64"), std::string("learner.threads=1"),
          std::string("checkpoint.every_steps=1"), std::string("eval.max_prompts=4")}) {
      absl::StrAppend(&text, "set: \"", set, "\"\n");
    }
    return Write(name, absl::StrCat(text,
                                    "variant { name: \"UNIFORM\" set: \"credit.strategy=UNIFORM\" }\n"
                                    "variant { name: \"COUPLED\" set: \"credit.strategy=COUPLED\" }\n"
                                    "seed: [1, 2]\nactors: 1\nreward_steps: 2\n",
                                    extra));
  }
  std::string Study(const std::string& plan) const { return absl::StrCat("study ", plan, " --out ", Path("out")); }
  RunFolder FolderOf(const std::string& name) const { return {Path("out/runs/" + name)}; }
  size_t StepsOf(const std::string& name) const {
    const auto steps = ReadSteps(FolderOf(name).metrics());
    return steps.ok() ? steps->size() : 0;
  }

  // Starts the study, ends it by `signal` once `when` holds, and returns its exit code.
  template <typename When>
  int StopWhen(const std::string& plan, int signal, When when) const {
    const auto study =
        ChildProcess::Start({BuildPath("bin/tactus"), "study", plan, "--out", Path("out")}, Path("log")).value();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(240);
    while (!when() && std::chrono::steady_clock::now() < deadline && !study->Poll()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_TRUE(when()) << ReadAll(Path("log"));
    study->Signal(signal);
    return study->Wait(absl::Seconds(240)).value_or(-1);
  }
};

// Every file of a run with its time.
std::map<std::string, int64_t> FilesOf(const RunFolder& folder) {
  std::map<std::string, int64_t> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.root)) {
    if (entry.is_regular_file()) files[entry.path()] = entry.last_write_time().time_since_epoch().count();
  }
  return files;
}

TEST_F(StudyTest, GoesOnWhereverItWasEnded) {
  const std::string plan = Plan("tiny.textproto");
  // Seeds are outermost: the second run is COUPLED's. It is asked to stop in its middle, or at its end at the latest.
  EXPECT_EQ(StopWhen(plan, SIGTERM, [&] { return StepsOf("COUPLED-s1") >= 1; }), 130) << ReadAll(Path("log"));
  EXPECT_THAT(ReadAll(Path("log")), HasSubstr("stopped; the same command goes on."));
  ASSERT_EQ(StepsOf("UNIFORM-s1"), size_t{kSteps});
  const std::map<std::string, int64_t> first = FilesOf(FolderOf("UNIFORM-s1"));
  EXPECT_THAT(ReadAll(Path("out/results.jsonl")), StartsWith("{\"variant\":\"UNIFORM\",\"seed\":1,"));
  EXPECT_THAT(Tactus(Study(plan) + " --check").out,
              HasSubstr("to be done   " + Path("out/runs/UNIFORM-s2") + "  model.path="));

  // Now it is killed, when the third run has just begun: without a checkpoint, that run begins anew.
  EXPECT_EQ(StopWhen(plan, SIGKILL, [&] { return std::filesystem::exists(FolderOf("UNIFORM-s2").config()); }),
            128 + SIGKILL);
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));  // until its processes have followed it

  const Result whole = Tactus(Study(plan));
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(whole.out, Path("out/study.html\n"));
  EXPECT_THAT(whole.err, HasSubstr("[3/4] UNIFORM, seed 2: "));
  EXPECT_THAT(whole.err, Not(HasSubstr("[1/4]")));
  EXPECT_THAT(whole.err, HasSubstr("4 of 4 runs"));
  EXPECT_EQ(FilesOf(FolderOf("UNIFORM-s1")), first) << "a finished run is never touched again";
  std::vector<std::string> runs;
  for (const absl::string_view text : absl::StrSplit(ReadAll(Path("out/results.jsonl")), '\n', absl::SkipEmpty())) {
    const nlohmann::json line = nlohmann::json::parse(text);
    runs.push_back(absl::StrCat(line["variant"].get<std::string>(), line["seed"].get<int>()));
    EXPECT_EQ(line["reward"].size(), size_t{kSteps});
    EXPECT_EQ(line["held_out"].back()["step"], kSteps);
    EXPECT_EQ(line["samples_per_step"], 16);
  }
  EXPECT_THAT(runs, ElementsAre("UNIFORM1", "COUPLED1", "UNIFORM2", "COUPLED2"));
  const nlohmann::json figures = nlohmann::json::parse(ReadAll(Path("out/study.json")));
  EXPECT_EQ(figures["differences"][0]["pairs"], 2);
  EXPECT_TRUE(figures["differences"][0]["mean_reward"]["power"].is_number());
  EXPECT_THAT(ReadAll(Path("out/study.html")), HasSubstr("COUPLED beside UNIFORM"));

  // The run that was stopped is the one that was not.
  const std::string config = FolderOf("COUPLED-s1").config();
  ASSERT_EQ(Tactus(absl::StrCat("train --config ", config, " --actors 1 --out ", Path("alone"))).code, 0);
  const std::vector<StepRecord> alone = *ReadSteps(Path("alone/metrics.jsonl")),
                                there = *ReadSteps(FolderOf("COUPLED-s1").metrics());
  ASSERT_EQ(alone.size(), there.size());
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(there[i].reward_mean, alone[i].reward_mean) << i;

  // Of a run that ended before its last measurement, that alone is made up for.
  const RunFolder last = FolderOf("COUPLED-s2");
  const std::vector<HeldOutRecord> measured = *ReadHeldOut(last.held_out());
  std::filesystem::remove(last.held_out());
  ASSERT_TRUE(AppendHeldOut(last.held_out(), measured.front()).ok());
  EXPECT_THAT(Tactus(Study(plan) + " --check").out, HasSubstr("half done    " + last.root));
  ASSERT_EQ(Tactus(Study(plan)).code, 0);
  EXPECT_EQ(ReadHeldOut(last.held_out())->back(), measured.back());

  // More seeds are added to what is there, other options are not.
  EXPECT_THAT(Tactus(Study(Plan("more.textproto", "seed: 3\n")) + " --check").out, HasSubstr("done         "));
  ExpectMistake(Study(Plan("other.textproto", "set: \"optimizer.lr=1e-3\"\n")),
                "out/runs/UNIFORM-s1/config.textproto is of a run with other options than UNIFORM, seed 1 has");
  EXPECT_EQ(FilesOf(FolderOf("UNIFORM-s1")), first);
}

TEST_F(StudyTest, WhatCannotRunIsRefusedBeforeTheFirstRun) {
  ExpectMistake(Study(Plan("a", "variant { name: \"X\" set: \"credit.layers=99\" }")),
                "variant \"X\": credit.layers holds 99: expected layers from 0 to");
  ExpectMistake(Study(Plan("b", "variant { name: \"X\" set: \"credit.stratgy=FLOW\" }")),
                "variant \"X\": --set credit.stratgy=FLOW: ");
  ExpectMistake(Study(Plan("c", "variant { name: \"X\" set: \"rollout.prompts_per_step=2\" }")),
                "variant \"X\" trains on 24 completions and \"UNIFORM\" on 48: expected equally many");
  ExpectMistake(Study(Plan("d", "variant { name: \"X\" set: \"model.path=nowhere\" }")),
                "variant \"X\": model.path is \"nowhere\": expected a model folder");
  ExpectMistake(Study(Write("e", "config: \"nowhere.textproto\" variant { name: \"X\" } seed: 1")),
                "variant \"X\": cannot open nowhere.textproto");
  ExpectMistake(Study(Plan("f", "varant {}")), "f:");
  ExpectMistake("study", "expected the study's plan after the flags");
  ExpectMistake("study " + Path("nowhere"), "nowhere");
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
}

TEST_F(StudyTest, TwoOnOneFolderExcludeEachOther) {
  std::filesystem::create_directories(Path("out"));
  const absl::StatusOr<FolderLock> lock = FolderLock::Take(Path("out"), "this test");
  ASSERT_TRUE(lock.ok()) << lock.status();
  const Result result = Tactus(Study(Plan("tiny.textproto")));
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("out is in use by another tactus study"));
  EXPECT_FALSE(std::filesystem::exists(Path("out/runs")));
}

TEST_F(StudyTest, ARunThatFailsEndsItWithItsLog) {
  const std::string plan = Plan("tiny.textproto");
  std::filesystem::create_directories(Path("out/runs"));
  std::ofstream(Path("out/runs/UNIFORM-s1")) << "in the way";
  const Result result = Tactus(Study(plan));
  EXPECT_NE(result.code, 0);
  EXPECT_THAT(result.err, HasSubstr("UNIFORM, seed 1 ended with exit code "));
  EXPECT_THAT(result.err, HasSubstr("out/logs/UNIFORM-s1.log"));
}

}  // namespace
}  // namespace tactus
