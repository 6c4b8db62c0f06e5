#include "common/weights/delta/weight_delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/weights/delta/element_masks.h"
#include "common/weights/delta/exponent_cuts.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using Numbers = std::vector<uint16_t>;

uint16_t Round(float value) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Weights of one layer before and after an update whose size does not depend on the weight, as Adam's.
struct Update {
  Update(size_t size, float step, unsigned seed) : before(size), after(size) {
    std::mt19937 random(seed);
    std::normal_distribution<float> weight(0, 0.02f), move(0, step);
    for (size_t i = 0; i < size; ++i) {
      const float w = weight(random);
      before[i] = Round(w);
      after[i] = Round(w + move(random));
    }
  }
  Numbers before, after;
};

Numbers Applied(const std::string& delta, Numbers numbers) {
  const absl::Status status = ApplyDeltaBlock(delta, numbers);
  EXPECT_TRUE(status.ok()) << status;
  return numbers;
}

TEST(WeightDeltaTest, GivesBackEveryBit) {
  for (const size_t size : {0, 1, 63, 64, 65, 1000, 200003}) {
    for (const float step : {0.f, 1e-7f, 1e-6f, 1e-4f, 1e-2f}) {
      const Update update(size, step, 3);
      const std::string delta = EncodeDeltaBlock(update.before, update.after);
      ASSERT_EQ(Applied(delta, update.before), update.after) << size << " numbers, step " << step;
    }
  }
}

TEST(WeightDeltaTest, EveryPatternToEveryKindOfPattern) {
  Numbers before(65536), after(65536);
  for (size_t i = 0; i < before.size(); ++i) {
    before[i] = static_cast<uint16_t>(i);
    after[i] = static_cast<uint16_t>(i * 40503u + 77);
  }
  EXPECT_EQ(Applied(EncodeDeltaBlock(before, after), before), after);
  std::reverse(after.begin(), after.end());
  EXPECT_EQ(Applied(EncodeDeltaBlock(before, after), before), after);
  const Numbers zeros = {0x0000, 0x8000, 0x7fff, 0xffff}, turned = {0x8000, 0x0000, 0xffff, 0x7fff};
  EXPECT_EQ(Applied(EncodeDeltaBlock(zeros, turned), zeros), turned);
}

// The fewest bytes in which this update can be told to one who knows the old numbers' exponents and nothing of their
// order: for each exponent, which of its numbers change, and by how much.
double BoundBytes(const Update& update) {
  const auto place = [](uint16_t bits) { return bits < 0x8000 ? int{bits} : 0x7fff - int{bits}; };
  std::map<int, std::map<int, double>> by_exponent;  // counts of each step, 0 too
  for (size_t i = 0; i < update.before.size(); ++i) {
    ++by_exponent[(update.before[i] >> 7) & 0xff][place(update.after[i]) - place(update.before[i])];
  }
  double bits = 0;
  for (const auto& [exponent, steps] : by_exponent) {
    double total = 0;
    for (const auto& [step, count] : steps) total += count;
    for (const auto& [step, count] : steps) bits -= count * std::log2(count / total);
  }
  return bits / 8;
}

TEST(WeightDeltaTest, ComesNearTheBoundOfExponents) {
  for (const float step : {1e-6f, 3e-6f, 1e-5f}) {
    const Update update(1 << 20, step, 5);
    const auto size = static_cast<double>(EncodeDeltaBlock(update.before, update.after).size());
    EXPECT_GE(BoundBytes(update) / size, 0.90) << "step " << step << ": " << size << " bytes";
    EXPECT_LE(BoundBytes(update) / size, 1.01) << "step " << step;
  }
}

TEST(WeightDeltaTest, AFewChangesCostAFewBytes) {
  Numbers before(1 << 20, 0x3f80), after = before;
  EXPECT_EQ(EncodeDeltaBlock(before, after).size(), 1u);
  after[12345] += 1;
  EXPECT_LT(EncodeDeltaBlock(before, after).size(), 36u);
  EXPECT_EQ(Applied(EncodeDeltaBlock(before, after), before), after);
}

