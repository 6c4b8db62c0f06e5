#include "common/weights/weight_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "common/weights/weight_codec.h"
#include "common/weights/weight_publisher.h"
#include "proto/weight_service.pb.h"
#include "tests/weights/sample_weights.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

class WeightsTest : public testing::Test {
 protected:
  WeightsTest() : layout_(SampleLayout()), values_(SampleValues(layout_)), publisher_("run") {}

  std::shared_ptr<const WeightSnapshot> Publish(StorageDType dtype, uint64_t step = 1) {
    EXPECT_TRUE(PublishValues(publisher_, {0, step}, layout_, values_, dtype).ok());
    return publisher_.Newest();
  }

  // Sends the whole set in chunks of `chunk` bytes; `tamper` may change the bytes first.
  absl::StatusOr<ReceivedWeights> Assemble(const WeightSnapshot& snapshot, size_t chunk,
                                           const std::function<void(std::string&)>& tamper = nullptr) {
    auto assembler = WeightAssembler::Start(*FromWire(ToWire(snapshot.manifest)), layout_);
    if (!assembler.ok()) return assembler.status();
    std::string bytes(snapshot.bytes->begin(), snapshot.bytes->end());
    if (tamper != nullptr) tamper(bytes);
    for (size_t at = 0; at < bytes.size(); at += chunk) {
      EXPECT_FALSE(assembler->done());
      const absl::Status status = assembler->Append(at, absl::string_view(bytes).substr(at, chunk));
      if (!status.ok()) return status;
    }
    return assembler->Finish();
  }

  ParameterLayout layout_;
  std::vector<float> values_;
  WeightPublisher publisher_;
};

