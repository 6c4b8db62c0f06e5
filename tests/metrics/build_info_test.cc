#include "common/metrics/build_info.h"

#include "gtest/gtest.h"

namespace tactus {
namespace {

constexpr BuildInfo kCpu = {"0.1.0", "abc1234", "2.11.0+cu130", "none", "", ""};
constexpr BuildInfo kGpu = {"0.1.0", "abc1234", "2.11.0+cu130", "13.0.88", "2.28.9", "sm_80 sm_90"};

TEST(BuildInfoTest, VersionTellsTheBuildAndTheGpus) {
  EXPECT_EQ(VersionText("tactus-actor", kCpu, {.gpus = {}, .why_none = "this build is for CPUs only"}),
            "tactus-actor 0.1.0 (abc1234), torch 2.11.0+cu130, for CPUs only\n");
  EXPECT_EQ(VersionText("tactus", kGpu, {.gpus = {}, .why_none = "no NVIDIA driver is installed here"}),
            "tactus 0.1.0 (abc1234), torch 2.11.0+cu130, CUDA 13.0.88, NCCL 2.28.9, for sm_80 sm_90\n"
            "Runs on the CPU, as no NVIDIA driver is installed here.\n");
  const GpuInfo gpu = {.index = 0,
                       .name = "Test GPU",
                       .total_bytes = int64_t{24} << 30,
                       .free_bytes = int64_t{23} << 30,
                       .compute_major = 8,
                       .compute_minor = 6};
  EXPECT_EQ(VersionText("tactus", kGpu, {.gpus = {gpu}, .why_none = ""}),
            "tactus 0.1.0 (abc1234), torch 2.11.0+cu130, CUDA 13.0.88, NCCL 2.28.9, for sm_80 sm_90\n"
            "cuda:0: Test GPU, 24.0 GiB, 23.0 GiB free, compute capability 8.6\n");
}

TEST(BuildInfoTest, ThisBuildKnowsItsTorch) {
  EXPECT_STREQ(ThisBuild().torch, "2.11.0+cu130");
  EXPECT_EQ(std::string(ThisBuild().cuda) == "none", *ThisBuild().nccl == '\0');
}

}  // namespace
}  // namespace tactus
