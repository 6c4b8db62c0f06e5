// metrics.jsonl and samples.jsonl: their lines, and files that a killed run left behind.
#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/metrics/held_out.h"
#include "common/metrics/jsonl_writer.h"
#include "common/metrics/run_folder.h"
#include "common/metrics/run_lines.h"
#include "common/metrics/sample_record.h"
#include "common/metrics/step_record.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string FileText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(StepRecordTest, RoundTripsEveryField) {
  StepRecord record;
  record.step = 12;
  record.version = "1.12";
  record.time_s = 3.25;
  double value = 0.125;
  for (const StepField& field : StepFields()) record.*field.member = value += 1;
  const std::string line = StepRecordToJson(record);
  EXPECT_THAT(line, StartsWith(R"({"step":12,"version":"1.12","time_s":3.25,")"))
      << "tests/compat holds the other keys";
  const StepRecord again = StepRecordFromJson(line).value();
  EXPECT_EQ(again.step, 12);
  EXPECT_EQ(again.version, "1.12");
  EXPECT_EQ(again.time_s, 3.25);
  for (const StepField& field : StepFields()) EXPECT_EQ(again.*field.member, record.*field.member) << field.key;
}

TEST(StepRecordTest, EachNumberHasOneRowNamedLikeIt) {
  std::set<std::string> keys, tags, series;
  std::set<const double*> members;
  const StepRecord record;
  for (const StepField& field : StepFields()) {
    EXPECT_TRUE(keys.insert(field.key).second) << field.key;
    EXPECT_TRUE(members.insert(&(record.*field.member)).second) << field.key << " shows another row's member";
    EXPECT_TRUE(std::isnan(record.*field.member)) << field.key << " is not absent before it is measured";
    EXPECT_TRUE(tags.insert(TensorBoardTag(field)).second) << field.key;
    EXPECT_EQ(FindStepField(field.key), &field);
    EXPECT_THAT(field.help, Not(HasSubstr("|"))) << "it stands in a table of metrics.md";
    if (field.series.metric == nullptr) continue;
    EXPECT_EQ(field.series.label == nullptr, field.series.value == nullptr) << field.key;
    EXPECT_TRUE(
        series.insert(absl::StrCat(field.series.metric, " ", field.series.value == nullptr ? "" : field.series.value))
            .second)
        << field.key;
  }
  EXPECT_EQ(FindStepField("nonsense"), nullptr);
  EXPECT_EQ(TensorBoardTag(*FindStepField("eval_pass1")), "eval/pass1");
  EXPECT_EQ(TensorBoardTag(*FindStepField("loss")), "train/loss");
}

TEST(StepRecordTest, ChartsHoldOneOrTwoNumbers) {
  std::set<std::string> titles;
  for (const StepChart& chart : StepCharts()) {
    EXPECT_TRUE(titles.insert(chart.title).second) << chart.title;
    EXPECT_LE(chart.fields.size(), 2u) << chart.title;
  }
  EXPECT_EQ(StepCharts().front().title, std::string("Reward"));
  EXPECT_TRUE(titles.contains("Agreement"));
}

TEST(StepRecordTest, WhatIsNotMeasuredIsNoKeyAndWhatIsNotFiniteIsNull) {
  StepRecord record;
  record.loss = std::nan("");
  const std::string line = StepRecordToJson(record);
  EXPECT_THAT(line, HasSubstr("\"loss\":null"));
  for (const StepField& field : StepFields()) {
    const std::string key = absl::StrCat("\"", field.key, "\":");
    EXPECT_EQ(absl::StrContains(line, key), field.absent == nullptr) << field.key;
  }
  EXPECT_TRUE(std::isnan(StepRecordFromJson(line)->loss));
  EXPECT_TRUE(std::isnan(StepRecordFromJson(line)->kl_k3));
}

TEST(StepRecordTest, LinesOfEarlierRunsAreRead) {
  const StepRecord record = StepRecordFromJson("{\"step\":7,\"loss\":0.5,\"waad_mean\":null,\"kl_k3\":0.0}").value();
  EXPECT_EQ(record.loss, 0.5);
  EXPECT_EQ(record.kl_k3, 0);
  EXPECT_TRUE(std::isnan(record.waad_mean));
  EXPECT_TRUE(std::isnan(record.tis_mean)) << "a key that is not there was not measured";
}

