// Learner ranks and actors on simulated machines.
#include "tools/job/device_plan.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

GpuList Gpus(int count) {
  GpuList list;
  for (int i = 0; i < count; ++i) {
    list.gpus.push_back({.index = i,
                         .name = "Test GPU",
                         .total_bytes = int64_t{80} << 30,
                         .free_bytes = std::nullopt,
                         .compute_major = 9,
                         .compute_minor = 0});
  }
  if (count == 0) list.why_none = "no NVIDIA driver is installed here";
  return list;
}

DevicePlanInput Input(int gpus, int learners, int actors, const char* learner = "auto", const char* actor = "auto") {
  return {.learners = learners,
          .actors = actors,
          .learner = ParseDeviceSpec(learner).value(),
          .actor = ParseDeviceSpec(actor).value(),
          .gpus = Gpus(gpus)};
}

// "0 1 | cpu": the devices of learners and actors.
std::string Devices(const DevicePlanInput& input) {
  const absl::StatusOr<DevicePlan> plan = PlanDevices(input);
  if (!plan.ok()) return std::string(plan.status().message());
  const auto text = [](std::string* out, const Placement& placement) {
    absl::StrAppend(out, placement.device.is_gpu() ? absl::StrCat(*placement.device.gpu) : "cpu");
  };
  return absl::StrCat(absl::StrJoin(plan->learners, " ", text), " | ", absl::StrJoin(plan->actors, " ", text));
}

TEST(DevicePlanTest, EightGpusTakeFourRanksAndFourActors) {
  EXPECT_EQ(Devices(Input(8, 4, 4)), "0 1 2 3 | 4 5 6 7");
  EXPECT_EQ(Devices(Input(8, 2, 6)), "0 1 | 2 3 4 5 6 7");
  EXPECT_EQ(Devices(Input(8, 8, 8)), "0 1 2 3 4 5 6 7 | 0 1 2 3 4 5 6 7") << "all GPUs have a rank: shared";
  EXPECT_EQ(Devices(Input(8, 6, 5)), "0 1 2 3 4 5 | 6 7 6 7 6") << "actors take turns on what is left";
}

TEST(DevicePlanTest, OneGpuIsShared) {
  EXPECT_EQ(Devices(Input(1, 1, 1)), "0 | 0");
  EXPECT_EQ(Devices(Input(1, 1, 2)), "0 | 0 0");
  EXPECT_THAT(
      PlanDevices(Input(1, 1, 1))->Lines(),
      ElementsAre("learner-0 computes on cuda:0: Test GPU, 80.0 GiB, compute capability 9.0, shared with actor-0.",
                  "actor-0 computes on cuda:0: Test GPU, 80.0 GiB, compute capability 9.0, shared with learner-0."));
}

TEST(DevicePlanTest, TwoGpus) {
  EXPECT_EQ(Devices(Input(2, 1, 1)), "0 | 1");
  EXPECT_EQ(Devices(Input(2, 2, 2)), "0 1 | 0 1");
  EXPECT_EQ(Devices(Input(2, 1, 3)), "0 | 1 1 1");
  EXPECT_EQ(PlanDevices(Input(2, 1, 1))->Lines()[1],
            "actor-0 computes on cuda:1: Test GPU, 80.0 GiB, compute capability 9.0.");
  EXPECT_THAT(PlanDevices(Input(2, 1, 2))->On(Device{1}), ElementsAre("actor-0", "actor-1"));
}

TEST(DevicePlanTest, WithoutAGpuOneSentenceIsEnough) {
  EXPECT_EQ(Devices(Input(0, 2, 2)), "cpu cpu | cpu cpu");
  EXPECT_THAT(PlanDevices(Input(0, 2, 2))->Lines(),
              ElementsAre("Computing on the CPU: no NVIDIA driver is installed here."));
}

TEST(DevicePlanTest, WhatTheConfigurationSaysHolds) {
  EXPECT_EQ(Devices(Input(4, 2, 2, "auto", "cpu")), "0 1 | cpu cpu");
  EXPECT_EQ(Devices(Input(4, 2, 2, "cpu", "auto")), "cpu cpu | 0 1");
  EXPECT_EQ(Devices(Input(4, 1, 2, "cuda:3", "auto")), "3 | 0 1");
  EXPECT_EQ(Devices(Input(4, 1, 2, "auto", "cuda:2")), "0 | 2 2");
  EXPECT_THAT(PlanDevices(Input(4, 1, 1, "cpu", "cuda:2"))->Lines(),
              ElementsAre("learner-0 computes on cpu: as learner.device says.",
                          "actor-0 computes on cuda:2: as actor.device says: Test GPU, 80.0 GiB, compute capability "
                          "9.0."));
}

TEST(DevicePlanTest, WhatCannotBeIsRefusedInOneSentence) {
  EXPECT_EQ(Devices(Input(2, 4, 1)),
            "there are 4 learners and 2 GPUs, and a GPU can take one rank: expected --learners 2 at most, or "
            "learner.device \"cpu\".");
  EXPECT_EQ(
      Devices(Input(8, 2, 1, "cuda:1")),
      "learner.device is \"cuda:1\" and there are 2 learners, but a GPU can take one rank: expected \"auto\", which "
      "gives each a GPU of its own.");
  EXPECT_EQ(Devices(Input(2, 1, 1, "auto", "cuda:2")),
            "actor.device is \"cuda:2\" and the GPUs here are cuda:0 to cuda:1: expected one of them, \"cpu\" or "
            "\"auto\".");
  EXPECT_EQ(
      Devices(Input(0, 1, 1, "cuda:0")),
      "learner.device is \"cuda:0\" and no NVIDIA driver is installed here: expected \"cpu\", or \"auto\" to use a "
      "GPU where there is one.");
}

}  // namespace
}  // namespace tactus
