#include "common/weights/delta/weight_delta.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/weights/delta/element_masks.h"
#include "common/weights/delta/exponent_cuts.h"
#include "common/weights/delta/rans.h"

namespace tactus {
namespace {

constexpr size_t kClasses = kExponentClasses;
constexpr int64_t kNever = int64_t{1} << 62;
// One number, or one chunk of 64, in so many is looked at where a sample does. Primes, so that no matrix has a width
// they divide.
constexpr size_t kNumberStride = 61, kChunkStride = 37;
// With fewer chunks than this all are looked at.
constexpr size_t kFewChunks = 4096;

// All bfloat16 bit patterns in the order of their values, -0 below +0: neighbours differ by 1.
int32_t Place(uint16_t bits) { return bits < 0x8000 ? bits : 0x7fff - bits; }
uint16_t AtPlace(int64_t place) { return static_cast<uint16_t>(place >= 0 ? place : 0x7fff - place); }

uint32_t FoldStep(int32_t step) { return (static_cast<uint32_t>(std::abs(step)) - 1) * 2 + (step < 0 ? 1 : 0); }
int64_t UnfoldStep(uint32_t folded) {
  const int64_t size = int64_t{folded / 2} + 1;
  return folded % 2 == 0 ? size : -size;
}

// The last numbers of a block where they fill no chunk, filled up with zeros. Those never change; of the smallest
// exponent they count for the last class, on both sides alike.
std::array<uint16_t, kMaskElements> Padded(std::span<const uint16_t> numbers) {
  std::array<uint16_t, kMaskElements> padded{};
  std::ranges::copy(numbers, padded.begin());
  return padded;
}

ClassCuts CutsFor(std::span<const uint16_t> before, std::span<const uint16_t> after) {
  const size_t stride = before.size() < kFewChunks * kMaskElements ? 1 : kChunkStride;
  ExponentCounts counts;
  for (size_t begin = 0; begin < before.size(); begin += stride * kMaskElements) {
    const size_t end = std::min<size_t>(begin + kMaskElements, before.size());
    for (size_t i = begin; i < end; ++i) {
      const auto exponent = static_cast<size_t>(ExponentOf(before[i]));
      ++counts.numbers[exponent];
      counts.changes[exponent] += before[i] != after[i];
    }
  }
  return ChooseCuts(counts, static_cast<double>(stride));
}

struct Change {
  uint8_t exponent_class;
  uint32_t step;  // folded
};

struct Changes {
  std::vector<Change> in_order;
  std::array<std::vector<uint32_t>, kClasses> gaps;
};

class ChangeFinder {
 public:
  explicit ChangeFinder(const ClassCuts& cuts) : cuts_(cuts) {}

  void Find(const uint16_t* before, const uint16_t* after, size_t chunks) {
    uint64_t changed = 0;
    for (size_t i = 0; i < chunks; ++i, walk_.Pass()) {
      const size_t at = i * kMaskElements;
      i += kernels_.walk_to_change(before + at, after + at, chunks - i, cuts_, walk_, changed);
      if (i == chunks) return;
      for (size_t c = 0; c < kClasses; ++c) {
        if ((changed & walk_.masks[c]) != 0) Enter(c, changed, before + i * kMaskElements, after + i * kMaskElements);
      }
    }
  }
  Changes Take() { return std::move(changes_); }

 private:
  // The changes of class c in the chunk at hand.
  void Enter(size_t c, uint64_t changed, const uint16_t* before, const uint16_t* after) {
    for (uint64_t left = changed & walk_.masks[c]; left != 0; left &= left - 1) {
      const int i = std::countr_zero(left);
      const int64_t at = walk_.seen[c] + kernels_.rank_of_bit(walk_.masks[c], i);
      changes_.gaps[c].push_back(static_cast<uint32_t>(at - expected_[c]));
      changes_.in_order.push_back({static_cast<uint8_t>(c), FoldStep(Place(after[i]) - Place(before[i]))});
      expected_[c] = at + 1;
    }
  }

  const MaskKernels& kernels_ = BestMaskKernels();
  const ClassCuts& cuts_;
  ChunkWalk walk_;
  ClassCounts expected_{};  // where the next change of a class would be at no distance from its last
  Changes changes_;
};

Changes FindChanges(std::span<const uint16_t> before, std::span<const uint16_t> after, const ClassCuts& cuts) {
  const size_t chunks = before.size() / kMaskElements, whole = chunks * kMaskElements;
  ChangeFinder finder(cuts);
  finder.Find(before.data(), after.data(), chunks);
  if (whole < before.size()) finder.Find(Padded(before.subspan(whole)).data(), Padded(after.subspan(whole)).data(), 1);
  return finder.Take();
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

// A value's symbol, and which table codes it: 2 * class, and 1 more for gaps. Small, as a block has a million.
struct CodedValue {
  uint8_t table, symbol;
};

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
    BlockReader reader;
    if (in.size() < reader.cuts_.size())
      return absl::InvalidArgumentError("weight delta: it ends in the middle of a field");
    std::ranges::copy(in.substr(0, reader.cuts_.size()), reader.cuts_.begin());
    in.remove_prefix(reader.cuts_.size());
    if (!std::ranges::is_sorted(reader.cuts_, std::greater<>()))
      return absl::InvalidArgumentError("weight delta: the exponents that part its classes rise");
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

  const ClassCuts& cuts() const { return cuts_; }
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

  ClassCuts cuts_{};
  std::array<int64_t, kClasses> left_{};
  std::array<ClassTables, kClasses> tables_;
  std::optional<RansDecoder> symbols_;
  std::optional<BitReader> bits_;
};

class ChangeApplier {
 public:
  explicit ChangeApplier(BlockReader& reader) : reader_(reader) {
    for (size_t c = 0; c < kClasses; ++c) next_[c] = reader_.NextGap(c);
  }