TEST(WeightDeltaTest, DamageIsAnErrorOrAnotherSetButNeverACrash) {
  const Update update(5000, 1e-5f, 9);
  const std::string delta = EncodeDeltaBlock(update.before, update.after);
  int refused = 0;
  for (size_t i = 0; i < delta.size(); ++i) {
    for (const int bit : {0, 3, 7}) {
      std::string damaged = delta;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      Numbers numbers = update.before;
      const absl::Status status = ApplyDeltaBlock(damaged, numbers);
      refused += !status.ok();
      EXPECT_FALSE(status.ok() && numbers == update.after) << "byte " << i;
    }
    Numbers numbers = update.before;
    EXPECT_FALSE(ApplyDeltaBlock(delta.substr(0, i), numbers).ok()) << i;
  }
  EXPECT_GT(refused, static_cast<int>(delta.size()));
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string noise(random() % 60, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    Numbers numbers(100);
    ApplyDeltaBlock(noise, numbers).IgnoreError();
  }
}

TEST(WeightDeltaTest, RefusesWhatIsNoBlock) {
  const auto refused = [](const std::string& delta, absl::string_view why) {
    Numbers numbers(10);
    const absl::Status status = ApplyDeltaBlock(delta, numbers);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(), HasSubstr(why));
  };
  refused("", "middle of a field");
  refused(std::string("\0x", 2), "bytes follow where nothing changed");
  refused(std::string("\1", 1), "middle of a field");
  const std::string cuts(kExponentClasses - 1, '\0');
  refused(absl::StrCat("\1", cuts, std::string("\13\0\0\0\0\0\0\0", 8)), "more changes than numbers");
  refused(absl::StrCat("\1", cuts, std::string("\2\0\0\0\0\0\0\0", 8)), "have 2 changes; expected 1");
  refused(absl::StrCat("\1", std::string("\5\6\0\0\0\0\0", 7)), "part its classes rise");
  Numbers many(1000, 0x3f80), after = many;
  after[900] = 0x3f81;
  refused(EncodeDeltaBlock(many, after), "gaps lead beyond the block");
}

ClassCuts SomeCuts(std::mt19937_64& random) {
  ClassCuts cuts;
  for (uint8_t& cut : cuts) cut = static_cast<uint8_t>(random());
  std::ranges::sort(cuts, std::greater<>());
  if (random() % 3 == 0) cuts[2] = cuts[1];
  return cuts;
}

void ExpectEqual(const ChunkWalk& a, const ChunkWalk& b) {
  ASSERT_EQ(a.masks, b.masks);
  ASSERT_EQ(a.here, b.here);
  ASSERT_EQ(a.seen, b.seen);
}

// What the walk says of one chunk, number by number.
void ExpectRight(const ChunkWalk& walk, const uint16_t* numbers, const ClassCuts& cuts) {
  ClassMasks masks{};
  ClassCounts here{};
  for (int i = 0; i < kMaskElements; ++i) {
    const auto of =
        static_cast<size_t>(std::ranges::count_if(cuts, [&](int cut) { return ExponentOf(numbers[i]) <= cut; }));
    masks[of] |= uint64_t{1} << i;
    ++here[of];
  }
  EXPECT_EQ(walk.masks, masks);
  EXPECT_EQ(walk.here, here);
}

void ExpectSameWalks(const MaskKernels& fast, const MaskKernels& plain) {
  std::mt19937_64 random(4);
  constexpr size_t kChunks = 9;
  for (int round = 0; round < 500; ++round) {
    std::vector<uint16_t> a(kChunks * kMaskElements), b;
    for (uint16_t& number : a) number = static_cast<uint16_t>(random());
    b = a;
    for (int i = 0; i < 3; ++i) b[random() % b.size()] ^= static_cast<uint16_t>(random() % 4);
    const ClassCuts cuts = SomeCuts(random);
    ClassCounts next;
    for (int64_t& n : next) n = static_cast<int64_t>(random() % 400);
    ChunkWalk of_fast, of_plain;
    const size_t stop = plain.walk_to_next(a.data(), kChunks, cuts, next, of_plain);
    ASSERT_EQ(fast.walk_to_next(a.data(), kChunks, cuts, next, of_fast), stop);
    ASSERT_NO_FATAL_FAILURE(ExpectEqual(of_fast, of_plain));
    ExpectRight(of_plain, a.data() + std::min(stop, kChunks - 1) * kMaskElements, cuts);
    of_fast = of_plain = {};
    uint64_t changed = 0, fast_changed = 0;
    const size_t differs = plain.walk_to_change(a.data(), b.data(), kChunks, cuts, of_plain, changed);
    ASSERT_EQ(fast.walk_to_change(a.data(), b.data(), kChunks, cuts, of_fast, fast_changed), differs);
    ASSERT_EQ(fast_changed, changed);
    ASSERT_NO_FATAL_FAILURE(ExpectEqual(of_fast, of_plain));
    for (int i = 0; differs < kChunks && i < kMaskElements; ++i) {
      const size_t at = differs * kMaskElements + static_cast<size_t>(i);
      ASSERT_EQ(a[at] != b[at], ((changed >> i) & 1) != 0);
    }
    const uint64_t mask = random();
    for (int rank = 0; rank < std::popcount(mask); ++rank) {
      const int place = plain.select_bit(mask, rank);
      ASSERT_EQ(fast.select_bit(mask, rank), place);
      ASSERT_EQ(plain.rank_of_bit(mask, place), rank);
      ASSERT_EQ(fast.rank_of_bit(mask, place), rank);
    }
  }
}

