#include "common/weights/delta/weight_delta.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/weights/delta/element_masks.h"
#include "common/weights/delta/rans.h"

namespace tactus {
namespace {

constexpr size_t kClasses = kExponentClasses;
constexpr int64_t kNever = int64_t{1} << 62;
// One number in so many is looked at where a sample does.
constexpr size_t kSampleStride = 61;

// All bfloat16 bit patterns in the order of their values, -0 below +0: neighbours differ by 1.
int32_t Place(uint16_t bits) { return bits < 0x8000 ? bits : 0x7fff - bits; }
uint16_t AtPlace(int64_t place) { return static_cast<uint16_t>(place >= 0 ? place : 0x7fff - place); }

uint32_t FoldStep(int32_t step) { return (static_cast<uint32_t>(std::abs(step)) - 1) * 2 + (step < 0 ? 1 : 0); }
int64_t UnfoldStep(uint32_t folded) {
  const int64_t size = int64_t{folded / 2} + 1;
  return folded % 2 == 0 ? size : -size;
}

// The first 64 numbers of what is left, filled up with zeros where there are fewer. Those never change; being small
// they count for the last class, on both sides alike.
template <typename Number>
struct Chunk {
  Chunk(std::span<Number> numbers, size_t begin) : size(std::min<size_t>(kMaskElements, numbers.size() - begin)) {
    at = numbers.data() + begin;
    if (size == kMaskElements) return;
    std::copy_n(at, size, padded.begin());
    at = nullptr;
  }
  const uint16_t* data() const { return at != nullptr ? at : padded.data(); }
  const size_t size;

 private:
  const uint16_t* at;
  std::array<uint16_t, kMaskElements> padded{};
};

// The smallest exponent that at most 1 of 64 numbers is above.
int TopExponent(std::span<const uint16_t> numbers) {
  std::array<size_t, 256> counts{};
  size_t seen = 0;
  for (size_t i = 0; i < numbers.size(); i += kSampleStride, ++seen)
    ++counts[static_cast<size_t>(ExponentOf(numbers[i]))];
  size_t above = 0;
  int top = 255;
  while (top > 0 && (above + counts[static_cast<size_t>(top)]) * 64 <= seen)
    above += counts[static_cast<size_t>(top--)];
  return top;
}

struct Change {
  uint8_t exponent_class;
  uint32_t step;  // folded
};

struct Changes {
  std::vector<Change> in_order;
  std::array<std::vector<uint32_t>, kClasses> gaps;
};

Changes FindChanges(std::span<const uint16_t> before, std::span<const uint16_t> after, int top) {
  const MaskKernels& kernels = BestMaskKernels();
  Changes changes;
  std::array<uint32_t, kClasses> run{};  // numbers of the class since its last change
  ClassMasks masks;
  for (size_t begin = 0; begin < before.size(); begin += kMaskElements) {
    const Chunk old(before, begin), fresh(after, begin);
    kernels.class_masks(old.data(), top, masks);
    const uint64_t changed = kernels.changed(old.data(), fresh.data());
    for (size_t c = 0; c < kClasses; ++c) {
      uint32_t passed = 0;  // numbers of the class in this chunk up to its last change
      for (uint64_t left = changed & masks[c]; left != 0; left &= left - 1) {
        const int i = std::countr_zero(left);
        const auto rank = static_cast<uint32_t>(std::popcount(masks[c] & ((uint64_t{1} << i) - 1)));
        changes.gaps[c].push_back(run[c] + rank - passed);
        const int32_t step = Place(fresh.data()[i]) - Place(old.data()[i]);
        changes.in_order.push_back({static_cast<uint8_t>(c), FoldStep(step)});
        run[c] = 0;
        passed = rank + 1;
      }
      run[c] += static_cast<uint32_t>(std::popcount(masks[c])) - passed;
    }
  }
  return changes;
}

// How the symbols of one class are coded.
struct ClassTables {
  RansTable gap, step;
};

std::array<std::optional<ClassTables>, kClasses> CountTables(const Changes& changes) {
  std::array<std::array<uint32_t, kMaxRansSymbols>, kClasses> gaps{}, steps{};
  for (const Change& change : changes.in_order) ++steps[change.exponent_class][Bucket::Of(change.step).symbol];
  std::array<std::optional<ClassTables>, kClasses> tables;
  for (size_t c = 0; c < kClasses; ++c) {
    if (changes.gaps[c].empty()) continue;
    for (const uint32_t gap : changes.gaps[c]) ++gaps[c][Bucket::Of(gap).symbol];
    tables[c] = ClassTables{RansTable::FromCounts(gaps[c]), RansTable::FromCounts(steps[c])};
  }
  return tables;
}

// Calls fn(class, is_gap, value) for each coded value in the stream's order.
template <typename Fn>
void ForEachValue(const Changes& changes, Fn fn) {
  std::array<size_t, kClasses> next{};
  const auto gap = [&](size_t c) {
    if (next[c] < changes.gaps[c].size()) fn(c, true, changes.gaps[c][next[c]++]);
  };
  for (size_t c = 0; c < kClasses; ++c) gap(c);
  for (const Change& change : changes.in_order) {
    fn(change.exponent_class, false, change.step);
    gap(change.exponent_class);
  }
}

// A block's head, and its values one by one.
class BlockReader {
 public:
  static absl::StatusOr<BlockReader> Open(absl::string_view in, uint64_t changes, size_t elements) {
    if (in.empty()) return absl::InvalidArgumentError("weight delta: it ends in the middle of a field");
    BlockReader reader;
    reader.top_ = static_cast<uint8_t>(in[0]);
    in.remove_prefix(1);
    uint64_t sum = 0;
    for (int64_t& left : reader.left_) {
      ASSIGN_OR_RETURN(const uint64_t count, ReadVarint(in));
      if (count > elements) return absl::InvalidArgumentError("weight delta: a class has more changes than numbers");
      left = static_cast<int64_t>(count);
      sum += count;
    }
    if (sum != changes) {
      return absl::InvalidArgumentError(
          absl::StrCat("weight delta: its classes have ", sum, " changes; expected ", changes));
    }
    for (size_t c = 0; c < kClasses; ++c) {
      if (reader.left_[c] == 0) continue;
      ASSIGN_OR_RETURN(reader.tables_[c].gap, RansTable::ReadFrom(in));
      ASSIGN_OR_RETURN(reader.tables_[c].step, RansTable::ReadFrom(in));
    }
    ASSIGN_OR_RETURN(const absl::string_view symbols, TakeSized(in));
    ASSIGN_OR_RETURN(const absl::string_view bits, TakeSized(in));
    if (!in.empty()) return absl::InvalidArgumentError(absl::StrCat("weight delta: ", in.size(), " bytes too many"));
    reader.symbols_.emplace(symbols);
    reader.bits_.emplace(bits);
    return reader;
  }

