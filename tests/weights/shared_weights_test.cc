// Weights copied between two ends of this process through the emulation's memory handles.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "common/device/emulator_cuda.h"
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

// As by a late write of another queue: the header is right, the weights are not.
TEST(SharedWeightsTest, ASetThatIsNotWhatWasWrittenIsRefused) {
  SharedWeightExport learner(0, kElements, StorageDType::kFloat32);
  const SharedWeights shared = *learner.Publish({1, 1}, Filled(1));
  const device::ImportedMemory memory(0, shared.handle);
  auto* const weights = static_cast<char*>(const_cast<void*>(memory.data())) + 256;
  std::vector<float> got(kElements, 0);
  const auto copy = [&] { return SharedWeightImport(0).CopyTo(shared, got.data()); };
  ASSERT_TRUE(copy().ok());
  for (const size_t place : {size_t{0}, kElements * sizeof(float) / 2, kElements * sizeof(float) - 1}) {
    weights[place] ^= 1;
    EXPECT_EQ(copy(), absl::DataLossError("shared weights of version 1.1 have another digest than the learner wrote "
                                          "beside them"));
    weights[place] ^= 1;
  }
  std::memset(weights, 0, kElements * sizeof(float));
  EXPECT_EQ(copy().code(), absl::StatusCode::kDataLoss);
}

// The same definition in a loop.
uint64_t ReferenceDigest(const std::vector<unsigned char>& bytes) {
  uint64_t sum = 0;
  const auto add = [&](uint64_t word, uint64_t place) {
    uint64_t z = word + (place + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    sum += z ^ (z >> 31);
  };
  for (size_t at = 0; at <= bytes.size(); at += 8) {
    uint64_t word = 0;
    for (size_t i = 0; i < 8 && at + i < bytes.size(); ++i) word |= static_cast<uint64_t>(bytes[at + i]) << (8 * i);
    add(word, at / 8);
  }
  add(bytes.size(), ~uint64_t{1});
  return sum;
}

TEST(ContentDigestTest, IsThatOfALoopInEveryOrderAndDependsOnEachPlace) {
  for (const size_t count : {size_t{0}, size_t{3}, size_t{8}, size_t{4001}, size_t{70000}}) {
    std::vector<unsigned char> bytes(count);
    for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<unsigned char>(i * 37 + i / 256);
    for (const uint64_t order : {0, 3}) {
      device::emulated::SetOrder(order);
      EXPECT_EQ(ContentDigest(0).Of(bytes.data(), static_cast<int64_t>(count)), ReferenceDigest(bytes)) << count;
    }
    device::emulated::SetOrder(0);
  }
  std::vector<unsigned char> bytes(64, 0), longer(72, 0), moved(64, 0);
  bytes[3] = moved[11] = 1;
  EXPECT_NE(ReferenceDigest(bytes), ReferenceDigest(moved));
  EXPECT_NE(ReferenceDigest(std::vector<unsigned char>(64, 0)), ReferenceDigest(longer));
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
