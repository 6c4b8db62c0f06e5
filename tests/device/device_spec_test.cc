// What a device may be called, and which one is taken.
#include "common/device/device_spec.h"

#include "common/device/devices.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

GpuList Gpus(int count) {
  GpuList list;
  for (int i = 0; i < count; ++i) {
    list.gpus.push_back({.index = i,
                         .name = "Test GPU",
                         .total_bytes = 24 * kGiB,
                         .free_bytes = 23 * kGiB,
                         .compute_major = 9,
                         .compute_minor = 0});
  }
  if (count == 0) list.why_none = "no NVIDIA driver is installed here";
  return list;
}

TEST(DeviceSpecTest, NamesAreReadAndWritten) {
  EXPECT_TRUE(ParseDeviceSpec("auto")->automatic);
  EXPECT_FALSE(ParseDeviceSpec("cpu")->automatic);
  EXPECT_EQ(ParseDeviceSpec("cpu")->device, Device{});
  EXPECT_EQ(ParseDeviceSpec("cuda:0")->device, Device{0});
  EXPECT_EQ(ParseDeviceSpec("cuda:17")->device, Device{17});
  EXPECT_EQ(Device{}.Text(), "cpu");
  EXPECT_EQ(Device{3}.Text(), "cuda:3");
  for (const char* bad : {"", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:1x", "cuda:1024", "CPU",
                          "cuda:99999999999"}) {
    const absl::Status status = ParseDeviceSpec(bad).status();
    EXPECT_EQ(status.message(),
              std::string("is \"") + bad + "\": expected \"auto\", \"cpu\" or \"cuda:N\", N counting the GPUs from 0");
  }
}

TEST(DeviceSpecTest, AutomaticTakesAGpuWhereThereIsOne) {
  const DeviceChoice with = ChooseDevice({}, "actor.device", Gpus(2)).value();
  EXPECT_EQ(with.device, Device{0});
  EXPECT_EQ(with.why, "Test GPU, 24.0 GiB, 23.0 GiB free, compute capability 9.0");
  const DeviceChoice without = ChooseDevice({}, "actor.device", Gpus(0)).value();
  EXPECT_EQ(without.device, Device{});
  EXPECT_EQ(without.why, "no NVIDIA driver is installed here");
}

TEST(DeviceSpecTest, WhatIsAskedForIsTakenOrRefused) {
  const auto choose = [](const char* text, int gpus) {
    return ChooseDevice(ParseDeviceSpec(text).value(), "learner.device", Gpus(gpus));
  };
  EXPECT_EQ(choose("cpu", 8)->device, Device{});
  EXPECT_EQ(choose("cpu", 8)->why, "as learner.device says");
  EXPECT_EQ(choose("cuda:1", 2)->device, Device{1});
  EXPECT_EQ(
      choose("cuda:2", 2).status(),
      absl::FailedPreconditionError("learner.device is \"cuda:2\" and the GPUs here are cuda:0 to cuda:1: expected "
                                    "one of them, \"cpu\" or \"auto\"."));
  EXPECT_EQ(choose("cuda:2", 1).status().message(),
            "learner.device is \"cuda:2\" and the GPUs here are cuda:0: expected one of them, \"cpu\" or \"auto\".");
  EXPECT_EQ(choose("cuda:0", 0).status(),
            absl::FailedPreconditionError(
                "learner.device is \"cuda:0\" and no NVIDIA driver is installed here: expected \"cpu\", or "
                "\"auto\" to use a GPU where there is one."));
}

// The driver tells what is free of the whole GPU that a slice is a part of.
TEST(DeviceSpecTest, ASliceHasNoMoreFreeThanItHas) {
  EXPECT_EQ(FreeBytesOf(70 * kGiB, 10 * kGiB), 10 * kGiB);
  EXPECT_EQ(FreeBytesOf(3 * kGiB, 10 * kGiB), 3 * kGiB);
  EXPECT_EQ(FreeBytesOf(std::nullopt, 10 * kGiB), std::nullopt);
}

TEST(DeviceSpecTest, WithoutAGpuThisMachineSaysWhy) {
  const GpuList here = ListGpus();
  EXPECT_NE(here.gpus.empty(), here.why_none.empty());
  for (const GpuInfo& gpu : here.gpus) {
    EXPECT_GE(gpu.compute_major, 8);
    EXPECT_GT(gpu.total_bytes, kGiB);
  }
}

TEST(DeviceSpecTest, BytesAreForPeople) {
  EXPECT_EQ(BytesText(0), "0 MiB");
  EXPECT_EQ(BytesText(310 << 20), "310 MiB");
  EXPECT_EQ(BytesText(80 * kGiB - kGiB / 2), "79.5 GiB");
}

}  // namespace
}  // namespace tactus
