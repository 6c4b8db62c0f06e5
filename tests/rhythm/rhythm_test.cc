#include "common/rhythm/rhythm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

#include "tests/rhythm/reference.h"

namespace tactus {
namespace {

using reference::Attention;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

void ExpectNear(const std::vector<double>& got, const std::vector<double>& want, double scale, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * scale) << what << " at " << i;
}

void ExpectSameRhythm(const Rhythm& got, const Rhythm& want, const RhythmOptions& options) {
  ASSERT_EQ(got.span.size(), want.span.size());
  for (size_t h = 0; h < got.span.size(); ++h) EXPECT_NEAR(got.span[h], want.span[h], 1e-12 * (1 + want.span[h]));
  EXPECT_EQ(got.heads, want.heads);
  ExpectNear(got.waad, want.waad, static_cast<double>(options.window_tokens), "WAAD");
  ExpectNear(got.delta, want.delta, static_cast<double>(options.window_tokens), "Delta");
  EXPECT_EQ(got.eligible, want.eligible);
  EXPECT_EQ(got.places, want.places);
  EXPECT_EQ(got.receiver_heads, want.receiver_heads);
  ASSERT_EQ(got.fai.size(), want.fai.size());
  ASSERT_EQ(got.receiver.size(), want.receiver.size());
  for (size_t s = 0; s < got.fai.size(); ++s) {
    EXPECT_NEAR(got.fai[s], want.fai[s], 1e-5 * want.fai[s]) << s;
    EXPECT_NEAR(got.receiver[s], want.receiver[s], 1e-5 * want.receiver[s]) << s;
  }
}

TEST(RhythmLayersTest, AreEvenlySpacedOverTheMiddleThird) {
  EXPECT_THAT(DefaultRhythmLayers(30), ElementsAre(10, 13, 15, 18, 20));
  EXPECT_THAT(DefaultRhythmLayers(36), ElementsAre(12, 15, 18, 21, 24));
  EXPECT_THAT(DefaultRhythmLayers(0), IsEmpty());
  EXPECT_THAT(DefaultRhythmLayers(1), ElementsAre(0));
  EXPECT_THAT(DefaultRhythmLayers(2), ElementsAre(0, 1));
  EXPECT_THAT(DefaultRhythmLayers(3), ElementsAre(1, 2));
  for (int64_t layers = 1; layers <= 200; ++layers) {
    const double low = std::floor(static_cast<double>(layers) / 3), high = std::floor(2.0 * layers / 3);
    std::vector<int32_t> expected;
    for (double i = 0; i < 5; ++i) expected.push_back(std::floor(low + (high - low) * i / 4 + 0.5));  // exact quarters
    expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
    EXPECT_EQ(DefaultRhythmLayers(layers), expected) << layers;
  }
}

TEST(RhythmLayersTest, ConfiguredOnesMustExist) {
  EXPECT_THAT(*RhythmLayers({}, 30), ElementsAre(10, 13, 15, 18, 20));
  EXPECT_THAT(*RhythmLayers(std::vector<int32_t>{0, 29}, 30), ElementsAre(0, 29));
  EXPECT_EQ(std::string(RhythmLayers(std::vector<int32_t>{0, 30}, 30).status().message()),
            "credit.layers holds 30: expected layers from 0 to 29, as the model has 30.");
  EXPECT_FALSE(RhythmLayers(std::vector<int32_t>{-1}, 30).ok());
}

TEST(ClassifyHeadsTest, TakesBothEndsOfOneOrder) {
  const std::vector<double> spans = {5, 1, 9, 3, 7, 2, 8, 4, 6, 10};
  EXPECT_EQ(ClassifyHeads(spans, Decimal::Tenths(3)), (HeadClasses{{1, 3, 5}, {2, 6, 9}}));
  // Ties by index: the order is 0 1 2 3 4 5, whose ends these are.
  EXPECT_EQ(ClassifyHeads(std::vector<double>(6, 2.5), Decimal::Tenths(4)), (HeadClasses{{0, 1}, {4, 5}}));
  EXPECT_EQ(ClassifyHeads(std::vector<double>{3, 2}, Decimal::Tenths(10)), (HeadClasses{{0, 1}, {0, 1}}));
}

TEST(ClassifyHeadsTest, FewHeadsShareWhatThereIs) {
  EXPECT_EQ(ClassifyHeads(std::vector<double>{}, Decimal::Tenths(3)), HeadClasses{});
  EXPECT_EQ(ClassifyHeads(std::vector<double>{4}, Decimal::Tenths(3)), (HeadClasses{{0}, {0}}));
  EXPECT_EQ(ClassifyHeads(std::vector<double>{4, 3}, Decimal::Tenths(3)), (HeadClasses{{1}, {0}}));
  EXPECT_EQ(ClassifyHeads(std::vector<double>{4, 3, 5}, Decimal::Tenths(3)), (HeadClasses{{1}, {2}}));
}

// One head always looks 3 tokens back, one always 12: every metric can be written down.
TEST(ComputeRhythmTest, KnowsHeadsOfOneDistance) {
  constexpr int64_t kPrompt = 12, kTokens = 30;
  Attention attention = reference::EmptyAttention(2, kPrompt, kTokens);
  for (int64_t t = 0; t < kTokens; ++t) {
    attention.At(0, t, kPrompt + t - 3) = 1;
    attention.At(1, t, kPrompt + t - 12) = 1;
  }
  const RhythmOptions options{.head_share = Decimal::Tenths(5), .receiver_share = Decimal::Tenths(5)};
  const Rhythm rhythm = ComputeRhythm(reference::Accumulate(attention, options), options);
  EXPECT_THAT(rhythm.span, ElementsAre(3, 12));
  EXPECT_EQ(rhythm.heads, (HeadClasses{{0}, {1}}));
  EXPECT_THAT(rhythm.waad, Each(3.0));
  EXPECT_THAT(rhythm.delta, Each(0.0));
  EXPECT_EQ(rhythm.eligible, reference::UpTo(20));
  for (int64_t s = 0; s < kTokens; ++s) {
    // Row s+12 pays it everything, of the rows s+10 .. 29.
    EXPECT_EQ(rhythm.fai[s], s + 12 < kTokens ? 1.0 / static_cast<double>(20 - s) : 0.0) << s;
  }
  EXPECT_THAT(rhythm.receiver_heads, ElementsAre(1)) << "the flat profile of head 0 comes last";
  EXPECT_EQ(rhythm.receiver, rhythm.fai);
  const HeadClasses swapped{{1}, {0}};
  const Rhythm other = ComputeRhythm(reference::Accumulate(attention, options), options, &swapped);
  EXPECT_EQ(other.heads, swapped);
  EXPECT_THAT(other.waad, Each(10.0)) << "12 counts as W";
  EXPECT_THAT(other.fai, Each(0.0)) << "3 is nearer than the horizon";
}

// Both heads rest on the first token. What head 0 pays elsewhere goes 2 tokens back, and head 1's 9: half of head 0's
// is at rest and a quarter of head 1's, so with the rest counted head 0 seems to look farther.
TEST(ComputeRhythmTest, RestOnTheFirstTokenMayBeLeftOutOfSpans) {
  constexpr int64_t kPrompt = 40, kTokens = 20;
  Attention attention = reference::EmptyAttention(2, kPrompt, kTokens);
  for (int64_t t = 0; t < kTokens; ++t) {
    attention.At(0, t, 0) = 0.5;
    attention.At(0, t, kPrompt + t - 2) = 0.5;
    attention.At(1, t, 0) = 0.25;
    attention.At(1, t, kPrompt + t - 9) = 0.75;
  }
  RhythmOptions options;
  EXPECT_EQ(ComputeRhythm(reference::Accumulate(attention, options), options).heads, (HeadClasses{{1}, {0}}));
  options.ignore_first_token = true;
  const Rhythm rhythm = ComputeRhythm(reference::Accumulate(attention, options), options);
  EXPECT_THAT(rhythm.span, ElementsAre(2, 9));
  EXPECT_EQ(rhythm.heads, (HeadClasses{{0}, {1}}));
}

TEST(ComputeRhythmTest, MatchesTheFullMatrix) {
  std::mt19937_64 random(1);
  const int64_t horizons[] = {14, 50, 100, RhythmOptions::kToTheEnd};
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t heads = 1 + static_cast<int64_t>(random() % 24), prompt = static_cast<int64_t>(random() % 20);
    const int64_t tokens = static_cast<int64_t>(random() % (trial < 100 ? 30 : 130));
    const RhythmOptions options{.window_tokens = 1 + static_cast<int64_t>(random() % 15),
                                .horizon_min_tokens = 1 + static_cast<int64_t>(random() % 12),
                                .horizon_max_tokens = horizons[random() % 4],
                                .head_share = Decimal::Tenths(1 + static_cast<int>(random() % 6)),
                                .receiver_share = Decimal::Tenths(1 + static_cast<int>(random() % 4)),
                                .ignore_first_token = random() % 3 == 0};
    const Attention attention = reference::RandomAttention(random, heads, prompt, tokens);
    SCOPED_TRACE(testing::Message() << "trial " << trial << " H " << heads << " P " << prompt << " N " << tokens);
    ExpectSameRhythm(ComputeRhythm(reference::Accumulate(attention, options), options),
                     reference::FullMatrixRhythm(attention, options), options);
    if (HasFailure()) return;
  }
}

