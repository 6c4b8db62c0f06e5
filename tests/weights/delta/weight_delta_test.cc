#include "common/weights/delta/weight_delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "common/weights/delta/element_masks.h"

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
  EXPECT_LT(EncodeDeltaBlock(before, after).size(), 30u);
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
  refused(std::string("\1\0\13\0\0\0\0\0\0\0", 10), "more changes than numbers");
  refused(std::string("\1\0\2\0\0\0\0\0\0\0", 10), "have 2 changes; expected 1");
  Numbers many(1000, 0x3f80), after = many;
  after[900] = 0x3f81;
  refused(EncodeDeltaBlock(many, after), "gaps lead beyond the block");
}

TEST(ElementMasksTest, FastKernelsEqualThePortableOnes) {
  const MaskKernels* const fast = Avx2MaskKernels();
  if (fast == nullptr) GTEST_SKIP() << "this machine has no AVX2";
  const MaskKernels& plain = PortableMaskKernels();
  std::mt19937_64 random(4);
  for (int round = 0; round < 2000; ++round) {
    std::array<uint16_t, kMaskElements> a, b;
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<uint16_t>(random());
      b[i] = random() % 4 == 0 ? static_cast<uint16_t>(random()) : a[i];
    }
    const int top = static_cast<int>(random() % 256);
    ClassMasks from_fast, from_plain;
    fast->class_masks(a.data(), top, from_fast);
    plain.class_masks(a.data(), top, from_plain);
    ASSERT_EQ(from_fast, from_plain) << "top " << top;
    uint64_t all = 0;
    for (const uint64_t mask : from_plain) {
      EXPECT_EQ(all & mask, 0u);
      all |= mask;
    }
    EXPECT_EQ(~all, 0u) << "every number is of one class";
    const uint64_t changed = plain.changed(a.data(), b.data());
    ASSERT_EQ(fast->changed(a.data(), b.data()), changed);
    for (int rank = 0; rank < std::popcount(changed); ++rank) {
      ASSERT_EQ(fast->select_bit(changed, rank), plain.select_bit(changed, rank));
    }
  }
}

}  // namespace
}  // namespace tactus
