#include "learner/prompt_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config/run_config.h"
#include "common/model/folder/model_config.h"
#include "learner/sft/sft_data.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kVocab = 1 << 20;  // above all ids of the tokenizer

class RowsTest : public ::testing::Test {
 protected:
  const std::string folder_ = ::testing::TempDir() + "/rows_test";
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    Write("test.jsonl", {"9 9 9=1:"});
  }
  // A question a line, of 8 characters or so; the answers are all 36.
  std::string Write(const std::string& name, const std::vector<std::string>& questions) const {
    std::ofstream file(folder_ + "/" + name);
    for (const std::string& question : questions) {
      file << R"({"question":")" << question << R"(","answer":"36"})" << '\n';
    }
    return folder_ + "/" + name;
  }
  config::RunConfig Config(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> set = {absl::StrCat("model.path=", SourcePath("models/quickstart")),
                                    "task.name=qa",
                                    absl::StrCat("task.train_path=", folder_, "/train.jsonl"),
                                    absl::StrCat("task.test_path=", folder_, "/test.jsonl"),
                                    "eval.max_prompts=0",
                                    "rollout.max_prompt_tokens=16",
                                    "rollout.prompts_per_step=2",
                                    "learner.steps=4"};
    set.insert(set.end(), more.begin(), more.end());
    return config::LoadRunConfig(SourcePath("configs/quickstart.textproto"), set).value();
  }
  const std::string long_ = "7 7 7 7 7 7 7 7 7 7 7 7=1:";
};

class PromptSourceTest : public RowsTest {
 protected:
  std::string Error(const std::vector<std::string>& more = {}, int64_t vocab_size = kVocab) const {
    const auto source = PromptSource::Create(Config(more), vocab_size);
    EXPECT_EQ(source.ok() ? absl::StatusCode::kOk : source.status().code(),
              source.ok() ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument);
    return std::string(source.status().message());
  }
};

TEST_F(PromptSourceTest, ALongQuestionIsFoundBeforeTheFirstStep) {
  const std::string path = Write("train.jsonl", {"1 5 6=36:", "2 5 6=36:", long_, "4 5 6=36:", long_});
  EXPECT_THAT(Error(), HasSubstr(absl::StrCat("2 of 5 questions to train on cannot be used; the first is ", path,
                                              ":3: the prompt has 26 tokens, more than rollout.max_prompt_tokens = ")));
  EXPECT_THAT(Error(), HasSubstr("task.unusable_rows: LEAVE_OUT"));
}

TEST_F(PromptSourceTest, ARowThatNoStepReachesStandsInNobodysWay) {
  std::vector<std::string> questions;
  for (int i = 0; i < 100; ++i) questions.push_back(absl::StrCat(i, " 5 6=36:"));
  Write("train.jsonl", questions);
  // The order of the data, by the questions' answers' places: which of 100 do the 4 steps of 2 use?
  const auto source = PromptSource::Create(Config(), kVocab).value();
  std::vector<std::vector<TokenId>> used;
  for (uint64_t id = 0; id < 8; ++id) used.push_back(source->At(id)->token_ids);
  int unreached = 0;
  for (int i = 0; i < 100; ++i) {
    std::vector<std::string> with_long = questions;
    with_long[static_cast<size_t>(i)] = long_;
    Write("train.jsonl", with_long);
    const auto again = PromptSource::Create(Config(), kVocab);
    if (!again.ok()) continue;
    ++unreached;
    for (uint64_t id = 0; id < 8; ++id) ASSERT_EQ((*again)->At(id)->token_ids, used[id]) << i;
  }
  EXPECT_EQ(unreached, 92);
}

TEST_F(PromptSourceTest, RowsAreLeftOutWhenAskedFor) {
  Write("train.jsonl", {"1 5 6=36:", long_, "3 5 6=36:", long_});
  ::testing::internal::CaptureStderr();
  const auto some = PromptSource::Create(Config({"task.unusable_rows=LEAVE_OUT"}), kVocab);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("2 of 4 questions to train on cannot be used"));
  ASSERT_TRUE(some.ok()) << some.status();
  Write("train.jsonl", {"1 5 6=36:", "3 5 6=36:"});
  const auto without = PromptSource::Create(Config(), kVocab).value();
  for (uint64_t id = 0; id < 8; ++id) EXPECT_EQ((*some)->At(id)->token_ids, without->At(id)->token_ids);
  EXPECT_EQ((*some)->fingerprint(), without->fingerprint());
  Write("train.jsonl", {long_});
  EXPECT_THAT(Error({"task.unusable_rows=LEAVE_OUT"}), HasSubstr("1 of 1 questions to train on cannot be used"));
}