// The environment's tokens are looked at, and count for distance; their rows and their own FAI do not.
TEST(ComputeRhythmTest, ConversationsMatchTheFullMatrix) {
  std::mt19937_64 random(6);
  const int64_t horizons[] = {14, 50, 100, RhythmOptions::kToTheEnd};
  size_t gaps = 0, not_first = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t prompt = 1 + static_cast<int64_t>(random() % 20), tokens = 1 + static_cast<int64_t>(random() % 150);
    const RhythmOptions options{.window_tokens = 1 + static_cast<int64_t>(random() % 15),
                                .horizon_min_tokens = 1 + static_cast<int64_t>(random() % 12),
                                .horizon_max_tokens = horizons[random() % 4],
                                .receiver_share = Decimal::Tenths(1 + static_cast<int>(random() % 4)),
                                .ignore_first_token = random() % 3 == 0};
    Attention attention = reference::RandomAttention(random, 1 + static_cast<int64_t>(random() % 12), prompt, tokens);
    attention.sampled = reference::RandomTurns(random, tokens, 60);
    const Rhythm rhythm = ComputeRhythm(reference::Accumulate(attention, options), options);
    SCOPED_TRACE(testing::Message() << "trial " << trial << " P " << prompt << " T " << tokens);
    ExpectSameRhythm(rhythm, reference::FullMatrixRhythm(attention, options), options);
    if (HasFailure()) return;
    gaps += static_cast<size_t>(tokens) > attention.sampled.size() ? 1 : 0;
    not_first += rhythm.eligible != reference::UpTo(static_cast<int64_t>(rhythm.eligible.size())) ? 1 : 0;
  }
  EXPECT_GT(gaps, 100u);
  EXPECT_GT(not_first, 10u) << "no window was filled by the environment's tokens: the test says less than it could";
}