  absl::Status Apply(uint16_t* numbers, size_t chunks) {
    for (size_t i = 0; i < chunks; ++i, walk_.Pass()) {
      i += kernels_.walk_to_next(numbers + i * kMaskElements, chunks - i, reader_.cuts(), next_, walk_);
      if (i == chunks) break;
      for (size_t c = 0; c < kClasses; ++c) RETURN_IF_ERROR(ApplyClass(c, numbers + i * kMaskElements));
    }
    return absl::OkStatus();
  }

 private:
  // The changes of class c in the chunk at hand.
  absl::Status ApplyClass(size_t c, uint16_t* chunk) {
    for (; next_[c] < walk_.seen[c] + walk_.here[c]; next_[c] += 1 + reader_.NextGap(c)) {
      uint16_t& number = chunk[kernels_.select_bit(walk_.masks[c], static_cast<int>(next_[c] - walk_.seen[c]))];
      const int64_t place = Place(number) + reader_.NextStep(c);
      if (place < -0x8000 || place > 0x7fff) return absl::DataLossError("weight delta: a step beyond all numbers");
      number = AtPlace(place);
    }
    return absl::OkStatus();
  }

  const MaskKernels& kernels_ = BestMaskKernels();
  BlockReader& reader_;
  ChunkWalk walk_;
  ClassCounts next_;  // which number of each class changes next, counted from 0
};

}  // namespace

std::string EncodeDeltaBlock(std::span<const uint16_t> before, std::span<const uint16_t> after) {
  const ClassCuts cuts = CutsFor(before, after);
  const Changes changes = FindChanges(before, after, cuts);
  std::string out;
  AppendVarint(changes.in_order.size(), out);
  if (changes.in_order.empty()) return out;
  out.append(cuts.begin(), cuts.end());
  for (const std::vector<uint32_t>& gaps : changes.gaps) AppendVarint(gaps.size(), out);
  const std::array<std::optional<ClassTables>, kClasses> tables = CountTables(changes);
  for (const std::optional<ClassTables>& of_class : tables) {
    if (!of_class.has_value()) continue;
    of_class->gap.AppendTo(out);
    of_class->step.AppendTo(out);
  }
  std::vector<CodedValue> coded;
  coded.reserve(2 * changes.in_order.size());
  BitWriter bits;
  ForEachValue(changes, [&](size_t c, bool is_gap, uint32_t value) {
    const Bucket bucket = Bucket::Of(value);
    coded.push_back({static_cast<uint8_t>(2 * c + (is_gap ? 1 : 0)), static_cast<uint8_t>(bucket.symbol)});
    bits.Put(value - Bucket::Base(bucket.symbol), bucket.low_bits);
  });
  RansEncoder symbols;
  for (auto it = coded.rbegin(); it != coded.rend(); ++it) {
    const ClassTables& of_class = *tables[it->table / 2];
    symbols.Put(it->table % 2 == 1 ? of_class.gap : of_class.step, it->symbol);
  }
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
  ChangeApplier applier(reader);
  const size_t chunks = numbers.size() / kMaskElements, whole = chunks * kMaskElements;
  RETURN_IF_ERROR(applier.Apply(numbers.data(), chunks));
  if (whole < numbers.size()) {
    std::array<uint16_t, kMaskElements> last = Padded(numbers.subspan(whole));
    RETURN_IF_ERROR(applier.Apply(last.data(), 1));
    if (std::ranges::any_of(std::span(last).subspan(numbers.size() - whole), [](uint16_t n) { return n != 0; }))
      return absl::DataLossError("weight delta: a change beyond the last number");
    std::ranges::copy_n(last.begin(), static_cast<int64_t>(numbers.size() - whole),
                        numbers.begin() + static_cast<int64_t>(whole));
  }
  return reader.Check();
}

double ChangedFraction(std::span<const uint16_t> before, std::span<const uint16_t> after) {
  size_t seen = 0, changed = 0;
  for (size_t i = 0; i < before.size(); i += kNumberStride, ++seen) changed += before[i] != after[i];
  return seen == 0 ? 0 : static_cast<double>(changed) / static_cast<double>(seen);
}

}  // namespace tactus
