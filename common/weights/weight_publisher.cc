#include "common/weights/weight_publisher.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/data/codec.h"

namespace tactus {
namespace {

void ConvertTo(std::span<const float> values, StorageDType dtype, char* out) {
  if (dtype == StorageDType::kFloat32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  for (const float value : values) {
    const uint16_t bits = FloatToBFloat16(value);
    std::memcpy(out, &bits, sizeof(bits));
    out += sizeof(bits);
  }
}

// A whole pass over the bits vectorises where a search that stops early would not. NaN and infinity have every bit of
// the exponent set.
template <typename Bits>
std::optional<std::string> FindNonFinite(absl::string_view bytes, Bits exponent) {
  std::vector<Bits> values(bytes.size() / sizeof(Bits));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  bool seen = false;
  for (const Bits value : values) seen |= (value & exponent) == exponent;
  if (!seen) return std::nullopt;
  const auto bad = std::ranges::find_if(values, [&](Bits value) { return (value & exponent) == exponent; });
  const bool nan = (*bad & (exponent ^ (std::numeric_limits<Bits>::max() >> 1))) != 0;
  return absl::StrCat(nan ? "NaN" : "infinity", " at element ", bad - values.begin());
}

uint64_t TotalBytes(const ParameterLayout& layout, StorageDType dtype) {
  uint64_t total = 0;
  for (const ParameterSpec& spec : layout.specs) total += static_cast<uint64_t>(spec.numel * BytesPerElement(dtype));
  return total;
}

}  // namespace

std::vector<char> EncodeWeights(const ParameterLayout& layout, std::span<const float> flat, StorageDType dtype) {
  std::vector<char> bytes(TotalBytes(layout, dtype));
  char* out = bytes.data();
  for (const ParameterSpec& spec : layout.specs) {
    ConvertTo(flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel)), dtype, out);
    out += spec.numel * BytesPerElement(dtype);
  }
  return bytes;
}

absl::Status WeightPublisher::Publish(PolicyVersion version, const ParameterLayout& layout, std::vector<char> bytes,
                                      StorageDType dtype, std::optional<HeadClasses> head_classes,
                                      std::optional<SharedWeights> shared) {
  if (bytes.size() != TotalBytes(layout, dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights to publish: ", bytes.size(), " bytes are given for ", TotalBytes(layout, dtype)));
  }
  auto snapshot = std::make_shared<WeightSnapshot>();
  WeightManifest& manifest = snapshot->manifest;
  manifest.run_id = run_id_;
  manifest.version = version;
  manifest.dtype = dtype;
  manifest.head_classes = std::move(head_classes);
  manifest.shared = std::move(shared);
  manifest.total_bytes = bytes.size();
  snapshot->bytes = std::move(bytes);
  const char* at = snapshot->bytes.data();
  for (const ParameterSpec& spec : layout.specs) {
    const absl::string_view tensor(at, static_cast<size_t>(spec.numel * BytesPerElement(dtype)));
    const auto bad = dtype == StorageDType::kFloat32 ? FindNonFinite<uint32_t>(tensor, 0x7f800000)
                                                     : FindNonFinite<uint16_t>(tensor, 0x7f80);
    if (bad.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("weights of version ", VersionName(version), ": tensor ", spec.name, " holds ", *bad));
    }
    manifest.tensors.push_back({spec.name, spec.shape, tensor.size(), Sha256Hex(tensor)});
    at += tensor.size();
  }
  absl::MutexLock lock(&mu_);
  if (newest_ != nullptr && version <= newest_->manifest.version) {
    return absl::FailedPreconditionError(absl::StrCat("weights of version ", VersionName(version),
                                                      " cannot follow version ",
                                                      VersionName(newest_->manifest.version)));
  }
  newest_ = std::move(snapshot);
  return absl::OkStatus();
}

std::shared_ptr<const WeightSnapshot> WeightPublisher::Newest() const {
  absl::MutexLock lock(&mu_);
  return newest_;
}

}  // namespace tactus