// The model's tokens are 0 to 9 and 30 to 39 of 40. A head that looks 25 back pays 5 to 9 from the rows 30 to 34.
TEST(ComputeRhythmTest, DistancesCountTheEnvironmentsTokens) {
  constexpr int64_t kPrompt = 30, kTokens = 40;
  Attention attention = reference::EmptyAttention(2, kPrompt, kTokens);
  for (int64_t t = 0; t < kTokens; ++t) {
    attention.At(0, t, kPrompt + t - (t < 10 ? 2 : 5)) = 1;
    attention.At(1, t, kPrompt + t - 25) = 1;
  }
  attention.sampled = reference::UpTo(10);
  for (int32_t t = 30; t < 40; ++t) attention.sampled.push_back(t);
  RhythmOptions options{.horizon_max_tokens = 30, .head_share = Decimal::Tenths(5)};
  const Rhythm rhythm = ComputeRhythm(reference::Accumulate(attention, options), options);
  EXPECT_THAT(rhythm.span, ElementsAre(3.5, 25));
  EXPECT_EQ(rhythm.heads, (HeadClasses{{0}, {1}}));
  EXPECT_THAT(std::vector<double>(rhythm.waad.begin(), rhythm.waad.begin() + 10), Each(2.0));
  EXPECT_THAT(std::vector<double>(rhythm.waad.begin() + 10, rhythm.waad.end()), Each(5.0));
  EXPECT_THAT(rhythm.delta, Each(0.0)) << "from one turn to the next there is none";
  EXPECT_EQ(rhythm.eligible, reference::UpTo(10)) << "of token 0 the row 30 alone, 30 back";
  for (size_t s = 0; s < 20; ++s) {
    EXPECT_EQ(rhythm.fai[s], s >= 5 && s < 10 ? 1.0 / static_cast<double>(s + 1) : 0.0) << s;
  }
  options.horizon_max_tokens = 20;
  EXPECT_THAT(ComputeRhythm(reference::Accumulate(attention, options), options).eligible, IsEmpty());
}

