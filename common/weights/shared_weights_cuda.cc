#include "common/weights/shared_weights_cuda.h"

#include <ATen/ops/from_blob.h>

#include <cstddef>
#include <cstring>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/data/codec.h"
#include "common/weights/content_digest_cuda.h"

namespace tactus {
namespace {

constexpr uint64_t kMagic = 0x7468676965577254;  // "TrWeight" in memory
// The weights start here, aligned for any access.
constexpr size_t kHeaderBytes = 256;
// Two sets of a learner, and two of the one before it.
constexpr size_t kMostOpen = 4;

struct Header {
  uint64_t magic = 0;  // 0: being written
  uint64_t incarnation = 0, step = 0;
  uint64_t elements = 0, element_bytes = 0;
  uint64_t digest = 0;  // of the elements

  bool operator==(const Header&) const = default;
};
static_assert(sizeof(Header) <= kHeaderBytes);

Header HeaderOf(const SharedWeights& weights, uint64_t digest) {
  return {.magic = kMagic,
          .incarnation = static_cast<uint64_t>(weights.version.incarnation),
          .step = static_cast<uint64_t>(weights.version.step),
          .elements = weights.elements,
          .element_bytes = static_cast<uint64_t>(BytesPerElement(weights.dtype)),
          .digest = digest};
}

at::ScalarType TypeOf(StorageDType dtype) { return dtype == StorageDType::kFloat32 ? at::kFloat : at::kBFloat16; }

size_t BytesOf(const SharedWeights& weights) {
  return weights.elements * static_cast<size_t>(BytesPerElement(weights.dtype));
}

}  // namespace

uint64_t ContentDigest::Of(const void* data, int64_t bytes) {
  if (!parts_.defined()) {
    constexpr auto kBytes = static_cast<int64_t>(kMostDigestParts * sizeof(uint64_t));
    parts_ = device::DeviceEmpty(gpu_, {kBytes}, at::kByte);
    host_parts_ = device::PinnedEmpty({kBytes}, at::kByte);
  }
  const auto count = static_cast<size_t>(DigestParts(bytes));
  DigestContent(data, bytes, static_cast<uint64_t*>(parts_.data_ptr()));
  device::CopyAsync(host_parts_.data_ptr(), parts_.const_data_ptr(), count * sizeof(uint64_t));
  device::Synchronize();
  return DigestOf({static_cast<const uint64_t*>(host_parts_.const_data_ptr()), count});
}

SharedWeightExport::SharedWeightExport(int gpu, int64_t elements, StorageDType dtype)
    : gpu_(gpu), elements_(elements), dtype_(dtype), digest_(gpu) {}

absl::StatusOr<SharedWeights> SharedWeightExport::Publish(PolicyVersion version, const at::Tensor& flat) {
  SharedWeights out{.machine = ThisMachine(),
                    .handle = "",
                    .elements = static_cast<uint64_t>(elements_),
                    .dtype = dtype_,
                    .version = version};
  if (flat.numel() != elements_) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights to share: ", flat.numel(), " numbers are given for ", elements_));
  }
  try {
    if (!header_.defined()) header_ = device::PinnedEmpty({static_cast<int64_t>(kHeaderBytes)}, at::kByte);
    const auto [set, added] = sets_.try_emplace(next_, gpu_, kHeaderBytes + BytesOf(out));
    next_ = 1 - next_;
    auto* const memory = static_cast<std::byte*>(set->second.data());
    device::ZeroAsync(memory, kHeaderBytes);
    const at::Tensor content = at::from_blob(memory + kHeaderBytes, {elements_}, flat.options().dtype(TypeOf(dtype_)));
    content.copy_(flat.reshape({elements_}), /*non_blocking=*/true);
    const Header header = HeaderOf(out, digest_.Of(memory + kHeaderBytes, static_cast<int64_t>(BytesOf(out))));
    std::memcpy(header_.data_ptr(), &header, sizeof(header));
    device::CopyAsync(memory, header_.data_ptr(), sizeof(header));
    device::Synchronize();
    out.handle = set->second.handle();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("sharing weights of version ", VersionName(version), ": ", e.what()));
  }
  return out;
}

SharedWeightImport::SharedWeightImport(int gpu) : gpu_(gpu), digest_(gpu) {}

absl::Status SharedWeightImport::CopyTo(const SharedWeights& weights, void* to) {
  const std::string name = absl::StrCat("shared weights of version ", VersionName(weights.version));
  if (weights.machine != ThisMachine()) return absl::UnavailableError(absl::StrCat(name, " are on another machine"));
  try {
    if (!headers_.defined()) headers_ = device::PinnedEmpty({2, static_cast<int64_t>(kHeaderBytes)}, at::kByte);
    auto found = open_.find(weights.handle);
    if (found == open_.end()) {
      if (open_.size() == kMostOpen) open_.clear();  // of learners that are gone
      found = open_.emplace(weights.handle, device::ImportedMemory(gpu_, weights.handle)).first;
    }
    const auto* const memory = static_cast<const std::byte*>(found->second.data());
    auto* const headers = static_cast<std::byte*>(headers_.data_ptr());
    Header before, after;
    // What the header says decides whether there are so many bytes at all.
    device::CopyAsync(headers, memory, sizeof(Header));
    device::Synchronize();
    std::memcpy(&before, headers, sizeof(before));
    if (before == HeaderOf(weights, before.digest)) {
      device::CopyAsync(to, memory + kHeaderBytes, BytesOf(weights));
      device::CopyAsync(headers + kHeaderBytes, memory, sizeof(Header));
      device::Synchronize();
      std::memcpy(&after, headers + kHeaderBytes, sizeof(after));
      const bool whole = after == before;
      if (whole && digest_.Of(to, static_cast<int64_t>(BytesOf(weights))) == before.digest) return absl::OkStatus();
      if (whole)
        return absl::DataLossError(absl::StrCat(name, " have another digest than the learner wrote beside them"));
    }
    return absl::AbortedError(absl::StrCat(name, " were overwritten by newer ones"));
  } catch (const std::exception& e) {
    open_.erase(weights.handle);
    return absl::UnavailableError(absl::StrCat(name, " can't be read: ", e.what()));
  }
}

}  // namespace tactus
