#include "common/weights/delta/rans.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr uint32_t kParts = 1u << kRansScaleBits;

absl::Status CutOff() { return absl::InvalidArgumentError("weight delta: it ends in the middle of a field"); }

// DataLoss unless a reader has used all its bytes and no more.
absl::Status CheckUsed(absl::string_view what, size_t used, size_t size) {
  if (used == size) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("weight delta: its ", what, " are ", size, " bytes; ", used, " were expected"));
}

}  // namespace

RansTable::RansTable(std::span<const uint32_t> parts) : symbols_(kParts) {
  uint32_t start = 0;
  for (size_t i = 0; i < starts_.size(); ++i) {
    starts_[i] = static_cast<uint16_t>(start);
    if (i >= parts.size()) continue;
    std::fill_n(symbols_.begin() + start, parts[i], static_cast<uint8_t>(i));
    start += parts[i];
  }
}

RansTable RansTable::FromCounts(std::span<const uint32_t> counts) {
  const uint64_t total = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  std::vector<uint32_t> parts(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0)
      parts[i] = std::max<uint32_t>(1, static_cast<uint32_t>((uint64_t{counts[i]} * kParts + total / 2) / total));
  }
  // Rounding left some parts too many or too few: the most frequent symbol feels that least. It cannot fall below 1: at
  // most 63 others were rounded up to 1.
  const int64_t sum = std::accumulate(parts.begin(), parts.end(), int64_t{0});
  uint32_t& most = *std::ranges::max_element(parts);
  most = static_cast<uint32_t>(int64_t{most} + int64_t{kParts} - sum);
  return RansTable(parts);
}

void RansTable::AppendTo(std::string& out) const {
  uint32_t used = kMaxRansSymbols;
  while (used > 0 && parts(used - 1) == 0) --used;
  out.push_back(static_cast<char>(used));
  for (uint32_t i = 0; i < used; ++i) {
    AppendVarint(parts(i), out);
    if (parts(i) > 0) continue;
    const uint32_t first = i;
    while (parts(i + 1) == 0) ++i;
    AppendVarint(i - first, out);
  }
}

absl::StatusOr<RansTable> RansTable::ReadFrom(absl::string_view& in) {
  if (in.empty()) return CutOff();
  const auto used = static_cast<uint8_t>(in[0]);
  in.remove_prefix(1);
  if (used == 0 || used > kMaxRansSymbols) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight delta: a table of ", used, " symbols; expected 1 to ", kMaxRansSymbols));
  }
  std::vector<uint32_t> parts(used);
  uint64_t sum = 0;
  for (uint64_t i = 0; i < used; ++i) {
    ASSIGN_OR_RETURN(const uint64_t value, ReadVarint(in));
    sum += parts[i] = static_cast<uint32_t>(std::min<uint64_t>(value, kParts + 1));
    if (value > 0) continue;
    ASSIGN_OR_RETURN(const uint64_t more, ReadVarint(in));
    i += std::min<uint64_t>(more, used);
  }
  if (sum != kParts) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight delta: a table's parts add up to ", sum, "; expected ", kParts));
  }
  return RansTable(parts);
}

std::string RansEncoder::Finish() {
  for (int i = 0; i < 4; ++i) {
    reversed_.push_back(static_cast<char>(state_));
    state_ >>= 8;
  }
  std::ranges::reverse(reversed_);
  return std::move(reversed_);
}

RansDecoder::RansDecoder(absl::string_view bytes) : bytes_(bytes) {
  for (int i = 0; i < 2; ++i) state_ = (state_ << 16) | NextWord();
}

absl::Status RansDecoder::Check() const {
  absl::Status used = CheckUsed("coded symbols", at_ + missing_, bytes_.size());
  if (used.ok() && state_ != RansEncoder::kLow)
    used = absl::DataLossError("weight delta: its coded symbols are damaged");
  return used;
}

void BitWriter::Put(uint32_t value, int bits) {
  pending_ |= uint64_t{value} << count_;
  for (count_ += bits; count_ >= 8; count_ -= 8) {
    bytes_.push_back(static_cast<char>(pending_));
    pending_ >>= 8;
  }
}

std::string BitWriter::Finish() {
  if (count_ > 0) bytes_.push_back(static_cast<char>(pending_));
  return std::move(bytes_);
}

void BitReader::Fill() {
  for (; count_ <= 56; count_ += 8, ++at_) {
    const uint64_t next = at_ < bytes_.size() ? static_cast<uint8_t>(bytes_[at_]) : 0;
    pending_ |= next << count_;
  }
}

absl::Status BitReader::Check() const {
  if (pending_ != 0) return absl::DataLossError("weight delta: bits follow its last number");
  // Whole bytes that were read ahead are not used.
  const size_t used = at_ - static_cast<size_t>(count_ / 8);
  return CheckUsed("plain bits", used, bytes_.size());
}

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

absl::StatusOr<uint64_t> ReadVarint(absl::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (in.empty()) return CutOff();
    const auto byte = static_cast<uint8_t>(in[0]);
    in.remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  return absl::InvalidArgumentError("weight delta: a number of more than 64 bits");
}

void AppendSized(absl::string_view bytes, std::string& out) {
  AppendVarint(bytes.size(), out);
  absl::StrAppend(&out, bytes);
}

absl::StatusOr<absl::string_view> TakeSized(absl::string_view& in) {
  ASSIGN_OR_RETURN(const uint64_t size, ReadVarint(in));
  if (size > in.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight delta: ", size, " bytes are announced where ", in.size(), " are left"));
  }
  const absl::string_view taken = in.substr(0, size);
  in.remove_prefix(size);
  return taken;
}

}  // namespace tactus