TEST(ElementMasksTest, Avx2EqualsThePortableOnes) {
  if (Avx2MaskKernels() == nullptr) GTEST_SKIP() << "this machine has no AVX2";
  ExpectSameWalks(*Avx2MaskKernels(), PortableMaskKernels());
}

TEST(ElementMasksTest, Avx512EqualsThePortableOnes) {
  if (Avx512MaskKernels() == nullptr) GTEST_SKIP() << "this machine has no AVX-512";
  ExpectSameWalks(*Avx512MaskKernels(), PortableMaskKernels());
}

// Bits of the classes that `cuts` makes, as exponent_cuts.h defines them, counted the slow way.
double BitsOf(const ExponentCounts& counts, const ClassCuts& cuts) {
  std::array<double, kExponentClasses> numbers{}, changes{};
  for (int e = 0; e < 256; ++e) {
    const auto of = static_cast<size_t>(std::ranges::count_if(cuts, [&](uint8_t cut) { return e <= cut; }));
    numbers[of] += counts.numbers[static_cast<size_t>(e)];
    changes[of] += counts.changes[static_cast<size_t>(e)];
  }
  double bits = 0;
  for (size_t c = 0; c < numbers.size(); ++c) {
    if (changes[c] == 0) continue;
    const double p = changes[c] / numbers[c];
    bits += 240 - numbers[c] * (p * std::log2(p) + (p < 1 ? (1 - p) * std::log2(1 - p) : 0));
  }
  return bits;
}

TEST(ExponentCutsTest, NoOtherCutsCostFewerBits) {
  std::mt19937 random(8);
  for (int round = 0; round < 200; ++round) {
    ExponentCounts counts;
    const uint32_t most = round % 2 == 0 ? 100000 : 100;
    for (int i = 0; i < 20; ++i) {
      const size_t e = random() % 256;
      counts.numbers[e] = 1 + random() % most;
      counts.changes[e] = random() % (counts.numbers[e] + 1);
    }
    const ClassCuts best = ChooseCuts(counts, 1);
    ASSERT_TRUE(std::ranges::is_sorted(best, std::greater<>()));
    const double least = BitsOf(counts, best);
    for (int other = 0; other < 200; ++other) {
      ClassCuts cuts = best;
      for (uint8_t& cut : cuts) {
        if (other < 100 || random() % 4 == 0) cut = static_cast<uint8_t>(random());
      }
      std::ranges::sort(cuts, std::greater<>());
      ASSERT_LE(least, BitsOf(counts, cuts) + 1e-6) << round;
    }
  }
}

TEST(ExponentCutsTest, ClassesThatSaveLessThanTheirTablesAreNotMade) {
  ExponentCounts counts;
  counts.numbers[100] = counts.numbers[101] = 1000;
  counts.changes[100] = 10;
  counts.changes[101] = 12;
  EXPECT_THAT(ChooseCuts(counts, 1), ::testing::Each(0)) << "one class";
  EXPECT_THAT(ChooseCuts(counts, 10000), ::testing::Each(100)) << "two: above 100, and all else";
  EXPECT_THAT(ChooseCuts({}, 1), ::testing::Each(0));
}

}  // namespace
}  // namespace tactus