TEST_F(PromptSourceTest, AnAnswerIsJudgedByTheRowThatWasAsked) {
  std::ofstream(folder_ + "/train.jsonl") << R"({"question":")" << long_ << R"(","answer":"1"})" << '\n'
                                          << R"({"question":"6 6=36:","answer":"36"})" << '\n';
  const auto source = PromptSource::Create(Config({"task.unusable_rows=LEAVE_OUT"}), kVocab).value();
  TrajectoryGroup group;
  Completion& completion = group.completions.emplace_back();
  completion.token_ids = source->tokenizer().Encode("36", /*add_special_tokens=*/false);
  completion.finish_reason = FinishReason::kLength;
  completion.reward.total = completion.reward.correct = 1;
  EXPECT_EQ(source->CountDisagreements(group).value(), 0);
}

// Prompt 3's answers are all wrong, prompt 1's all right, of the others half are.
TEST_F(PromptSourceTest, SolvedAndHopelessPromptsArePassedOverOnceThatIsKnown) {
  std::vector<std::string> questions;
  for (int i = 0; i < 5; ++i) questions.push_back(absl::StrCat(i, " 5 6=36:"));
  Write("train.jsonl", questions);
  const auto source = PromptSource::Create(Config({"rollout.difficulty_floor=0.2"}), kVocab).value();
  std::map<std::vector<TokenId>, int> row_of;
  for (int i = 0; i < 5; ++i) {
    row_of[source->tokenizer().Encode(questions[static_cast<size_t>(i)], /*add_special_tokens=*/false)] = i;
  }
  constexpr int kPasses = 1000;
  uint64_t next = 0;
  std::map<int, int> times;
  while (next < 5 * kPasses) {
    const Prompt prompt = source->Next(next).value();
    EXPECT_EQ(prompt.token_ids, source->At(prompt.id)->token_ids);
    EXPECT_TRUE(next >= 5 || prompt.id == next) << "the first time each is asked";
    next = prompt.id + 1;
    ASSERT_EQ(row_of.count(prompt.token_ids), 1u);
    const int row = row_of[prompt.token_ids];
    ++times[row];
    source->Learn({.prompt_id = prompt.id, .right = row == 3 ? 0 : row == 1 ? 4 : 2, .answers = 4});
  }
  for (int row = 0; row < 5; ++row) {  // of 1000 turns 200, but for 13
    EXPECT_NEAR(times[row], row == 3 || row == 1 ? 200 : 1000, row == 3 || row == 1 ? 65 : 1) << row;
  }
  EXPECT_DOUBLE_EQ(source->difficulty().never_share(), 0.2);
  EXPECT_DOUBLE_EQ(source->difficulty().always_share(), 0.2);
}

TEST_F(PromptSourceTest, HeldOutQuestionsThatTheRunAsksAreLookedAt) {
  Write("train.jsonl", {"1 5 6=36:"});
  const std::string path = Write("test.jsonl", {"9 9 9=1:", long_});
  EXPECT_EQ(Error({"eval.max_prompts=1"}), "");
  EXPECT_THAT(Error({"eval.max_prompts=2"}), HasSubstr(absl::StrCat("the first is ", path, ":2: the prompt has 26")));
}

