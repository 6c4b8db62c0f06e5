#include "common/weights/delta/rans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace tactus {
namespace {

using ::testing::HasSubstr;

TEST(BucketTest, SplitsAndJoinsEveryValue) {
  for (uint32_t value = 0; value < 1u << 18; ++value) {
    const Bucket bucket = Bucket::Of(value);
    const uint32_t low = value - Bucket::Base(bucket.symbol);
    ASSERT_LT(low, 1u << bucket.low_bits) << value;
    ASSERT_EQ(Bucket::LowBits(bucket.symbol), bucket.low_bits) << value;
  }
  EXPECT_LT(Bucket::Of((1u << 30) - 1).symbol, static_cast<uint32_t>(kMaxRansSymbols));
}

// -sum p log2 p, in bytes.
double EntropyBytes(const std::vector<uint32_t>& counts) {
  double total = 0, bits = 0;
  for (const uint32_t count : counts) total += count;
  for (const uint32_t count : counts) {
    if (count > 0) bits -= count * std::log2(count / total);
  }
  return bits / 8;
}

TEST(RansTest, SymbolsComeBackInNearlyTheirEntropy) {
  std::mt19937 random(7);
  for (const double skew : {0.02, 0.3, 0.9}) {
    std::geometric_distribution<uint32_t> draw(skew);
    std::vector<uint32_t> symbols(100000), counts(kMaxRansSymbols);
    for (uint32_t& symbol : symbols) ++counts[symbol = std::min(draw(random), 63u)];
    const RansTable table = RansTable::FromCounts(counts);
    RansEncoder encoder;
    for (auto it = symbols.rbegin(); it != symbols.rend(); ++it) encoder.Put(table, *it);
    const std::string bytes = encoder.Finish();
    EXPECT_LT(static_cast<double>(bytes.size()), EntropyBytes(counts) * 1.01 + 8) << skew;
    std::string head;
    table.AppendTo(head);
    absl::string_view in = head;
    const absl::StatusOr<RansTable> read = RansTable::ReadFrom(in);
    ASSERT_TRUE(read.ok() && in.empty()) << read.status();
    RansDecoder decoder(bytes);
    for (const uint32_t symbol : symbols) ASSERT_EQ(decoder.Get(*read), symbol);
    EXPECT_TRUE(decoder.Check().ok()) << decoder.Check();
    EXPECT_FALSE(RansDecoder(bytes).Check().ok()) << "not all was read";
  }
}

TEST(RansTest, ATableOfOneSymbolCostsNothingPerSymbol) {
  const std::vector<uint32_t> counts = {0, 0, 5};
  const RansTable table = RansTable::FromCounts(counts);
  RansEncoder encoder;
  for (int i = 0; i < 1000; ++i) encoder.Put(table, 2);
  EXPECT_EQ(encoder.Finish().size(), 4u);
}

TEST(RansTest, EverySymbolOfAFullTableKeepsAPart) {
  std::vector<uint32_t> counts(kMaxRansSymbols, 1);
  counts[5] = 4000000000;
  const RansTable table = RansTable::FromCounts(counts);
  uint32_t sum = 0;
  for (uint32_t i = 0; i < static_cast<uint32_t>(kMaxRansSymbols); ++i) {
    EXPECT_GE(table.parts(i), 1u);
    sum += table.parts(i);
  }
  EXPECT_EQ(sum, 4096u);
}

TEST(RansTest, BadTablesAreRefused) {
  const auto refused = [](absl::string_view bytes, absl::string_view why) {
    const absl::Status status = RansTable::ReadFrom(bytes).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(why));
  };
  refused("", "middle of a field");
  refused(absl::string_view("\0", 1), "a table of 0 symbols");
  refused("\x41", "a table of 65 symbols");
  refused("\x02\x01", "middle of a field");
  refused(absl::string_view("\x02\0", 2), "middle of a field");
  refused(absl::string_view("\x03\0\x7f", 3), "add up to 0");
  refused("\x02\x01\x02", "add up to 3");
  refused("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than 64 bits");
  refused("\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", "add up to 4098");
}

TEST(BitsTest, ComeBackInOrder) {
  BitWriter writer;
  for (int bits = 0; bits <= 30; ++bits) writer.Put(((1u << bits) - 1) & 0x2a5a5a5a, bits);
  const std::string bytes = writer.Finish();
  BitReader reader(bytes);
  for (int bits = 0; bits <= 30; ++bits) ASSERT_EQ(reader.Get(bits), ((1u << bits) - 1) & 0x2a5a5a5a);
  EXPECT_TRUE(reader.Check().ok());
  reader.Get(9);
  EXPECT_TRUE(absl::IsDataLoss(reader.Check()));
}

}  // namespace
}  // namespace tactus
