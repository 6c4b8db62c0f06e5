// Several sources as one task, and who judges each.
#include "common/tasks/mixed_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/tasks/judge.h"
#include "common/tasks/task.h"
#include "proto/config.pb.h"
#include "tests/folder_test.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class MixedTaskTest : public FolderTest {
 protected:
  // JSON lines of question and answer.
  std::string Rows(const std::string& name, const std::vector<std::string>& questions) const {
    std::string lines;
    for (const std::string& question : questions) {
      absl::StrAppend(&lines, R"({"question":")", question, R"(","answer":"1"})", "\n");
    }
    return Write(name, lines);
  }
  config::TaskSource& Add(const std::string& name, const std::string& task) {
    config::TaskSource& source = *options_.add_sources();
    source.set_name(name);
    source.set_task(task);
    return source;
  }
  config::TaskSource& AddQa(const std::string& name, const std::vector<std::string>& train,
                            const std::vector<std::string>& test) {
    config::TaskSource& source = Add(name, "qa");
    source.set_train_path(Rows(name + "-train.jsonl", train));
    source.set_test_path(Rows(name + "-test.jsonl", test));
    return source;
  }
  // "a1", or what went wrong.
  std::vector<std::string> Asked(const Task& task, Split split) const {
    std::vector<std::string> asked;
    for (size_t i = 0; i < task.Size(split); ++i) {
      const auto example = task.Example(split, i);
      asked.push_back(example.ok() ? absl::StrCat(task.SourceOf(split, i), ":", example->user)
                                   : std::string(example.status().message()));
    }
    return asked;
  }

  void SetUp() override {
    options_.set_name("countdown");
    options_.set_prompt_style("compact");
  }
  config::TaskOptions options_;
};

TEST_F(MixedTaskTest, TrainRowsStandOneSourceAfterTheOtherAndHeldOutOnesInTurn) {
  AddQa("a", {"a1", "a2"}, {"a7", "a8", "a9"});
  AddQa("b", {"b1", "b2", "b3"}, {"b7"});
  AddQa("c", {"c1"}, {"c7", "c8"});
  const auto task = CreateTask(options_);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(Asked(**task, Split::kTrain), ElementsAre("0:a1", "0:a2", "1:b1", "1:b2", "1:b3", "2:c1"));
  EXPECT_THAT(Asked(**task, Split::kTest), ElementsAre("0:a7", "1:b7", "2:c7", "0:a8", "2:c8", "0:a9"));
  EXPECT_THAT(std::string((*task)->Trace(3, 0).status().message()), HasSubstr("source b: task.name: qa has no worked"));
  const auto test_set = CreateTestSet(options_);
  ASSERT_TRUE(test_set.ok()) << test_set.status();
  EXPECT_THAT(Asked(**test_set, Split::kTest), ElementsAre("0:a7", "1:b7", "2:c7", "0:a8", "2:c8", "0:a9"));
}