TEST_F(PromptSourceTest, SetsHaveTheirOwnQuestionsSamplesAndSampling) {
  Write("train.jsonl", {"1 5 6=36:"});
  Write("test.jsonl", {"9 9 9=1:", "8 9 9=1:"});
  const std::string hard = Write("hard.jsonl", {"7 9 9=1:", "6 9 9=1:", "5 9 9=1:"});
  config::RunConfig config = Config({"eval.max_prompts=1", "eval.by=ACTORS", "rollout.top_k=3"});
  config::EvalSet& first = *config.mutable_eval()->add_sets();
  first.set_name("hard");
  first.set_test_path(hard);
  first.set_max_prompts(2);
  first.set_samples_per_prompt(4);
  first.set_temperature(0.5);
  config.mutable_eval()->add_sets()->set_name("whole");
  const auto source = PromptSource::Create(config, kVocab);
  ASSERT_TRUE(source.ok()) << source.status();
  const std::vector<HeldOutSet>& sets = (*source)->held_out();
  ASSERT_EQ(sets.size(), 3u);
  EXPECT_EQ(sets[0].name, "");
  EXPECT_EQ(sets[0].prompts->size(), 1u);
  EXPECT_EQ(sets[1].name, "hard");
  ASSERT_EQ(sets[1].prompts->size(), 2u);
  EXPECT_EQ(sets[1].samples, 4);
  EXPECT_EQ(sets[1].sampling, (EvaluationSampling{.temperature = 0.5F, .top_p = 1, .top_k = 3}));
  EXPECT_EQ((*sets[1].prompts)[1].token_ids, (*source)->tokenizer().Encode("6 9 9=1:", /*add_special_tokens=*/false));
  EXPECT_EQ(sets[2].prompts->size(), 2u) << "all of task.test_path";
  // An actor claims that 7 is right, and 36 wrong, in the set whose answers are all 36.
  TrajectoryGroup group;
  group.prompt_id = 1;
  for (const char* text : {"7", "36", "36"}) {
    Completion& completion = group.completions.emplace_back();
    completion.token_ids = (*source)->tokenizer().Encode(text, /*add_special_tokens=*/false);
    completion.finish_reason = FinishReason::kLength;
  }
  group.completions[0].reward = group.completions[2].reward = {1, 1, 0, "correct"};
  EXPECT_EQ((*source)->CorrectHeldOut("hard", group).value(), 2);
  EXPECT_EQ(group.completions[0].reward.correct, 0);
  EXPECT_EQ(group.completions[1].reward.correct, 1);
  std::ofstream(hard, std::ios::trunc) << "\n";
  EXPECT_FALSE(PromptSource::Create(config, kVocab).ok());
  config.mutable_eval()->mutable_sets(0)->set_test_path(folder_ + "/none.jsonl");
  EXPECT_THAT(std::string(PromptSource::Create(config, kVocab).status().message()), HasSubstr("none.jsonl"));
}

TEST_F(PromptSourceTest, ATokenBehindTheEmbeddingIsFound) {
  const std::string path = Write("train.jsonl", {"1 5 6=36:"});
  EXPECT_THAT(Error({}, 5), HasSubstr(absl::StrCat(path, ":1: the prompt holds token ")));
  EXPECT_THAT(Error({}, 5), HasSubstr("which the model does not know: its vocab_size is 5"));
}

TEST_F(PromptSourceTest, TheFingerprintIsOfTheRowsAndTheirOrder) {
  const auto of = [this](const std::vector<std::string>& questions) {
    Write("train.jsonl", questions);
    return PromptSource::Create(Config(), kVocab).value()->fingerprint();
  };
  const std::string first = of({"1 5 6=36:", "2 5 6=36:"});
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(of({"1 5 6=36:", "2 5 6=36:"}), first);
  EXPECT_NE(of({"2 5 6=36:", "1 5 6=36:"}), first);
  EXPECT_NE(of({"1 5 6=36:", "2 5 7=36:"}), first);
  EXPECT_NE(of({"1 5 6=36:"}), first);
}

// The same rows by another format are the same data: prompts, order and fingerprint. And a source that begins anew goes
// on with the very row, in whatever pass over the data.
TEST_F(PromptSourceTest, ParquetIsTheSameDataAndACursorIsEnoughToGoOn) {
  const auto source = [this](const std::string& file) {
    std::ofstream(folder_ + "/held_out.jsonl") << R"({"nums":[50,60],"target":110})";
    return PromptSource::Create(
        Config({"task.name=countdown", "task.prompt_style=compact",
                absl::StrCat("task.train_path=", SourcePath(absl::StrCat("tests/goldens/data/countdown.", file))),
                absl::StrCat("task.test_path=", folder_, "/held_out.jsonl")}),
        kVocab);
  };
  const auto lines = source("jsonl");
  ASSERT_TRUE(lines.ok()) << lines.status();
  std::vector<std::string> keys;
  for (uint64_t id = 0; id < 30; ++id) keys.push_back((*lines)->At(id)->answer_key_json);
  EXPECT_NE(std::vector(keys.begin(), keys.begin() + 7), std::vector(keys.begin() + 7, keys.begin() + 14));
  for (const char* file : {"arrow.parquet", "duckdb.parquet", "polars.parquet"}) {
    for (const uint64_t cursor : {0, 1, 6, 7, 8, 20}) {
      const auto columns = source(file);
      ASSERT_TRUE(columns.ok()) << columns.status();
      EXPECT_EQ((*columns)->fingerprint(), (*lines)->fingerprint());
      for (uint64_t id = cursor; id < 30; ++id) {
        EXPECT_EQ((*columns)->At(id)->answer_key_json, keys[id]);
        EXPECT_EQ((*columns)->At(id)->token_ids, (*lines)->At(id)->token_ids);
      }
    }
  }
}