TEST(DeltaTest, DoesNotLeaveATurn) {
  const std::vector<double> waad = {1, 4, 2, 7, 6};
  EXPECT_THAT(DeltaOf(waad), ElementsAre(3, 2, 5, 1, 0));
  EXPECT_THAT(DeltaOf(waad, std::vector<int32_t>{0, 1, 5, 6, 8}), ElementsAre(3, 0, 5, 0, 0));
}

TEST(ComputeRhythmTest, FixedClassesAreUsedAsGiven) {
  std::mt19937_64 random(2);
  const Attention attention = reference::RandomAttention(random, 8, 5, 40);
  const RhythmOptions options;
  const HeadSums sums = reference::Accumulate(attention, options);
  const HeadClasses fixed{{2, 5, 7}, {0}};
  const Rhythm rhythm = ComputeRhythm(sums, options, &fixed);
  EXPECT_EQ(rhythm.heads, fixed);
  ExpectNear(rhythm.fai, reference::FaiOf(attention, options, {0}), 1, "FAI");
  for (int64_t t = 0; t < 40; ++t) {
    const double mean = (double{sums.waad[2 * 40 + t]} + double{sums.waad[5 * 40 + t]} + sums.waad[7 * 40 + t]) / 3;
    EXPECT_EQ(rhythm.waad[t], mean);
  }
}

TEST(ComputeRhythmTest, ShortResponsesHaveNoEligiblePosition) {
  std::mt19937_64 random(3);
  const RhythmOptions options;
  const Rhythm none = ComputeRhythm(reference::Accumulate(reference::EmptyAttention(4, 3, 0), options), options);
  EXPECT_THAT(none.span, IsEmpty());
  EXPECT_THAT(none.waad, IsEmpty());
  EXPECT_THAT(none.eligible, IsEmpty());
  for (const int64_t tokens : {1, 2, 10}) {
    const Rhythm rhythm =
        ComputeRhythm(reference::Accumulate(reference::RandomAttention(random, 4, 3, tokens), options), options);
    EXPECT_THAT(rhythm.eligible, IsEmpty());
    EXPECT_EQ(rhythm.delta.back(), 0);
    EXPECT_THAT(rhythm.fai, Each(0.0));
    EXPECT_THAT(rhythm.receiver_heads, IsEmpty());
    EXPECT_EQ(rhythm.receiver, std::vector<double>(tokens, 0.0));
  }
  // 13 tokens have 3 eligible ones, 14 have 4: enough for a kurtosis.
  for (const int64_t tokens : {13, 14}) {
    const Rhythm rhythm =
        ComputeRhythm(reference::Accumulate(reference::RandomAttention(random, 4, 3, tokens), options), options);
    EXPECT_EQ(rhythm.eligible, reference::UpTo(tokens - 10));
    EXPECT_EQ(rhythm.receiver_heads.size(), tokens == 14 ? 1u : 0u);
  }
}

TEST(ComputeRhythmTest, ReceiversTieByIndex) {
  HeadSums sums;
  sums.num_tokens = 15;
  sums.num_heads = 5;
  sums.span_sum.assign(5, 1.0);
  sums.waad.assign(5 * 15, 0.0f);
  for (int head = 0; head < 5; ++head) {
    // Head 0 is flat (FAI 1/2 everywhere); heads 1 and 3 have one peak, heads 2 and 4 two equal ones.
    for (int s = 0; s < 15; ++s) {
      const bool peak = s == 2 || (head % 2 == 0 && s == 3);
      const float fai = head == 0 ? 0.5f : peak ? 1.0f : 0.0f;
      sums.fai_sum.push_back(s < 5 ? fai * static_cast<float>(5 - s) : 0.0f);
    }
  }
  RhythmOptions options{.receiver_share = Decimal::Tenths(2)};
  EXPECT_THAT(ComputeRhythm(sums, options).receiver_heads, ElementsAre(1));
  options.receiver_share = Decimal::Tenths(6);
  EXPECT_THAT(ComputeRhythm(sums, options).receiver_heads, ElementsAre(1, 2, 3));
  options.receiver_share = Decimal::Tenths(8);
  EXPECT_THAT(ComputeRhythm(sums, options).receiver_heads, ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace tactus
