// Publishing on a thread of its own, whose progress the test decides.
#include "common/weights/background_publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "tests/weights/sample_weights.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr StorageDType kType = StorageDType::kBFloat16;

struct BackgroundPublisherTest : testing::Test {
  void Start(BackgroundPublisher::Published published) {
    auto started = BackgroundPublisher::Start(&publisher, &layout, std::move(published));
    ASSERT_TRUE(started.ok()) << started.status();
    publishing = *std::move(started);
  }
  BackgroundPublisher::Set Weights(uint64_t step, float scale = 1) const {
    return {
        .version = {0, step},
        .bytes = std::make_shared<const std::vector<char>>(EncodeWeights(layout, SampleValues(layout, scale), kType)),
        .dtype = kType,
        .head_classes = HeadClasses{.local = {1}, .global = {0}},
        .shared = {},
        .handed_in = {}};
  }

  const ParameterLayout layout = SampleLayout();
  WeightPublisher publisher{"run", 2, /*threads=*/3};
  absl::Mutex mu;
  std::vector<uint64_t> steps;  // published
  std::unique_ptr<BackgroundPublisher> publishing;
};

TEST_F(BackgroundPublisherTest, TheNewestTakesThePlaceOfTheOneThatWaits) {
  absl::Notification first, go_on;
  Start([&](PolicyVersion version, absl::Duration took) {
    EXPECT_GT(took, absl::ZeroDuration());
    EXPECT_EQ(publisher.Newest()->manifest.version, version) << "to be fetched before anybody hears of it";
    {
      absl::MutexLock lock(&mu);
      steps.push_back(version.step);
    }
    if (version.step == 1) {
      first.Notify();
      go_on.WaitForNotification();
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(publishing->Submit(Weights(1)).ok());
  first.WaitForNotification();
  // The thread stands still, and training goes on.
  ASSERT_TRUE(publishing->Submit(Weights(2)).ok());
  ASSERT_TRUE(publishing->Submit(Weights(3, 1.001F)).ok());
  go_on.Notify();
  EXPECT_TRUE(publishing->Drain().ok());
  absl::MutexLock lock(&mu);
  EXPECT_THAT(steps, ElementsAre(1, 3));
  EXPECT_EQ(publisher.Newest()->manifest.head_classes->local, std::vector<int32_t>({1}));
  const WeightOffer offer = publisher.OfferTo(PolicyVersion{0, 1});
  ASSERT_EQ(offer.deltas.size(), 1u) << "from what actors have to what is newest, over the one left out";
  EXPECT_EQ(offer.deltas[0]->bytes.size(), publisher.NewestDeltaBytes());
  EXPECT_GT(publisher.NewestDeltaBytes(), 0u);
}

TEST_F(BackgroundPublisherTest, WhatIsHeldBackIsNotToBeFetchedAndTheNewestIsTakenUp) {
  absl::Notification held, go_on;
  int asked = 0;  // on the publishing thread alone
  publishing = *BackgroundPublisher::Start(
      &publisher, &layout,
      [&](PolicyVersion version, absl::Duration) {
        absl::MutexLock lock(&mu);
        steps.push_back(version.step);
        return absl::OkStatus();
      },
      [&] {
        if (++asked != 2) return;
        held.Notify();
        go_on.WaitForNotification();
      });
  ASSERT_TRUE(publishing->Submit(Weights(1)).ok());
  ASSERT_TRUE(publishing->Drain().ok());
  ASSERT_TRUE(publishing->Submit(Weights(2)).ok());
  held.WaitForNotification();
  ASSERT_TRUE(publishing->Submit(Weights(3)).ok());
  EXPECT_EQ(publisher.Newest()->manifest.version.step, 1u);
  go_on.Notify();
  EXPECT_TRUE(publishing->Drain().ok());
  absl::MutexLock lock(&mu);
  EXPECT_THAT(steps, ElementsAre(1, 3));
}

TEST_F(BackgroundPublisherTest, AnErrorIsToldToWhoeverHandsInTheNext) {
  Start([](PolicyVersion, absl::Duration) { return absl::OkStatus(); });
  ASSERT_TRUE(publishing->Submit(Weights(1)).ok());
  EXPECT_TRUE(publishing->Drain().ok());
  BackgroundPublisher::Set bad = Weights(2);
  std::vector<char> bytes = *bad.bytes;
  bytes[1] = 0x7f;
  bytes[0] = static_cast<char>(0xc0);
  bad.bytes = std::make_shared<const std::vector<char>>(std::move(bytes));
  ASSERT_TRUE(publishing->Submit(std::move(bad)).ok());
  EXPECT_THAT(std::string(publishing->Drain().message()), HasSubstr("NaN at element 0"));
  EXPECT_FALSE(publishing->status().ok());
  EXPECT_FALSE(publishing->Submit(Weights(3)).ok());
  EXPECT_EQ(publisher.Newest()->manifest.version.step, 1u);
}

TEST_F(BackgroundPublisherTest, TheLearnersRefusalEndsIt) {
  Start([](PolicyVersion, absl::Duration) { return absl::InternalError("no"); });
  ASSERT_TRUE(publishing->Submit(Weights(1)).ok());
  EXPECT_EQ(publishing->Drain().code(), absl::StatusCode::kInternal);
}

// What comes out does not depend on how many threads made it.
TEST_F(BackgroundPublisherTest, ThreadsChangeNothing) {
  WeightPublisher alone("run", 2);
  for (uint64_t step : {1, 2}) {
    const float scale = 1 + 0.002F * static_cast<float>(step);
    ASSERT_TRUE(PublishValues(alone, {0, step}, layout, SampleValues(layout, scale), kType).ok());
    ASSERT_TRUE(PublishValues(publisher, {0, step}, layout, SampleValues(layout, scale), kType).ok());
  }
  const WeightOffer a = alone.OfferTo(PolicyVersion{0, 1}), b = publisher.OfferTo(PolicyVersion{0, 1});
  ASSERT_EQ(a.deltas.size(), b.deltas.size());
  for (size_t i = 0; i < a.deltas.size(); ++i) EXPECT_EQ(a.deltas[i]->bytes, b.deltas[i]->bytes);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(a.snapshot->manifest.tensors[i].sha256_hex, b.snapshot->manifest.tensors[i].sha256_hex);
  }
}

}  // namespace
}  // namespace tactus