// Two sources: questions whose answers are all 36, and sums.
class MixedSourceTest : public PromptSourceTest {
 protected:
  config::RunConfig Mixed(const std::vector<std::string>& more = {}) const {
    config::RunConfig config = Config(more);
    config::TaskOptions& task = *config.mutable_task();
    task.clear_train_path();
    task.clear_test_path();
    task.set_train_size(7);
    task.set_test_size(4);
    config::TaskSource& read = *task.add_sources();
    read.set_name("read");
    read.set_weight(3);
    read.set_train_path(folder_ + "/train.jsonl");
    read.set_test_path(folder_ + "/test.jsonl");
    config::TaskSource& sums = *task.add_sources();
    sums.set_name("sums");
    sums.set_task("arithmetic");
    return config;
  }
  TrajectoryGroup Answered(const PromptSource& source, uint64_t id, const std::string& text) const {
    TrajectoryGroup group;
    group.prompt_id = id;
    Completion& completion = group.completions.emplace_back();
    completion.token_ids = source.tokenizer().Encode(text, /*add_special_tokens=*/false);
    completion.finish_reason = FinishReason::kLength;
    completion.reward = {1, 1, 0, "correct"};
    return group;
  }
  // The number in an answer key.
  static std::string Number(const std::string& key) {
    const size_t begin = key.find(":\"") + 2;
    return key.substr(begin, key.find('"', begin) - begin);
  }
};

TEST_F(MixedSourceTest, EachSourceHasItsShareAndItsEpochsAndACursorIsEnoughToGoOn) {
  Write("train.jsonl", {"1 5 6=36:", "2 5 6=36:", "3 5 6=36:", "4 5 6=36:", "5 5 6=36:"});
  const auto source = PromptSource::Create(Mixed(), kVocab);
  ASSERT_TRUE(source.ok()) << source.status();
  std::map<uint32_t, std::vector<std::vector<TokenId>>> asked;
  for (uint64_t id = 0; id < 2048; ++id) {
    const Prompt prompt = (*source)->At(id).value();
    EXPECT_EQ((*source)->SourceOf(id), prompt.source);
    EXPECT_EQ(prompt.answer_key_json == R"({"answer":"36"})" && prompt.token_ids.size() > 6, prompt.source == 0);
    asked[prompt.source].push_back(prompt.token_ids);
  }
  EXPECT_EQ(asked[0].size(), 1536u);
  EXPECT_EQ(asked[1].size(), 512u);
  for (const auto& [of, size] : {std::pair(0u, 5), {1u, 7}}) {
    const auto pass = [&, of = of, size = size](int number) {
      return std::vector(asked[of].begin() + number * size, asked[of].begin() + (number + 1) * size);
    };
    std::vector<std::vector<TokenId>> first = pass(0), second = pass(1);
    EXPECT_NE(first, second) << "shuffled anew";
    std::ranges::sort(first);
    std::ranges::sort(second);
    EXPECT_EQ(first, second) << "of the same rows";
  }
  for (const uint64_t cursor : {1, 20, 1023, 1024, 1500}) {
    const auto again = PromptSource::Create(Mixed(), kVocab).value();
    for (uint64_t id = cursor; id < cursor + 40; ++id) {
      ASSERT_EQ(again->At(id)->token_ids, (*source)->At(id)->token_ids) << id;
      ASSERT_EQ(again->At(id)->source, (*source)->At(id)->source) << id;
    }
  }
}

TEST_F(MixedSourceTest, TheFingerprintKnowsWhereASourceBegins) {
  config::RunConfig config = Mixed();
  config::TaskSource& second = *config.mutable_task()->mutable_sources(1);
  second.set_task("qa");
  second.set_train_path(folder_ + "/second.jsonl");
  second.set_test_path(Write("second_test.jsonl", {"8 9 9=1:"}));
  const auto of = [&](const std::vector<std::string>& first_rows, const std::vector<std::string>& second_rows) {
    Write("train.jsonl", first_rows);
    Write("second.jsonl", second_rows);
    return PromptSource::Create(config, kVocab).value()->fingerprint();
  };
  EXPECT_NE(of({"1 5 6=36:", "2 5 6=36:"}, {"3 5 6=36:"}), of({"1 5 6=36:"}, {"2 5 6=36:", "3 5 6=36:"}));
  EXPECT_EQ(of({"1 5 6=36:"}, {"3 5 6=36:"}), of({"1 5 6=36:"}, {"3 5 6=36:"}));
}