  int top() const { return top_; }
  // How many numbers of class c stand before its next change; kNever after its last.
  int64_t NextGap(size_t c) { return left_[c]-- > 0 ? int64_t{Next(tables_[c].gap)} : kNever; }
  int64_t NextStep(size_t c) { return UnfoldStep(Next(tables_[c].step)); }
  absl::Status Check() const {
    if (std::ranges::any_of(left_, [](int64_t left) { return left >= 0; })) {
      return absl::DataLossError("weight delta: its gaps lead beyond the block");
    }
    RETURN_IF_ERROR(symbols_->Check());
    return bits_->Check();
  }

 private:
  uint32_t Next(const RansTable& table) {
    const uint32_t symbol = symbols_->Get(table);
    return Bucket::Base(symbol) + bits_->Get(Bucket::LowBits(symbol));
  }

  int top_ = 0;
  std::array<int64_t, kClasses> left_{};
  std::array<ClassTables, kClasses> tables_;
  std::optional<RansDecoder> symbols_;
  std::optional<BitReader> bits_;
};

}  // namespace

std::string EncodeDeltaBlock(std::span<const uint16_t> before, std::span<const uint16_t> after) {
  const int top = TopExponent(before);
  const Changes changes = FindChanges(before, after, top);
  std::string out;
  AppendVarint(changes.in_order.size(), out);
  if (changes.in_order.empty()) return out;
  out.push_back(static_cast<char>(top));
  for (const std::vector<uint32_t>& gaps : changes.gaps) AppendVarint(gaps.size(), out);
  const std::array<std::optional<ClassTables>, kClasses> tables = CountTables(changes);
  for (const std::optional<ClassTables>& of_class : tables) {
    if (!of_class.has_value()) continue;
    of_class->gap.AppendTo(out);
    of_class->step.AppendTo(out);
  }
  struct Coded {
    const RansTable* table;
    uint32_t symbol;
  };
  std::vector<Coded> coded;
  coded.reserve(2 * changes.in_order.size());
  BitWriter bits;
  ForEachValue(changes, [&](size_t c, bool is_gap, uint32_t value) {
    const Bucket bucket = Bucket::Of(value);
    coded.push_back({is_gap ? &tables[c]->gap : &tables[c]->step, bucket.symbol});
    bits.Put(value - Bucket::Base(bucket.symbol), bucket.low_bits);
  });
  RansEncoder symbols;
  for (auto it = coded.rbegin(); it != coded.rend(); ++it) symbols.Put(*it->table, it->symbol);
  AppendSized(symbols.Finish(), out);
  AppendSized(bits.Finish(), out);
  return out;
}

absl::Status ApplyDeltaBlock(absl::string_view delta, std::span<uint16_t> numbers) {
  ASSIGN_OR_RETURN(const uint64_t changes, ReadVarint(delta));
  if (changes == 0 && !delta.empty())
    return absl::InvalidArgumentError("weight delta: bytes follow where nothing changed");
  if (changes == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(BlockReader reader, BlockReader::Open(delta, changes, numbers.size()));
  const MaskKernels& kernels = BestMaskKernels();
  std::array<int64_t, kClasses> wait{};  // numbers of the class before its next change
  for (size_t c = 0; c < kClasses; ++c) wait[c] = reader.NextGap(c);
  ClassMasks masks;
  for (size_t begin = 0; begin < numbers.size(); begin += kMaskElements) {
    const Chunk chunk(numbers, begin);
    kernels.class_masks(chunk.data(), reader.top(), masks);
    for (size_t c = 0; c < kClasses; ++c) {
      const int64_t here = std::popcount(masks[c]);
      for (; wait[c] < here; wait[c] += 1 + reader.NextGap(c)) {
        const auto i = static_cast<size_t>(kernels.select_bit(masks[c], static_cast<int>(wait[c])));
        if (i >= chunk.size) return absl::DataLossError("weight delta: a change beyond the last number");
        uint16_t& number = numbers[begin + i];
        const int64_t place = Place(number) + reader.NextStep(c);
        if (place < -0x8000 || place > 0x7fff) return absl::DataLossError("weight delta: a step beyond all numbers");
        number = AtPlace(place);
      }
      wait[c] -= here;
    }
  }
  return reader.Check();
}

double ChangedFraction(std::span<const uint16_t> before, std::span<const uint16_t> after) {
  size_t seen = 0, changed = 0;
  for (size_t i = 0; i < before.size(); i += kSampleStride, ++seen) changed += before[i] != after[i];
  return seen == 0 ? 0 : static_cast<double>(changed) / static_cast<double>(seen);
}

}  // namespace tactus