TEST_F(WeightsTest, ArriveAsTheyWere) {
  const auto snapshot = Publish(StorageDType::kFloat32, 3);
  EXPECT_EQ(snapshot->bytes->size(), 4u * 90'008);
  for (const size_t chunk : {size_t{4}, size_t{28}, size_t{1000}, size_t{360'032}}) {
    const auto weights = Assemble(*snapshot, chunk);
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(weights->version, (PolicyVersion{0, 3}));
    EXPECT_EQ(weights->flat, values_);  // the padding too
  }
}

TEST_F(WeightsTest, BFloat16RoundsOnce) {
  const auto snapshot = Publish(StorageDType::kBFloat16);
  EXPECT_EQ(snapshot->bytes->size(), 2u * 90'008);
  const auto weights = Assemble(*snapshot, 1 << 16);
  ASSERT_TRUE(weights.ok()) << weights.status();
  for (size_t i = 0; i < values_.size(); ++i) {
    ASSERT_EQ(weights->flat[i], BFloat16ToFloat(FloatToBFloat16(values_[i])));
  }
}

TEST_F(WeightsTest, PublishKeepsTheLastGoodSet) {
  EXPECT_EQ(publisher_.Newest(), nullptr);
  const auto first = Publish(StorageDType::kFloat32, 5);
  const auto code = [&](PolicyVersion version, std::span<const float> flat) {
    return PublishValues(publisher_, version, layout_, flat, StorageDType::kFloat32).code();
  };
  EXPECT_EQ(code({0, 5}, values_), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code({0, 4}, values_), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(
      publisher_.Publish({0, 6}, layout_, std::make_shared<const std::vector<char>>(10), StorageDType::kFloat32).code(),
      absl::StatusCode::kInvalidArgument);
  std::vector<float> poisoned = values_;
  poisoned[20] = NAN;
  EXPECT_THAT(std::string(PublishValues(publisher_, {0, 6}, layout_, poisoned, StorageDType::kFloat32).message()),
              HasSubstr("weights of version 0.6: tensor middle.weight holds NaN at element 4"));
  EXPECT_EQ(publisher_.Newest(), first);
  EXPECT_EQ(code({1, 0}, values_), absl::StatusCode::kOk);    // a restore: the incarnation counts first
  EXPECT_EQ(first->manifest.version, (PolicyVersion{0, 5}));  // a reader's set does not change under it
}

TEST_F(WeightsTest, EveryFlippedBitIsDetected) {
  const auto snapshot = Publish(StorageDType::kFloat32);
  for (const size_t at : {size_t{0}, size_t{27}, size_t{28}, size_t{200'000}, size_t{360'031}}) {
    const auto weights = Assemble(*snapshot, 1 << 16, [&](std::string& bytes) { bytes[at] ^= 1; });
    EXPECT_EQ(weights.status().code(), absl::StatusCode::kDataLoss) << at;
    EXPECT_THAT(std::string(weights.status().message()), HasSubstr("weight"));
  }
}

TEST_F(WeightsTest, ACutSetIsAnError) {
  const auto snapshot = Publish(StorageDType::kFloat32);
  for (const size_t keep : {size_t{0}, size_t{4}, size_t{28}, size_t{360'028}}) {
    EXPECT_EQ(Assemble(*snapshot, 1 << 16, [&](std::string& bytes) { bytes.resize(keep); }).status().code(),
              absl::StatusCode::kDataLoss)
        << keep;
  }
  EXPECT_EQ(Assemble(*snapshot, 1 << 16, [](std::string& bytes) { bytes += "more"; }).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(WeightsTest, ChunksHaveBounds) {
  const auto snapshot = Publish(StorageDType::kFloat32);
  const std::string bytes(snapshot->bytes->begin(), snapshot->bytes->end());
  const auto code = [&](uint64_t offset, size_t size) {
    auto assembler = WeightAssembler::Start(snapshot->manifest, layout_);
    EXPECT_TRUE(assembler->Append(0, bytes.substr(0, 8)).ok());
    return assembler->Append(offset, std::string(size, '\1')).code();
  };
  EXPECT_EQ(code(8, 8), absl::StatusCode::kOk);
  EXPECT_EQ(code(8, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(8, 6), absl::StatusCode::kInvalidArgument);   // no whole element
  EXPECT_EQ(code(4, 8), absl::StatusCode::kInvalidArgument);   // again
  EXPECT_EQ(code(12, 8), absl::StatusCode::kInvalidArgument);  // a gap
  EXPECT_EQ(code(UINT64_MAX, 8), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(8, 360'028), absl::StatusCode::kInvalidArgument);  // beyond the end
  const ParameterLayout large = SampleLayout(1'000'000);
  const std::vector<float> flat = SampleValues(large);
  WeightPublisher publisher("run");
  ASSERT_TRUE(PublishValues(publisher, {0, 1}, large, flat, StorageDType::kFloat32).ok());
  auto assembler = WeightAssembler::Start(publisher.Newest()->manifest, large);
  EXPECT_EQ(assembler->Append(0, std::string(kMaxWeightChunkBytes + 4, '\0')).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(WeightsTest, TheManifestMustDescribeThisModel) {
  const WeightManifest good = Publish(StorageDType::kFloat32)->manifest;
  const auto error = [&](const std::function<void(WeightManifest&)>& change) {
    WeightManifest manifest = good;
    change(manifest);
    const auto assembler = WeightAssembler::Start(manifest, layout_);
    EXPECT_EQ(assembler.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(assembler.status().message());
  };
  EXPECT_THAT(error([](WeightManifest& m) { m.tensors.pop_back(); }), HasSubstr("has 2 tensors; this model has 3"));
  EXPECT_THAT(error([](WeightManifest& m) { m.tensors[1].name.push_back('x'); }),
              HasSubstr("where this model has middle"));
  EXPECT_THAT(error([](WeightManifest& m) { m.tensors[1].shape = {90'000}; }), HasSubstr("middle.weight"));
  EXPECT_THAT(error([](WeightManifest& m) { m.tensors[2].bytes = UINT64_MAX; }), HasSubstr("last.bias"));
  EXPECT_THAT(error([](WeightManifest& m) { m.total_bytes += 4; }), HasSubstr("announces"));
  EXPECT_THAT(error([](WeightManifest& m) { m.dtype = StorageDType::kBFloat16; }), HasSubstr("first.weight"));
}

TEST_F(WeightsTest, WireManifestIsChecked) {
  const wire::WeightManifest good = ToWire(Publish(StorageDType::kBFloat16)->manifest);
  EXPECT_TRUE(FromWire(good).ok());
  wire::WeightManifest bad = good;
  bad.clear_dtype();
  EXPECT_THAT(std::string(FromWire(bad).status().message()), HasSubstr("dtype is 0"));
  bad = good;
  bad.mutable_tensors(1)->set_sha256("short");
  EXPECT_THAT(std::string(FromWire(bad).status().message()), HasSubstr("sha256 has 5 bytes"));
}

TEST_F(WeightsTest, HeadClassesComeWithTheSet) {
  const HeadClasses classes{.local = {1, 4}, .global = {0}};
  ASSERT_TRUE(PublishValues(publisher_, {0, 1}, layout_, values_, StorageDType::kBFloat16, classes).ok());
  const wire::WeightManifest good = ToWire(publisher_.Newest()->manifest);
  EXPECT_EQ(FromWire(good, 5)->head_classes, classes);
  EXPECT_EQ(FromWire(ToWire(Publish(StorageDType::kBFloat16, 2)->manifest), 5)->head_classes, std::nullopt);
  const auto error = [&](const std::function<void(wire::HeadClasses&)>& change, int heads = 5) {
    wire::WeightManifest bad = good;
    change(*bad.mutable_head_classes());
    const auto manifest = FromWire(bad, heads);
    EXPECT_EQ(manifest.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(manifest.status().message());
  };
  EXPECT_THAT(error([](wire::HeadClasses& c) { c.clear_local(); }), HasSubstr("head_classes.local has 0 heads"));
  EXPECT_THAT(error([](wire::HeadClasses& c) { c.clear_global(); }), HasSubstr("head_classes.global has 0 heads"));
  EXPECT_THAT(error([](wire::HeadClasses& c) { c.set_local(1, 1); }), HasSubstr("head_classes.local[1] is 1"));
  EXPECT_THAT(error([](wire::HeadClasses& c) { c.set_global(0, -1); }), HasSubstr("head_classes.global[0] is -1"));
  EXPECT_THAT(error([](wire::HeadClasses&) {}, 4), HasSubstr("head_classes.local[1] is 4"));
  EXPECT_THAT(error([](wire::HeadClasses&) {}, 0), HasSubstr("credit.head_mode is not CALIBRATED"));
}

// A hash only says that what arrived is what was sent.
TEST_F(WeightsTest, NotFiniteValuesAreRefusedEvenWithTheirHash) {
  const auto snapshot = Publish(StorageDType::kFloat32);
  WeightSnapshot poisoned = *snapshot;
  const uint32_t infinity = 0x7f800000;
  std::vector<char> bytes = *poisoned.bytes;
  std::memcpy(bytes.data(), &infinity, sizeof(infinity));
  poisoned.bytes = std::make_shared<const std::vector<char>>(std::move(bytes));
  poisoned.manifest.tensors[0].sha256_hex = Sha256Hex(absl::string_view(poisoned.bytes->data(), 28));
  EXPECT_THAT(std::string(Assemble(poisoned, 1 << 16).status().message()), HasSubstr("first.weight holds infinity"));
}

}  // namespace
}  // namespace tactus