TEST_F(MixedSourceTest, AnswersAreJudgedByTheirSource) {
  Write("train.jsonl", {"1 5 6=36:", "2 5 6=36:"});
  config::RunConfig config = Mixed();
  const auto source = PromptSource::Create(config, kVocab).value();
  config.mutable_task()->mutable_sources(0)->set_rewards(config::TaskOptions::ENVIRONMENT);
  const auto served = PromptSource::Create(config, kVocab);
  ASSERT_TRUE(served.ok()) << served.status();
  for (uint64_t id = 0; id < 30; ++id) {
    const Prompt prompt = source->At(id).value();
    const std::string right = Number(prompt.answer_key_json);
    EXPECT_EQ(source->CountDisagreements(Answered(*source, id, right)).value(), 0) << id;
    EXPECT_EQ(source->CountDisagreements(Answered(*source, id, right + "1")).value(), 1) << id;
    EXPECT_EQ((*served)->CountDisagreements(Answered(*source, id, right + "1")).value(), prompt.source == 0 ? 0 : 1)
        << "the environment's word is taken";
  }
}

TEST_F(MixedSourceTest, HeldOutSetsMayBeOfOneSource) {
  Write("train.jsonl", {"1 5 6=36:"});
  Write("test.jsonl", {"9 9 9=1:", "8 9 9=1:"});
  config::RunConfig config = Mixed({"eval.max_prompts=3", "eval.by=ACTORS"});
  for (const char* name : {"sums", "read"}) {
    config::EvalSet& set = *config.mutable_eval()->add_sets();
    set.set_name(name);
    set.set_source(name);
  }
  config::EvalSet& file = *config.mutable_eval()->add_sets();
  file.set_name("file");
  file.set_source("read");
  file.set_test_path(Write("more.jsonl", {"7 9 9=1:"}));
  const auto source = PromptSource::Create(config, kVocab);
  ASSERT_TRUE(source.ok()) << source.status();
  const auto sources_of = [&](size_t set) {
    std::vector<uint32_t> sources;
    for (const Prompt& prompt : *(*source)->held_out()[set].prompts) sources.push_back(prompt.source);
    return sources;
  };
  ASSERT_EQ((*source)->held_out().size(), 4u);
  EXPECT_EQ(sources_of(0), (std::vector<uint32_t>{0, 1, 0})) << "in turn";
  EXPECT_EQ(sources_of(1), (std::vector<uint32_t>{1, 1, 1, 1}));
  EXPECT_EQ(sources_of(2), (std::vector<uint32_t>{0, 0}));
  EXPECT_EQ(sources_of(3), (std::vector<uint32_t>{0}));
  for (size_t set = 1; set < 4; ++set) {
    const HeldOutSet& held_out = (*source)->held_out()[set];
    for (const Prompt& prompt : *held_out.prompts) {
      TrajectoryGroup right = Answered(**source, prompt.id, Number(prompt.answer_key_json));
      EXPECT_EQ((*source)->CorrectHeldOut(held_out.name, right).value(), 0);
      TrajectoryGroup wrong = Answered(**source, prompt.id, Number(prompt.answer_key_json) + "1");
      EXPECT_EQ((*source)->CorrectHeldOut(held_out.name, wrong).value(), 1);
    }
  }
}

