// Weights copied between two ends of this process through the emulation's memory handles.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "common/weights/shared_weights_cuda.h"

namespace tactus {
namespace {

constexpr int64_t kElements = 1000;

at::Tensor Filled(float value) { return at::full({kElements}, value, at::kFloat); }

TEST(SharedWeightsTest, TheReaderGetsWhatWasPublishedRounded) {
  SharedWeightExport learner(0, kElements, StorageDType::kBFloat16);
  SharedWeightImport actor(0);
  const auto shared = learner.Publish({1, 7}, Filled(1.001f));
  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_EQ(shared->version, (PolicyVersion{1, 7}));
  EXPECT_EQ(shared->elements, static_cast<uint64_t>(kElements));
  std::vector<uint16_t> got(kElements, 0);
  ASSERT_TRUE(actor.CopyTo(*shared, got.data()).ok());
  EXPECT_EQ(got, std::vector<uint16_t>(kElements, FloatToBFloat16(1.001f)));
}

TEST(SharedWeightsTest, AVersionStaysReadableUntilTheOneAfterTheNext) {
  SharedWeightExport learner(0, kElements, StorageDType::kFloat32);
  SharedWeightImport actor(0);
  std::vector<float> got(kElements, 0);
  const SharedWeights first = *learner.Publish({1, 1}, Filled(1));
  const SharedWeights second = *learner.Publish({1, 2}, Filled(2));
  ASSERT_TRUE(actor.CopyTo(first, got.data()).ok());
  EXPECT_EQ(got, std::vector<float>(kElements, 1));
  ASSERT_TRUE(actor.CopyTo(second, got.data()).ok());
  EXPECT_EQ(got, std::vector<float>(kElements, 2));
  const SharedWeights third = *learner.Publish({1, 3}, Filled(3));
  EXPECT_EQ(actor.CopyTo(first, got.data()).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(got, std::vector<float>(kElements, 2));  // untouched
  ASSERT_TRUE(actor.CopyTo(third, got.data()).ok());
  EXPECT_EQ(got, std::vector<float>(kElements, 3));
}

TEST(SharedWeightsTest, WeightsBeingWrittenAreNotTaken) {
  SharedWeightExport learner(0, kElements, StorageDType::kFloat32);
  const SharedWeights shared = *learner.Publish({1, 1}, Filled(1));
  // The first thing a writer does.
  const device::ImportedMemory memory(0, shared.handle);
  std::memset(const_cast<void*>(memory.data()), 0, 64);
  std::vector<float> got(kElements, 0);
  EXPECT_EQ(SharedWeightImport(0).CopyTo(shared, got.data()).code(), absl::StatusCode::kAborted);
}

TEST(SharedWeightsTest, WhatCannotBeOpenedIsUnavailable) {
  std::vector<float> got(kElements, 0);
  SharedWeightImport actor(0);
  SharedWeights gone;
  {
    SharedWeightExport learner(0, kElements, StorageDType::kFloat32);
    gone = *learner.Publish({1, 1}, Filled(1));
    SharedWeights elsewhere = gone;
    elsewhere.machine = "another";
    EXPECT_EQ(actor.CopyTo(elsewhere, got.data()).code(), absl::StatusCode::kUnavailable);
    SharedWeights longer = gone;
    longer.elements += 1;
    EXPECT_EQ(actor.CopyTo(longer, got.data()).code(), absl::StatusCode::kAborted);
  }
  EXPECT_EQ(actor.CopyTo({.machine = ThisMachine(), .handle = "none"}, got.data()).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(SharedWeightImport(0).CopyTo(gone, got.data()).code(), absl::StatusCode::kUnavailable);
}

TEST(SharedWeightsTest, RefusesTheWrongSize) {
  SharedWeightExport learner(0, kElements + 1, StorageDType::kFloat32);
  EXPECT_EQ(learner.Publish({1, 1}, Filled(1)).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tactus