TEST_F(MixedTaskTest, NoSourceTrainsOnWhatAnotherHoldsOut) {
  AddQa("a", {"a1", "b7", "a2"}, {"a7"});
  AddQa("b", {"a7", "b2"}, {"b7", "b8", "b7"});
  const auto task = CreateTask(options_);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(
      Asked(**task, Split::kTrain),
      ElementsAre(
          "0:a1",
          absl::StrCat(folder_, "/a-train.jsonl:2 of source a: source b holds it out as ", folder_, "/b-test.jsonl:1"),
          "0:a2",
          absl::StrCat(folder_, "/b-train.jsonl:1 of source b: source a holds it out as ", folder_, "/a-test.jsonl:1"),
          "1:b2"));
  EXPECT_EQ((*task)->Example(Split::kTrain, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

// A puzzle is the same whatever the order of its numbers is, and wherever it comes from.
TEST_F(MixedTaskTest, PuzzlesAreComparedAsPuzzles) {
  config::TaskSource& first = Add("first", "countdown");
  first.set_train_path(Write("1.jsonl", "{\"nums\":[1,2,3],\"target\":6}\n{\"nums\":[4,5],\"target\":9}\n"));
  first.set_test_path(Write("2.jsonl", "{\"nums\":[7,8],\"target\":15}\n"));
  config::TaskSource& second = Add("second", "countdown");
  second.set_train_path(Write("3.jsonl", "{\"nums\":[8,7],\"target\":15}\n{\"nums\":[8,7],\"target\":1}\n"));
  second.set_test_path(Write("4.jsonl", "{\"nums\":[3,1,2],\"target\":6}\n"));
  const auto task = CreateTask(options_);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(Asked(**task, Split::kTrain), ElementsAre(HasSubstr("source second holds it out"), "0:4 5=9:",
                                                        HasSubstr("source first holds it out"), "1:8 7=1:"));
}

TEST_F(MixedTaskTest, SetsThatAreMadeAndSetsThatAreReadGoTogether) {
  options_.set_train_size(30);
  options_.set_test_size(10);
  Add("sums", "arithmetic");
  Add("more", "arithmetic").set_train_size(60);
  Add("puzzles", "countdown").set_test_size(4);
  AddQa("read", {"r1"}, {"r2"});
  const auto task = CreateTask(options_);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ((*task)->Size(Split::kTrain), 30u + 60 + 30 + 1);
  EXPECT_EQ((*task)->Size(Split::kTest), 10u + 10 + 4 + 1);
  for (size_t i = 0; i < (*task)->Size(Split::kTrain); ++i) EXPECT_TRUE((*task)->Example(Split::kTrain, i).ok()) << i;
}

TEST_F(MixedTaskTest, ErrorsNameTheSource) {
  AddQa("a", {"a1"}, {"a7"});
  AddQa("b", {"b1"}, {"b1"});
  EXPECT_THAT(std::string(CreateTask(options_).status().message()), HasSubstr("source b: task.test_path: "));
  options_.mutable_sources(1)->set_test_path(folder_ + "/none.jsonl");
  EXPECT_EQ(CreateTask(options_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(CreateTask(options_).status().message()), HasSubstr("source b: "));
  options_.mutable_sources(1)->clear_test_path();
  EXPECT_THAT(std::string(CreateTask(options_).status().message()), HasSubstr("task.sources[1].test_path is missing"));
}

TEST_F(MixedTaskTest, EachSourceHasItsVerifier) {
  options_.set_format_reward(0.25);
  Add("puzzles", "countdown");
  Add("sums", "arithmetic").set_format_reward(0);
  Add("served", "arithmetic").set_rewards(config::TaskOptions::ENVIRONMENT);
  const auto verifiers = CreateVerifiers(options_);
  ASSERT_TRUE(verifiers.ok()) << verifiers.status();
  ASSERT_EQ(verifiers->size(), 3u);
  EXPECT_EQ((*verifiers)[0]->Score(R"({"numbers":[1,2],"target":3})", "<answer>1+2</answer>").value().correct, 1);
  EXPECT_EQ((*verifiers)[0]->Score(R"({"numbers":[1,2],"target":3})", "<answer>1-2</answer>").value().total, 0.25);
  EXPECT_EQ((*verifiers)[1]->Score(R"({"answer":"3"})", "<answer>3</answer>").value().correct, 1);
  EXPECT_EQ((*verifiers)[1]->Score(R"({"answer":"3"})", "<answer>4</answer>").value().total, 0);
  EXPECT_EQ((*verifiers)[2], nullptr);
}

class FixedJudge final : public Judge {
 public:
  FixedJudge(double reward, int calls, std::string trouble)
      : reward_(reward), calls_(calls), trouble_(std::move(trouble)) {}
  absl::StatusOr<std::vector<Reward>> Score(const Question&, std::span<const Answer> answers, absl::Time) override {
    return std::vector<Reward>(answers.size(), Reward{.total = reward_, .reason = "fixed"});
  }
  int calls_at_once() const override { return calls_; }
  std::string Trouble() const override { return trouble_; }
  void Close() override { ++closed; }
  int closed = 0;

 private:
  const double reward_;
  const int calls_;
  const std::string trouble_;
};

TEST(SourcesJudgeTest, AsksTheJudgeOfTheSource) {
  const auto quiet = std::make_shared<FixedJudge>(0.5, 1, ""), served = std::make_shared<FixedJudge>(0.75, 7, "away");
  SourcesJudge judge({quiet, served, quiet});
  EXPECT_EQ(judge.calls_at_once(), 7);
  EXPECT_EQ(judge.Trouble(), "away");
  const std::vector<Answer> answers(2);
  const auto score = [&](uint32_t source) {
    return judge.Score({.text = "", .token_ids = {}, .answer_key = "", .source = source}, answers,
                       absl::InfiniteFuture());
  };
  const auto total = [&](uint32_t source) {
    const auto rewards = score(source);
    return rewards.ok() ? rewards->at(1).total : -1;
  };
  EXPECT_EQ(total(0), 0.5);
  EXPECT_EQ(total(1), 0.75);
  EXPECT_EQ(total(2), 0.5);
  const absl::Status unknown = score(3).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("the prompt is of source 3: expected less than 3"));
  judge.Close();
  EXPECT_EQ(served->closed, 1);
  EXPECT_EQ(SourcesJudge({quiet}).Trouble(), "");
}

}  // namespace
}  // namespace tactus
