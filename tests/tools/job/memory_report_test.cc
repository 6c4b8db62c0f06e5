// Predictions for whole jobs, and that the configurations for GPUs fit the machines they are written for.
#include "tools/job/memory_report.h"

#include "common/config/run_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kGiB = int64_t{1} << 30;

GpuList Gpus(int count, int64_t bytes) {
  GpuList list;
  for (int i = 0; i < count; ++i) {
    list.gpus.push_back({.index = i,
                         .name = "Test GPU",
                         .total_bytes = bytes,
                         .free_bytes = std::nullopt,
                         .compute_major = 9,
                         .compute_minor = 0});
  }
  return list;
}

std::string ShapeFile(const std::string& model) {
  return SourcePath("tests/goldens/model_configs/") + model + "/config.json";
}

absl::StatusOr<MemoryReport> Predict(const std::string& config, const std::string& model, int learners, int actors,
                                     const GpuList& gpus, const std::vector<std::string>& overrides = {}) {
  const config::RunConfig run = config::LoadRunConfig(SourcePath("configs/") + config, overrides).value();
  const DevicePlan plan =
      PlanDevices({.learners = learners, .actors = actors, .learner = {}, .actor = {}, .gpus = gpus}).value();
  return PredictMemory(run, ShapeFile(model), plan, gpus);
}

// A GPU of 24 or 80 GB has somewhat less than so many GiB, and the driver keeps some.
TEST(MemoryReportTest, TheConfigurationsFitTheGpusTheyAreWrittenFor) {
  EXPECT_EQ(Predict("qwen3_0.6b_1x24gb.textproto", "qwen3-0.6b", 1, 1, Gpus(1, 23 * kGiB))->Check(), absl::OkStatus());
  EXPECT_EQ(Predict("qwen3_1.7b_1x80gb.textproto", "qwen3-1.7b", 1, 1, Gpus(1, 78 * kGiB))->Check(), absl::OkStatus());
  EXPECT_EQ(Predict("qwen3_4b_countdown.textproto", "qwen3-4b-base", 4, 4, Gpus(8, 78 * kGiB))->Check(),
            absl::OkStatus());
}

TEST(MemoryReportTest, ALargerModelThanTheGpuTakesIsRefused) {
  const absl::Status status = Predict("qwen3_0.6b_1x24gb.textproto", "qwen3-1.7b", 1, 1, Gpus(1, 23 * kGiB))->Check();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("learner-0 needs 3"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("of memory on cuda:0, where 14.5 GiB can be had: expected a "
                                                       "smaller model, or less of what takes most: learner-0 moments"));
  // Both fit alone, not together.
  const absl::Status together =
      Predict("qwen3_4b_countdown.textproto", "qwen3-4b-base", 8, 8, Gpus(8, 78 * kGiB))->Check();
  EXPECT_THAT(std::string(together.message()), HasSubstr("learner-0, actor-0 need "));
  const absl::Status budget =
      Predict("qwen3_4b_countdown.textproto", "qwen3-4b-base", 4, 4, Gpus(8, 78 * kGiB), {"actor.gpu_memory_mib=20480"})
          ->Check();
  EXPECT_THAT(std::string(budget.message()), HasSubstr("on cuda:4, where 20.0 GiB can be had"));
}

TEST(MemoryReportTest, TheTableShowsDevicesThatAreUsedAlikeOnce) {
  const std::string table = Predict("qwen3_4b_countdown.textproto", "qwen3-4b-base", 4, 4, Gpus(8, 80 * kGiB))->Table();
  EXPECT_THAT(table, HasSubstr("qwen3-4b-base/config.json: 4.02 billion parameters, BFLOAT16\n"));
  EXPECT_THAT(table, HasSubstr("cuda:0 … cuda:3"));
  EXPECT_THAT(table, HasSubstr("cuda:4 … cuda:7"));
  EXPECT_THAT(table, Not(HasSubstr("learner-1")));
  EXPECT_THAT(table, HasSubstr("\n  moments                   30.0 GiB\n"));
  const std::string shared = Predict("qwen3_0.6b_1x24gb.textproto", "qwen3-0.6b", 1, 1, Gpus(1, 20 * kGiB))->Table();
  EXPECT_THAT(shared, HasSubstr("596 million parameters"));
  EXPECT_THAT(shared, HasSubstr("  weights                    1.1 GiB     1.1 GiB\n"));
}

TEST(MemoryReportTest, WhatDoesNotFitWholeIsDividedAmongTheRanks) {
  // 8 bytes a parameter of the 4B's 16 bytes of optimizer and gradients, and 2 of weights, stay whole.
  const GpuList small = Gpus(8, 64 * kGiB);
  const auto none = Predict("qwen3_4b_countdown.textproto", "qwen3-4b-base", 4, 4, small, {"learner.shard=NONE"});
  EXPECT_THAT(std::string(none->Check().message()), HasSubstr("learner-0 needs "));
  EXPECT_THAT(none->Table(), HasSubstr("learner.shard NONE: each rank has all of the optimizer\n"));
  const auto chosen = Predict("qwen3_4b_countdown.textproto", "qwen3-4b-base", 4, 4, small);
  EXPECT_EQ(chosen->Check(), absl::OkStatus());
  EXPECT_THAT(chosen->Table(),
              HasSubstr("learner.shard OPTIMIZER, as AUTO chooses: each of 4 ranks has its part of the "
                        "optimizer\n"));
  EXPECT_THAT(chosen->Table(), HasSubstr("\n  moments                    7.5 GiB\n"));
  EXPECT_THAT(Predict("qwen3_4b_countdown.textproto", "qwen3-4b-base", 1, 1, Gpus(2, 80 * kGiB))->Table(),
              Not(HasSubstr("learner.shard")));
}

TEST(MemoryReportTest, WithoutAGpuEverythingIsOnTheCpu) {
  const MemoryReport report =
      Predict("smollm2_countdown.textproto", "smollm2-135m", 1, 2, {.gpus = {}, .why_none = "no GPU"}).value();
  ASSERT_EQ(report.devices.size(), 1u);
  EXPECT_EQ(report.devices[0].needs.size(), 3u);
  EXPECT_EQ(report.devices[0].needs[2].process, "actor-1");
  EXPECT_GT(report.devices[0].available_bytes, 0);
}

TEST(MemoryReportTest, AMissingOrOddShapeIsNamed) {
  const config::RunConfig run = config::LoadRunConfig(SourcePath("configs/quickstart.textproto"), {}).value();
  EXPECT_THAT(std::string(PredictMemory(run, "/nowhere/config.json", {}, {}).status().message()),
              HasSubstr("/nowhere/config.json"));
}

}  // namespace
}  // namespace tactus
