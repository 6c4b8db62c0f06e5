// Static range coding of small symbols, with many tables in one stream: rANS (J. Duda, arXiv 1311.2540) with a 32-bit
// state, 16 bits out at a time, and frequencies of 1/4096. The last symbol put in is the first to come out.
//
// Values whose range is not small are split into a symbol, which is coded, and low bits, which are stored as they are
// (Bucket). Pure functions and single-threaded classes; never block.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr int kRansScaleBits = 12;
inline constexpr int kMaxRansSymbols = 64;

// A value below 2^30 as a symbol and low bits: 0 to 3 are symbols of their own, above that each octave has two.
struct Bucket {
  uint32_t symbol;
  int low_bits;  // how many of the value's low bits the symbol leaves open

  static Bucket Of(uint32_t value) {
    if (value < 4) return {value, 0};
    const int octave = std::bit_width(value) - 1;
    return {static_cast<uint32_t>(2 * octave) + ((value >> (octave - 1)) & 1), octave - 1};
  }
  // The value whose low bits are 0.
  static uint32_t Base(uint32_t symbol) { return symbol < 4 ? symbol : (2 | (symbol & 1)) << (symbol / 2 - 1); }
  static int LowBits(uint32_t symbol) { return symbol < 4 ? 0 : static_cast<int>(symbol / 2) - 1; }
};

// How often each symbol comes, as parts of 4096. A symbol that may come has at least one part.
class RansTable {
 public:
  RansTable() = default;
  // counts.size() <= kMaxRansSymbols; not all of them 0.
  static RansTable FromCounts(std::span<const uint32_t> counts);
  // Appends the table to `out`: a byte for how many symbols it has, and each one's parts as a varint, where 0 is
  // followed by how many more 0s there are. Reads one off the front of `in`. InvalidArgument: cut off, or parts do not
  // add up.
  void AppendTo(std::string& out) const;
  static absl::StatusOr<RansTable> ReadFrom(absl::string_view& in);

  uint32_t start(uint32_t symbol) const { return starts_[symbol]; }
  uint32_t parts(uint32_t symbol) const { return starts_[symbol + 1] - starts_[symbol]; }
  uint32_t SymbolAt(uint32_t slot) const { return symbols_[slot]; }

 private:
  explicit RansTable(std::span<const uint32_t> parts);
  std::array<uint16_t, kMaxRansSymbols + 1> starts_{};  // [i] to [i + 1]: symbol i's slots
  std::vector<uint8_t> symbols_;                        // [4096] by slot
};

class RansEncoder {
 public:
  void Put(const RansTable& table, uint32_t symbol) {
    const uint32_t parts = table.parts(symbol);
    if (state_ >= (uint64_t{parts} << (32 - kRansScaleBits))) {
      reversed_.push_back(static_cast<char>(state_));
      reversed_.push_back(static_cast<char>(state_ >> 8));
      state_ >>= 16;
    }
    state_ = ((state_ / parts) << kRansScaleBits) + state_ % parts + table.start(symbol);
  }
  // All bytes, in the decoder's order.
  std::string Finish();

 private:
  static constexpr uint32_t kLow = 1u << 16;
  friend class RansDecoder;
  uint32_t state_ = kLow;
  std::string reversed_;
};

class RansDecoder {
 public:
  // `bytes` must outlive it. What is missing at their end reads as 0 and shows in Check.
  explicit RansDecoder(absl::string_view bytes);
  uint32_t Get(const RansTable& table) {
    const uint32_t slot = state_ & ((1u << kRansScaleBits) - 1);
    const uint32_t symbol = table.SymbolAt(slot);
    state_ = table.parts(symbol) * (state_ >> kRansScaleBits) + slot - table.start(symbol);
    // A sound state lacks 16 bits at most. One that hostile bytes have brought to 0 stays small.
    if (state_ < RansEncoder::kLow) state_ = (state_ << 16) | NextWord();
    return symbol;
  }
  // After the last symbol: DataLoss unless exactly all bytes were used.
  absl::Status Check() const;

 private:
  uint32_t NextWord() {
    if (bytes_.size() - at_ < 2) return missing_ += 2, 0;
    const auto high = static_cast<uint8_t>(bytes_[at_]), low = static_cast<uint8_t>(bytes_[at_ + 1]);
    at_ += 2;
    return uint32_t{high} << 8 | low;
  }
  absl::string_view bytes_;
  size_t at_ = 0;
  size_t missing_ = 0;
  uint32_t state_ = 0;
};

// Plain bits, first in first out; at most 32 at a time.
class BitWriter {
 public:
  void Put(uint32_t value, int bits);
  std::string Finish();

 private:
  uint64_t pending_ = 0;
  int count_ = 0;
  std::string bytes_;
};

class BitReader {
 public:
  explicit BitReader(absl::string_view bytes) : bytes_(bytes) {}
  uint32_t Get(int bits) {
    if (count_ < bits) Fill();
    const auto value = static_cast<uint32_t>(pending_ & ((uint64_t{1} << bits) - 1));
    pending_ >>= bits;
    count_ -= bits;
    return value;
  }
  absl::Status Check() const;  // as RansDecoder's

 private:
  void Fill();
  absl::string_view bytes_;
  size_t at_ = 0;  // counts bytes beyond the end too
  uint64_t pending_ = 0;
  int count_ = 0;
};

// Numbers of any size, 7 bits a byte, the lowest first.
void AppendVarint(uint64_t value, std::string& out);
absl::StatusOr<uint64_t> ReadVarint(absl::string_view& in);

// Bytes after their number as a varint; InvalidArgument: there are fewer.
void AppendSized(absl::string_view bytes, std::string& out);
absl::StatusOr<absl::string_view> TakeSized(absl::string_view& in);

}  // namespace tactus