TEST(StepTrendTest, ComparesTheFirstStepsWithTheLast) {
  std::vector<StepRecord> steps;
  EXPECT_EQ(TrendOf(steps, &StepRecord::reward_mean).steps, 0);
  for (int i = 0; i < 30; ++i) {
    StepRecord& step = steps.emplace_back();
    if (i % 2 == 0) step.reward_mean = i;
    step.loss = i < 12 ? 1 : 4;
  }
  const StepTrend loss = TrendOf(steps, &StepRecord::loss);
  EXPECT_EQ(loss.steps, 10);
  EXPECT_EQ(loss.first, 1);
  EXPECT_EQ(loss.last, 4);
  const StepTrend reward = TrendOf(steps, &StepRecord::reward_mean);  // 0 2 .. 28: 15 of them
  EXPECT_EQ(reward.steps, 7);
  EXPECT_EQ(reward.first, 6);
  EXPECT_EQ(reward.last, 22);
  EXPECT_EQ(TrendOf(std::span(steps).first(1), &StepRecord::loss).steps, 0);
  EXPECT_TRUE(std::isnan(TrendOf(steps, &StepRecord::kl_k3).last));
}

TEST(StepRecordTest, BadLinesAreRefused) {
  for (const char* line : {"", "{", "[]", "{}", "{\"step\":1.5}", "{\"step\":\"1\"}", "{\"step\":1,\"loss\":\"x\"}",
                           "{\"step\":1,\"version\":3}", "{\"step\":1,\"step\":2}", "{\"step\":1} x"}) {
    EXPECT_FALSE(StepRecordFromJson(line).ok()) << line;
  }
  EXPECT_FALSE(StepRecordFromJson(std::string(100000, ' ') + "{\"step\":1}").ok());
  EXPECT_TRUE(StepRecordFromJson("{\"step\":1,\"a_later_key\":[1,2]}").ok());
}

SampleRecord Sample() {
  return {.step = 3,
          .version = "0.2",
          .prompt_id = 18446744073709551615u,
          .completion = 1,
          .prompt = "p",
          .text = "a\xff",
          .tokens = {"a", "\xff"},
          .gamma = {1.0, 1.5},
          .logprobs = {-0.5, -2},
          .reward = 0.05,
          .correct = false,
          .reason = "wrong_value"};
}

TEST(SampleRecordTest, RoundTripsAndShowsBrokenUtf8) {
  const SampleRecord again = SampleRecordFromJson(SampleRecordToJson(Sample())).value();
  EXPECT_EQ(again.prompt_id, 18446744073709551615u);
  EXPECT_EQ(again.tokens, (std::vector<std::string>{"a", "\xef\xbf\xbd"}));
  EXPECT_EQ(again.gamma, (std::vector<double>{1.0, 1.5}));
  EXPECT_EQ(again.reason, "wrong_value");
}

SampleRecord AuditedSample() {
  SampleRecord sample = Sample();
  sample.prompt_ids = {5, 6, 7};
  sample.token_ids = {1, 151935};
  sample.versions = {{0, "0.2"}, {1, "0.3"}};
  sample.entropy = {0.25, 1.5};
  sample.sampled = {1};
  sample.waad = {0, 3.5};
  sample.fai = {0.125, 0};
  sample.layers = {10, 13, 15};
  sample.span = {4, 0.5, 9};
  sample.local_heads = {1};
  sample.global_heads = {0, 2};
  return sample;
}

