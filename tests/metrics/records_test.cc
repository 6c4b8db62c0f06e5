// metrics.jsonl and samples.jsonl: their lines, and files that a killed run left behind.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/metrics/held_out.h"
#include "common/metrics/jsonl_writer.h"
#include "common/metrics/sample_record.h"
#include "common/metrics/step_record.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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
  const StepRecord again = StepRecordFromJson(StepRecordToJson(record)).value();
  EXPECT_EQ(again.step, 12);
  EXPECT_EQ(again.version, "1.12");
  EXPECT_EQ(again.time_s, 3.25);
  for (const StepField& field : StepFields()) EXPECT_EQ(again.*field.member, record.*field.member) << field.key;
}

TEST(StepRecordTest, KeysAreFrozen) {
  StepRecord record;
  record.step = 1;
  record.version = "0.1";
  record.eval_pass1 = 0.5;
  EXPECT_EQ(
      StepRecordToJson(record),
      "{\"step\":1,\"version\":\"0.1\",\"time_s\":0.0,\"reward_mean\":0.0,\"reward_std\":0.0,\"correct_rate\":0.0,"
      "\"format_rate\":0.0,\"completion_tokens_mean\":0.0,\"tokens_generated_per_s\":0.0,"
      "\"tokens_trained_per_s\":0.0,\"loss\":0.0,\"grad_norm\":0.0,\"lr\":0.0,\"kl_k3\":0.0,\"clip_fraction\":0.0,"
      "\"entropy_mean\":0.0,\"mismatch_mean\":0.0,\"mismatch_max\":0.0,\"mismatch_kl\":0.0,\"tis_mean\":1.0,"
      "\"staleness_mean\":0.0,\"staleness_max\":0.0,\"zero_signal_share\":0.0,\"skipped_steps\":0.0,"
      "\"step_time_s\":0.0,\"phase_wait_s\":0.0,\"phase_forward_s\":0.0,\"phase_backward_s\":0.0,"
      "\"phase_allreduce_s\":0.0,\"phase_optimizer_s\":0.0,\"phase_publish_s\":0.0,\"phase_checkpoint_s\":0.0,"
      "\"actors_connected\":0.0,\"groups_dropped_stale\":0.0,\"eval_pass1\":0.5,\"cpu_share_learner\":0.0,"
      "\"credit_mean\":1.0,\"credit_amplified_share\":0.0,\"audited_completions\":0.0,"
      "\"gamma_version_lag_mean\":0.0,\"gamma_version_lag_max\":0.0,\"credit_local_chunk_share\":null,"
      "\"credit_global_anchor_share\":null,\"credit_coupled_share\":null,\"credit_entropy_share\":null,"
      "\"overlap_local_global\":null,\"overlap_coupled_entropy\":null,\"overlap_global_entropy\":null,"
      "\"overlap_local_entropy\":null,\"waad_peak_entropy_corr\":null,\"waad_mean\":null,\"waad_p10\":null,"
      "\"waad_p50\":null,\"waad_p90\":null,\"fai_mean\":null,\"fai_p10\":null,\"fai_p50\":null,"
      "\"fai_p90\":null}");
}

TEST(StepRecordTest, NonFiniteIsNullAndNoEvaluationIsNoKey) {
  StepRecord record;
  record.loss = std::nan("");
  const std::string line = StepRecordToJson(record);
  EXPECT_THAT(line, HasSubstr("\"loss\":null"));
  EXPECT_THAT(line, Not(HasSubstr("eval_pass1")));
  EXPECT_TRUE(std::isnan(StepRecordFromJson(line)->loss));
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
  EXPECT_THAT(with("[1,151935]", "[1,2.5]"), HasSubstr("\"token_ids\""));
  EXPECT_THAT(with("[1,151935]", "[1,-1]"), HasSubstr("\"token_ids\""));
  EXPECT_THAT(with("[1,151935]", "[1,4294967296]"), HasSubstr("\"token_ids\""));
  EXPECT_THAT(with("[1,151935]", "[1,18446744073709551615]"), HasSubstr("\"token_ids\""));
  EXPECT_THAT(with("[0.25,1.5]", "[0.25]"), HasSubstr("entropy"));
  EXPECT_THAT(with("[0.125,0.0]", "[0.125]"), HasSubstr("fai"));
  EXPECT_THAT(with("\"fai\"", "\"fay\""), HasSubstr("fai"));
  EXPECT_THAT(with("\"global_heads\":[0,2]", "\"global_heads\":[0,3]"), HasSubstr("\"global_heads\""));
  EXPECT_THAT(with("\"global_heads\":[0,2]", "\"global_heads\":[2,0]"), HasSubstr("\"global_heads\""));
  EXPECT_THAT(with("\"local_heads\":[1]", "\"local_heads\":[1,1]"), HasSubstr("\"local_heads\""));
  EXPECT_THAT(with("[10,13,15]", "[10,13]"), HasSubstr("\"layers\""));
  EXPECT_EQ(with("[10,13,15]", "[]"), "") << "as older builds wrote it";
  EXPECT_THAT(with("{\"start_token\":1", "{\"start\":1"), HasSubstr("\"start_token\""));
  EXPECT_THAT(with("[{\"start_token\":0", "[7,{\"start_token\":0"), HasSubstr("\"versions\""));
}

TEST(SampleRecordTest, BadLinesNameTheKey) {
  std::string line = SampleRecordToJson(Sample());
  const auto with = [&line](const std::string& from, const std::string& to) {
    std::string changed = line;
    changed.replace(changed.find(from), from.size(), to);
    return std::string(SampleRecordFromJson(changed).status().message());
  };
  EXPECT_THAT(with("\"gamma\":[1.0,1.5]", "\"gamma\":[1.0]"), HasSubstr("differ in length"));
  EXPECT_THAT(with("\"gamma\":[1.0,1.5]", "\"gamma\":[1.0,\"x\"]"), HasSubstr("\"gamma\""));
  EXPECT_THAT(with("\"correct\":false", "\"correct\":0"), HasSubstr("\"correct\""));
  EXPECT_THAT(with("\"text\"", "\"txt\""), HasSubstr("\"text\""));
  EXPECT_THAT(with("\"step\":3", "\"step\":3.5"), HasSubstr("\"step\""));
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

TEST(HeldOutTest, BadLinesNameFileAndLine) {
  const std::string path = ::testing::TempDir() + "/held_out_bad_test.jsonl";
  for (const char* line : {"{}", "[]", "7", "{\"step\":1.5,\"pass1\":0,\"low\":0,\"high\":0}",
                           "{\"step\":1,\"pass1\":\"x\",\"low\":0,\"high\":0}", "{\"step\":1"}) {
    std::ofstream(path) << "{\"step\":0,\"pass1\":0,\"low\":0,\"high\":0}\n" << line << "\n";
    EXPECT_THAT(std::string(ReadHeldOut(path).status().message()), HasSubstr(path + ":2")) << line;
  }
  EXPECT_THAT(std::string(AppendHeldOut("/nonexistent/x", {}).message()), HasSubstr("/nonexistent/x"));
}

class JsonlWriterTest : public ::testing::Test {
 protected:
  std::string path_ = ::testing::TempDir() + "/jsonl_writer_test.jsonl";
  void SetUp() override { std::filesystem::remove(path_); }
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
