#include "common/weights/weight_publisher.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/model/hf_folder.h"

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

}  // namespace

absl::Status WeightPublisher::Publish(PolicyVersion version, const ParameterLayout& layout, std::span<const float> flat,
                                      StorageDType dtype, std::optional<HeadClasses> head_classes,
                                      std::optional<SharedWeights> shared) {
  if (static_cast<int64_t>(flat.size()) != layout.total_numel) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights to publish: ", flat.size(), " floats are given for ", layout.total_numel));
  }
  RETURN_IF_ERROR(CheckFinite(layout, flat, absl::StrCat("weights of version ", VersionName(version))));
  auto snapshot = std::make_shared<WeightSnapshot>();
  WeightManifest& manifest = snapshot->manifest;
  manifest.run_id = run_id_;
  manifest.version = version;
  manifest.dtype = dtype;
  manifest.head_classes = std::move(head_classes);
  manifest.shared = std::move(shared);
  for (const ParameterSpec& spec : layout.specs) {
    manifest.total_bytes += static_cast<uint64_t>(spec.numel * BytesPerElement(dtype));
  }
  snapshot->bytes.resize(manifest.total_bytes);
  char* out = snapshot->bytes.data();
  for (const ParameterSpec& spec : layout.specs) {
    const auto bytes = static_cast<uint64_t>(spec.numel * BytesPerElement(dtype));
    ConvertTo(flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel)), dtype, out);
    manifest.tensors.push_back({spec.name, spec.shape, bytes, Sha256Hex(absl::string_view(out, bytes))});
    out += bytes;
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