TEST(SampleRecordTest, RoundTripsWhatARecomputationNeeds) {
  const SampleRecord again = SampleRecordFromJson(SampleRecordToJson(AuditedSample())).value();
  EXPECT_EQ(again.prompt_ids, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(again.token_ids, (std::vector<int32_t>{1, 151935}));
  EXPECT_EQ(again.versions, (std::vector<SampleSpan>{{0, "0.2"}, {1, "0.3"}}));
  EXPECT_EQ(again.entropy, (std::vector<double>{0.25, 1.5}));
  EXPECT_EQ(again.sampled, (std::vector<int32_t>{1}));
  EXPECT_EQ(again.waad, (std::vector<double>{0, 3.5}));
  EXPECT_EQ(again.fai, (std::vector<double>{0.125, 0}));
  EXPECT_EQ(again.layers, (std::vector<int32_t>{10, 13, 15}));
  EXPECT_EQ(again.span, (std::vector<double>{4, 0.5, 9}));
  EXPECT_EQ(again.local_heads, (std::vector<int32_t>{1}));
  EXPECT_EQ(again.global_heads, (std::vector<int32_t>{0, 2}));
}

TEST(SampleRecordTest, NotAuditedHasNoAttentionKeysAndAnOlderLineIsRead) {
  const std::string line = SampleRecordToJson(Sample());
  EXPECT_THAT(line, Not(HasSubstr("waad")));
  EXPECT_THAT(line, Not(HasSubstr("local_heads")));
  EXPECT_THAT(line, Not(HasSubstr("sampled"))) << "no conversation";
  const SampleRecord older =
      SampleRecordFromJson(R"({"step":1,"version":"0.0","prompt_id":2,"completion":0,"reward":1,"correct":true,)"
                           R"("reason":"ok","prompt":"p","text":"t","tokens":["t"],"gamma":[1],"logprobs":[-1]})")
          .value();
  EXPECT_TRUE(older.token_ids.empty() && older.versions.empty() && older.waad.empty());
}

TEST(SampleRecordTest, BadListsNameTheKey) {
  const std::string line = SampleRecordToJson(AuditedSample());
  const auto with = [&line](const std::string& from, const std::string& to) {
    std::string changed = line;
    changed.replace(changed.find(from), from.size(), to);
    return std::string(SampleRecordFromJson(changed).status().message());
  };
  EXPECT_EQ(with("\"waad\"", "\"waad\""), "");
  EXPECT_THAT(with("[1,151935]", "[1]"), HasSubstr("token_ids"));
  EXPECT_THAT(with("[1,151935]", "[1,2.5]"), HasSubstr("token_ids[1]: expected"));
  EXPECT_THAT(with("[1,151935]", "[1,-1]"), HasSubstr("token_ids[1]: expected"));
  EXPECT_THAT(with("[1,151935]", "[1,4294967296]"), HasSubstr("token_ids[1]: expected"));
  EXPECT_THAT(with("[1,151935]", "[1,18446744073709551615]"), HasSubstr("token_ids[1]: expected"));
  EXPECT_THAT(with("[0.25,1.5]", "[0.25]"), HasSubstr("entropy"));
  EXPECT_THAT(with("[0.125,0.0]", "[0.125]"), HasSubstr("fai"));
  EXPECT_THAT(with("\"fai\"", "\"fay\""), HasSubstr("fai"));
  EXPECT_THAT(with("\"global_heads\":[0,2]", "\"global_heads\":[0,3]"), HasSubstr("global_heads: expected increasing"));
  EXPECT_THAT(with("\"global_heads\":[0,2]", "\"global_heads\":[2,0]"), HasSubstr("global_heads: expected increasing"));
  EXPECT_THAT(with("\"local_heads\":[1]", "\"local_heads\":[1,1]"), HasSubstr("local_heads: expected increasing"));
  EXPECT_THAT(with("\"sampled\":[1]", "\"sampled\":[2]"),
              HasSubstr("sampled: expected increasing indices into tokens"));
  EXPECT_THAT(with("[10,13,15]", "[10,13]"), HasSubstr("\"layers\""));
  EXPECT_EQ(with("[10,13,15]", "[]"), "") << "as older builds wrote it";
  EXPECT_THAT(with("{\"start_token\":1", "{\"start\":1"), HasSubstr("versions[1].start_token: expected"));
  EXPECT_THAT(with("[{\"start_token\":0", "[7,{\"start_token\":0"), HasSubstr("versions[0]: expected an object"));
}

TEST(SampleRecordTest, BadLinesNameTheKey) {
  std::string line = SampleRecordToJson(Sample());
  const auto with = [&line](const std::string& from, const std::string& to) {
    std::string changed = line;
    changed.replace(changed.find(from), from.size(), to);
    return std::string(SampleRecordFromJson(changed).status().message());
  };
  EXPECT_THAT(with("\"gamma\":[1.0,1.5]", "\"gamma\":[1.0]"), HasSubstr("differ in length"));
  EXPECT_THAT(with("\"gamma\":[1.0,1.5]", "\"gamma\":[1.0,\"x\"]"), HasSubstr("gamma[1]: expected a number"));
  EXPECT_THAT(with("\"correct\":false", "\"correct\":0"), HasSubstr("correct: expected true or false"));
  EXPECT_THAT(with("\"text\"", "\"txt\""), HasSubstr("text: expected a string"));
  EXPECT_THAT(with("\"step\":3", "\"step\":3.5"), HasSubstr("step: expected a 64-bit integer"));
}

TEST(HeldOutTest, RoundTripsAndJoinsItsStep) {
  const std::string path = ::testing::TempDir() + "/held_out_test.jsonl";
  std::filesystem::remove(path);
  EXPECT_TRUE(ReadHeldOut(path).value().empty()) << "no file, nothing measured";
  const std::vector<HeldOutRecord> measured = {{0, 0.25, 0.2, 0.3}, {5, 0.5, 0.4, 0.6}, {5, 0.75, 0.7, 0.8}};
  for (const HeldOutRecord& record : measured) ASSERT_TRUE(AppendHeldOut(path, record).ok());
  EXPECT_EQ(ReadHeldOut(path).value(), measured);
  const auto pass1 = [&](int64_t step) {
    StepRecord record;
    record.step = step;
    JoinHeldOut(measured, &record);
    return record.eval_pass1;
  };
  EXPECT_EQ(pass1(1), 0.25) << "the starting policy";
  EXPECT_TRUE(std::isnan(pass1(4)));
  EXPECT_EQ(pass1(5), 0.75) << "measured twice: the latest";
}

TEST(HeldOutTest, KeepsHowItWasMeasured) {
  const std::string path = ::testing::TempDir() + "/held_out_how_test.jsonl";
  std::filesystem::remove(path);
  const HeldOutRecord one = {
      .step = 3, .pass1 = 0.5, .low = 0.4, .high = 0.6, .samples = 1, .temperature = 0.5, .version = "1.3"};
  HeldOutRecord many = one;
  many.step = 4;
  many.samples = 8;
  many.pass_k = 0.75;
  many.pass_k_low = 0.7;
  many.pass_k_high = 0.8;
  for (const HeldOutRecord& record : {one, many}) ASSERT_TRUE(AppendHeldOut(path, record).ok());
  EXPECT_EQ(ReadHeldOut(path).value(), (std::vector{one, many}));
  StepRecord record;
  SetHeldOut(one, &record);
  EXPECT_EQ(record.eval_pass1, 0.5);
  EXPECT_TRUE(std::isnan(record.eval_pass_k));
  SetHeldOut(many, &record);
  EXPECT_EQ(record.eval_pass_k, 0.75);
}

TEST(HeldOutTest, ADamagedLineCostsNoOther) {
  const std::string path = ::testing::TempDir() + "/held_out_bad_test.jsonl";
  const std::vector<HeldOutRecord> measured = {{0, 0.25, 0.2, 0.3}, {5, 0.5, 0.4, 0.6}};
  for (const char* line : {"{}", "[]", "7", "{\"step\":1.5,\"pass1\":0,\"low\":0,\"high\":0}",
                           "{\"step\":1,\"pass1\":\"x\",\"low\":0,\"high\":0}", "{\"step\":1"}) {
    std::filesystem::remove(path);
    ASSERT_TRUE(AppendHeldOut(path, measured[0]).ok());
    std::ofstream(path, std::ios::app) << line << "\n";
    ASSERT_TRUE(AppendHeldOut(path, measured[1]).ok());
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(ReadHeldOut(path).value(), measured) << line;
    EXPECT_THAT(::testing::internal::GetCapturedStderr(),
                HasSubstr(path + ": 1 line is damaged and left out, the first is line 2: held-out line: "))
        << line;
  }
  EXPECT_THAT(std::string(AppendHeldOut("/nonexistent/x", {}).message()), HasSubstr("/nonexistent/x"));
}

TEST(HeldOutTest, WhatIsAppendedIsNoPartOfATornLine) {
  const std::string path = ::testing::TempDir() + "/held_out_torn_test.jsonl";
  std::ofstream(path) << "{\"step\":0,\"pass";
  const HeldOutRecord record = {5, 0.5, 0.4, 0.6};
  ASSERT_TRUE(AppendHeldOut(path, record).ok());
  EXPECT_EQ(ReadHeldOut(path).value(), std::vector<HeldOutRecord>{record});
}

TEST(HeldOutTest, TheBestCheckpointIsKeptWhenOthersGo) {
  const RunFolder folder{::testing::TempDir() + "/held_out_best_test"};
  std::filesystem::remove_all(folder.root);
  EXPECT_EQ(FindBestCheckpoint(folder).value(), std::nullopt);
  const auto measure = [&](int64_t step, double pass1) {
    const std::string path = folder.checkpoints() + "/" + CheckpointName(step);
    std::filesystem::create_directories(path + "/model");
    std::ofstream(path + "/model/weights") << step;
    const HeldOutRecord record = {step, pass1, pass1 - 0.1, pass1 + 0.1};
    EXPECT_TRUE(AppendHeldOut(folder.held_out(), record).ok());
    EXPECT_TRUE(KeepIfBest(folder, path, record).ok());
    std::filesystem::remove_all(path);  // as checkpoint.keep has it
    return FindBestCheckpoint(folder).value()->path;
  };
  EXPECT_EQ(measure(10, 0.5), folder.best() + "/step-000010");
  EXPECT_EQ(measure(20, 0.7), folder.best() + "/step-000020");
  EXPECT_EQ(measure(30, 0.7), folder.best() + "/step-000020") << "as good, and later";
  EXPECT_EQ(measure(40, 0.6), folder.best() + "/step-000020");
  std::ifstream weights(folder.best() + "/step-000020/model/weights");
  std::string text;
  EXPECT_TRUE(weights >> text && text == "20") << "its files are there";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.best()), {}), 1) << "and no other's";
  EXPECT_EQ(NewestCheckpoint(folder), "") << "it is none to go on from";
  EXPECT_FALSE(KeepIfBest(folder, folder.checkpoints() + "/step-000050", {50, 0.9, 0.8, 1.0}).ok()) << "it is gone";
  EXPECT_EQ(FindBestCheckpoint(folder).value()->held_out.step, 20);
}

