// Which element of which source stands where, held against counting from place 0 on.
#include "common/data/mixed_order.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "common/base/philox.h"

namespace tactus {
namespace {

constexpr uint64_t kSeed = 11;

// One pass as it was before there were sources.
std::vector<uint64_t> PassOf(uint64_t pass, uint64_t size, uint32_t source) {
  std::vector<uint64_t> order(size);
  std::iota(order.begin(), order.end(), uint64_t{0});
  for (uint64_t i = size - 1; i > 0; --i) {
    const PhiloxBlock block = Philox4x32(
        kSeed, {static_cast<uint32_t>(i), source | 2U << 24, static_cast<uint32_t>(pass), 0});  // kDataOrder is 2
    const uint64_t bits = uint64_t{block[0]} << 32 | block[1];
    std::swap(order[i], order[static_cast<uint64_t>((static_cast<long double>(bits) * (i + 1)) / 0x1.0p64L)]);
  }
  return order;
}

TEST(MixedOrderTest, OneSourceIsVisitedAsItAlwaysWas) {
  for (const double weight : {1.0, 0.001, 77.0}) {
    MixedOrder order(kSeed, std::vector{weight}, std::vector<uint64_t>{300});
    for (uint64_t pass = 0; pass < 8; ++pass) {
      const std::vector<uint64_t> expected = PassOf(pass, 300, 0);
      for (uint64_t i = 0; i < 300; ++i) {
        const MixedOrder::Place place = order.At(pass * 300 + i);
        ASSERT_EQ(place.source, 0u);
        ASSERT_EQ(place.element, expected[i]) << "pass " << pass << ", place " << i;
      }
    }
  }
}

TEST(MixedOrderTest, EachSourceIsShuffledAnewInEachOfItsPasses) {
  const std::vector<uint64_t> sizes = {5, 7, 7}, starts = {0, 5, 12};
  MixedOrder order(kSeed, std::vector{1.0, 2.0, 2.0}, sizes);
  std::vector<uint64_t> turns(3);
  for (uint64_t place = 0; place < 5000; ++place) {
    const MixedOrder::Place got = order.At(place);
    const uint64_t turn = turns[got.source]++;
    const std::vector<uint64_t> pass = PassOf(turn / sizes[got.source], sizes[got.source], got.source);
    ASSERT_EQ(got.element, starts[got.source] + pass[turn % sizes[got.source]]) << place;
  }
  EXPECT_NE(PassOf(0, 7, 1), PassOf(0, 7, 2)) << "sources of one size have their own orders";
  EXPECT_NE(PassOf(0, 7, 1), PassOf(1, 7, 1));
}

TEST(MixedOrderTest, WhatIsReachedIsWhatComesFirst) {
  const std::vector<double> weights = {1, 3, 0.01};
  const std::vector<uint64_t> sizes = {40, 2000, 3};
  MixedOrder order(kSeed, weights, sizes);
  std::set<uint32_t> seen;
  for (uint64_t place = 0; place < 5000; ++place) {
    if (place % 97 == 0) {
      ASSERT_EQ(order.Reached(place), std::vector<uint32_t>(seen.begin(), seen.end())) << place;
    }
    seen.insert(static_cast<uint32_t>(order.At(place).element));
  }
  EXPECT_EQ(seen.size(), 2043u);
}

// Holds a whole period, and the one after it, against counting.
void ExpectSharesAreKept(const std::vector<double>& weights) {
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  SourceTurns turns(kSeed, weights);
  std::vector<uint64_t> counts(weights.size()), of_period;
  for (uint64_t place = 0; place < 2 * SourceTurns::kPeriod; ++place) {
    const SourceTurns::Turn turn = turns.At(place);
    ASSERT_LT(turn.source, weights.size());
    ASSERT_EQ(turn.number, counts[turn.source]++) << place;
    if ((place + 1) % SourceTurns::kBlock != 0) continue;
    const auto so_far = static_cast<double>(place + 1);
    for (size_t i = 0; i < weights.size(); ++i) {
      const double share = so_far * weights[i] / all;
      ASSERT_LT(std::fabs(static_cast<double>(counts[i]) - share), 1 + so_far / SourceTurns::kPeriod)
          << "source " << i << " after " << place + 1;
    }
    if (place + 1 == SourceTurns::kPeriod) of_period = counts;
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    EXPECT_EQ(counts[i], 2 * of_period[i]);
    EXPECT_LE(std::fabs(static_cast<double>(of_period[i]) - weights[i] / all * SourceTurns::kPeriod), 1);
    EXPECT_GT(of_period[i], 0u);
  }
}

TEST(SourceTurnsTest, SharesAreWithinOneAtTheEndOfEveryBlock) {
  ExpectSharesAreKept({1});
  ExpectSharesAreKept({2, 1});
  ExpectSharesAreKept({0.7, 0.2, 0.1});
  ExpectSharesAreKept({1e6, 1.1, 1.1, 1.1});  // turns of every thousandth block
  ExpectSharesAreKept(std::vector<double>(64, 1.0));
  std::vector<double> rare(63, 1.0001e-6);  // each once in a period
  rare.push_back(1 - 63e-6);
  ExpectSharesAreKept(rare);
}

TEST(SourceTurnsTest, SharesOfAnyWeightsAreKept) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> exponent(-5, 0);
  for (int i = 0; i < 12; ++i) {
    std::vector<double> weights(2 + random() % 20);
    for (double& weight : weights) weight = std::pow(10, exponent(random));
    ExpectSharesAreKept(weights);
  }
}

TEST(SourceTurnsTest, APlaceIsTheSameWheneverItIsAskedFor) {
  const std::vector<double> weights = {5, 3, 0.01};
  SourceTurns in_order(kSeed, weights), at_random(kSeed, weights);
  constexpr uint64_t kPlaces = 20000;
  std::vector<SourceTurns::Turn> turns;
  std::vector<std::vector<uint64_t>> before;
  std::vector<uint64_t> counts(3);
  for (uint64_t place = 0; place < kPlaces; ++place) {
    before.push_back(counts);
    turns.push_back(in_order.At(place));
    ++counts[turns.back().source];
  }
  std::mt19937_64 random(6);
  for (int i = 0; i < 3000; ++i) {
    const uint64_t place = random() % kPlaces;
    const SourceTurns::Turn turn = at_random.At(place);
    ASSERT_EQ(turn.source, turns[place].source);
    ASSERT_EQ(turn.number, turns[place].number);
    for (uint32_t source = 0; source < 3; ++source) {
      ASSERT_EQ(at_random.Before(place, source), before[place][source]) << place;
    }
  }
}

// Of two sources of equal weight a block has 512 turns each; a block is not sorted, and no two are alike.
TEST(SourceTurnsTest, TurnsWithinABlockAreShuffled) {
  SourceTurns turns(kSeed, std::vector{1.0, 1.0});
  SourceTurns other_seed(kSeed + 1, std::vector{1.0, 1.0});
  std::set<std::vector<uint32_t>> blocks;
  for (uint64_t block = 0; block < 20; ++block) {
    std::vector<uint32_t> one, other;
    int first_half = 0, changes = 0;
    for (uint64_t i = 0; i < SourceTurns::kBlock; ++i) {
      one.push_back(turns.At(block * SourceTurns::kBlock + i).source);
      other.push_back(other_seed.At(block * SourceTurns::kBlock + i).source);
      if (i < SourceTurns::kBlock / 2) first_half += one.back() == 0 ? 1 : 0;
      if (i > 0) changes += one[i] != one[i - 1] ? 1 : 0;
    }
    EXPECT_EQ(std::accumulate(one.begin(), one.end(), 0u), 512u);
    EXPECT_NEAR(first_half, 256, 5 * 8);  // standard deviation 8
    EXPECT_NEAR(changes, 512, 5 * 16);
    EXPECT_TRUE(blocks.insert(one).second);
    EXPECT_TRUE(blocks.insert(other).second);
  }
}

// A cursor comes out of a file.
TEST(SourceTurnsTest, NoPlaceIsTooFar) {
  SourceTurns turns(kSeed, std::vector{2.0, 1.0});
  for (const uint64_t place : {uint64_t{1} << 40, uint64_t{1} << 62, ~uint64_t{0} - 3000}) {
    const SourceTurns::Turn turn = turns.At(place);
    const long double share = static_cast<long double>(place) * (turn.source == 0 ? 2 : 1) / 3;
    EXPECT_NEAR(static_cast<double>(turn.number / share), 1, 1e-6);
  }
}

}  // namespace
}  // namespace tactus