TEST_F(MixedSourceTest, RowsThatAnotherSourceHoldsOutAreRefusedOrLeftOut) {
  Write("train.jsonl", {"1 5 6=36:", "2 5 6=36:"});
  const auto refusal = [](const config::RunConfig& config) {
    const auto source = PromptSource::Create(config, kVocab);
    EXPECT_EQ(source.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(source.status().message());
  };
  config::RunConfig config = Mixed();
  config::TaskSource& sums = *config.mutable_task()->mutable_sources(1);
  sums.set_task("qa");
  sums.set_train_path(Write("other.jsonl", {"4 5 6=36:"}));
  sums.set_test_path(Write("other_test.jsonl", {"2 5 6=36:"}));
  EXPECT_THAT(refusal(config), HasSubstr("train.jsonl:2 of source read: source sums holds it out as"));
  EXPECT_THAT(refusal(config), HasSubstr("task.unusable_rows: LEAVE_OUT goes on without such rows"));
  for (int place = 0; place < 60; place += 7) {  // the run's steps reach 6 rows of 60
    std::vector<std::string> rows;
    for (int i = 0; i < 60; ++i) rows.push_back(absl::StrCat(i == place ? 2 : 10 + i, " 5 6=36:"));
    Write("train.jsonl", rows);
    EXPECT_THAT(refusal(config), HasSubstr(absl::StrCat("train.jsonl:", place + 1, " of source read: source sums")));
    EXPECT_THAT(refusal(config), HasSubstr("(task.unusable_rows: LEAVE_OUT goes on without such rows)"));
  }
  config.mutable_task()->set_unusable_rows(config::TaskOptions::LEAVE_OUT);
  const auto source = PromptSource::Create(config, kVocab);
  ASSERT_TRUE(source.ok()) << source.status();
  for (uint64_t id = 0; id < 200; ++id) ASSERT_TRUE((*source)->At(id).ok());
  Write("other.jsonl", {long_});
  EXPECT_THAT(refusal(config), HasSubstr("task qa, source sums: expected at least one question to train on"));
}

class SftRowsTest : public RowsTest {
 protected:
  std::string Error(const std::string& lines, const std::vector<std::string>& more = {}, int64_t vocab_size = kVocab) {
    std::ofstream(folder_ + "/sft.jsonl", std::ios::binary) << lines;
    std::vector<std::string> set = {absl::StrCat("sft.data_path=", folder_, "/sft.jsonl"),
                                    "rollout.max_completion_tokens=8"};
    set.insert(set.end(), more.begin(), more.end());
    Write("train.jsonl", {"1 5 6=36:"});
    ModelConfig model;
    model.vocab_size = vocab_size;
    model.eos_token_ids = {0};
    const auto data = SftData::Create(Config(set), model);
    return data.ok() ? "accepted" : std::string(data.status().message());
  }
  static std::string Line(const std::string& prompt, const std::string& response) {
    return absl::StrCat(R"({"prompt":")", prompt, R"(","response":")", response, "\"}\n");
  }
};

TEST_F(SftRowsTest, LongPromptsAndAnswersAreFoundBeforeTheFirstStep) {
  const std::string good = Line("5 6 6=36:", "6*6");
  EXPECT_EQ(Error(good), "accepted");
  EXPECT_THAT(Error(good + Line("5=5:", "6*6*6*6*6")),
              HasSubstr("sft.jsonl:2: the response has 10 tokens with the end, more than "
                        "rollout.max_completion_tokens = 8"));
  EXPECT_THAT(Error(good + "\n" + Line(long_, "6")), HasSubstr("sft.jsonl:3: the prompt has 26 tokens"));
  EXPECT_EQ(Error(good + Line(long_, "6"), {"task.unusable_rows=LEAVE_OUT"}), "accepted");
  EXPECT_THAT(Error(good, {}, 5), HasSubstr("sft.jsonl:1: the prompt holds token "));
}

TEST_F(SftRowsTest, AFolderOfFilesIsReadInOrder) {
  const std::string shards = folder_ + "/shards";
  std::filesystem::create_directories(shards);
  std::ofstream(shards + "/a.jsonl") << Line("5 6 6=36:", "6*6");
  std::ofstream(shards + "/b.jsonl") << Line("5=5:", "6*6*6*6*6");
  EXPECT_THAT(Error("", {absl::StrCat("sft.data_path=", shards)}), HasSubstr("shards/b.jsonl:1: the response has 10"));
  EXPECT_EQ(Error("", {absl::StrCat("sft.data_path=", shards, "/a*")}), "accepted");
  EXPECT_THAT(Error("", {absl::StrCat("sft.data_path=", SourcePath("tests/goldens/data/gsm8k.arrow.parquet"))}),
              HasSubstr("there is no column \"prompt\", expected one of question, answer"));
}

TEST_F(SftRowsTest, LinesMayEndAndBeginAsEditorsMakeThem) {
  const std::string line = R"({"prompt":"5 6 6=36:","response":"6*6"})";
  for (const std::string& text :
       {line, line + "\r\n" + line + "\r\n", line + "\r\n\r\n", line + "\n  \n", "\xEF\xBB\xBF" + line + "\n"}) {
    EXPECT_EQ(Error(text), "accepted") << text;
  }
}

}  // namespace
}  // namespace tactus