class JsonlWriterTest : public ::testing::Test {
 protected:
  std::string path_ = ::testing::TempDir() + "/jsonl_writer_test.jsonl";
  void SetUp() override {
    for (const char* suffix : {"", ".damaged", ".damaged-2"}) std::filesystem::remove(path_ + suffix);
  }
  void Write(int64_t keep_through, std::vector<int64_t> steps) {
    auto writer = JsonlWriter::Open(path_, keep_through).value();
    for (const int64_t step : steps) {
      StepRecord record;
      record.step = step;
      ASSERT_TRUE(writer->WriteStep(record).ok());
    }
  }
  std::vector<int64_t> Steps() {
    std::vector<int64_t> steps;
    std::istringstream lines(FileText(path_));
    for (std::string line; std::getline(lines, line);) steps.push_back(StepRecordFromJson(line)->step);
    return steps;
  }
};

TEST_F(JsonlWriterTest, AResumedRunReplacesTheStepsItRepeats) {
  Write(0, {1, 2, 3, 4});
  Write(2, {3, 4, 5});
  EXPECT_EQ(Steps(), (std::vector<int64_t>{1, 2, 3, 4, 5}));
}

TEST_F(JsonlWriterTest, ATornLastLineIsDropped) {
  Write(0, {1, 2});
  std::ofstream(path_, std::ios::app) << "{\"step\":3,\"ver";
  Write(100, {3});
  EXPECT_EQ(Steps(), (std::vector<int64_t>{1, 2, 3}));
}

TEST_F(JsonlWriterTest, IsCutInPlaceAndWhatKilledProcessesLeftGoes) {
  Write(0, {1, 2, 3, 4});
  std::ofstream(path_ + ".4711.tmp") << "half of it";
  std::ofstream(path_ + ".mine.tmp") << "no process wrote that";
  struct stat before {
  }, after{};
  ASSERT_EQ(::stat(path_.c_str(), &before), 0);
  Write(2, {3});
  ASSERT_EQ(::stat(path_.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "no second file needs room on a disk that may be full";
  EXPECT_EQ(Steps(), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".4711.tmp"));
  EXPECT_TRUE(std::filesystem::remove(path_ + ".mine.tmp"));
}

TEST_F(JsonlWriterTest, AFileThatGrewTooLargeKeepsEverySecondStep) {
  auto writer = JsonlWriter::Open(path_, 0).value();
  const auto write = [&](std::vector<int64_t> steps) {
    SampleRecord sample = Sample();
    for (const int64_t step : steps) {
      sample.step = step;
      ASSERT_TRUE(writer->WriteSample(sample).ok());
    }
  };
  const auto steps = [&] {
    std::vector<int64_t> out;
    const std::vector<SampleRecord> samples = ReadSamples(path_, 100, 0).value();
    for (const SampleRecord& sample : samples) out.push_back(sample.step);
    return out;
  };
  write({1, 1, 2, 2, 3, 3, 4, 4, 5});
  const int64_t bytes = static_cast<int64_t>(std::filesystem::file_size(path_));
  ASSERT_TRUE(writer->HalveAbove(bytes).ok());
  EXPECT_EQ(steps().size(), 9u);
  ASSERT_TRUE(writer->HalveAbove(bytes - 1).ok());
  write({6, 7});
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 1, 3, 3, 5, 6, 7}));
  ASSERT_TRUE(writer->HalveAbove(0).ok());
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 1, 5, 7}));
  auto again = JsonlWriter::Open(path_, 5).value();
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 1, 5}));
}

TEST_F(JsonlWriterTest, ADamagedByteCostsItsLineOnlyAndTheFileIsKept) {
  std::vector<int64_t> all(60);
  std::iota(all.begin(), all.end(), 1);
  Write(0, all);
  std::string damaged = FileText(path_);
  damaged[damaged.find("\"step\":2,") + 1] = '\xff';
  std::ofstream(path_) << damaged;
  ::testing::internal::CaptureStderr();
  Write(59, {60, 61});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr(path_ + ": 1 line is damaged and left out, the first is line 2: "),
                    HasSubstr(path_ + ".damaged is the file as it was")));
  all.erase(all.begin() + 1);
  all.push_back(61);
  EXPECT_EQ(Steps(), all);
  EXPECT_EQ(FileText(path_ + ".damaged"), damaged);
  Write(61, {62});
  EXPECT_FALSE(std::filesystem::exists(path_ + ".damaged-2")) << "nothing is wrong now";
}

TEST_F(JsonlWriterTest, ALineThatMovedToALaterStepIsDamage) {
  Write(0, {1, 90, 3, 4});
  Write(3, {4});
  EXPECT_EQ(Steps(), (std::vector<int64_t>{1, 3, 4}));
  EXPECT_TRUE(std::filesystem::exists(path_ + ".damaged"));
}

TEST_F(JsonlWriterTest, ReadersLeaveDamagedLinesOutAndSayWhich) {
  Write(0, {1, 2, 3});
  std::string text = FileText(path_);
  text[text.find("\"step\":2,") + 1] = '\xff';
  text += std::string(kMaxRunLineBytes + 1, 'x') + "\n";
  std::ofstream(path_) << text;
  ::testing::internal::CaptureStderr();
  const std::vector<StepRecord> steps = ReadSteps(path_).value();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr(path_ + ": 2 lines are damaged and left out, the first is line 2: "));
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[1].step, 3);
  EXPECT_TRUE(absl::IsNotFound(ReadSteps(path_ + ".none").status()));
}

TEST_F(JsonlWriterTest, SamplesAreReadAroundADamagedOne) {
  {
    auto writer = JsonlWriter::Open(path_, 0).value();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(writer->WriteSample(Sample()).ok());
  }
  std::string text = FileText(path_);
  text[text.find('\n') + 3] = '\xff';
  std::ofstream(path_) << text;
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(ReadSamples(path_, 10, 10)->size(), 2u);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr(path_ + ": a damaged line is left out: "));
  EXPECT_TRUE(ReadSamples(path_ + ".none", 1, 1)->empty());
}

TEST_F(JsonlWriterTest, LinesAreVisibleAtOnce) {
  auto writer = JsonlWriter::Open(path_, 0).value();
  StepRecord record;
  record.step = 1;
  ASSERT_TRUE(writer->WriteStep(record).ok());
  EXPECT_EQ(Steps(), (std::vector<int64_t>{1}));
}

TEST_F(JsonlWriterTest, ErrorsNameThePath) {
  const absl::Status status = JsonlWriter::Open("/nonexistent/x.jsonl", 0).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/x.jsonl"));
  auto full = JsonlWriter::Open("/dev/full", 0);
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ((*full)->WriteStep({}).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tactus
