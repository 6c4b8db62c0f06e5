#include "common/weights/weight_assembler.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/model/folder/hf_folder.h"

namespace tactus {
namespace {

void ConvertFrom(absl::string_view bytes, StorageDType dtype, float* out) {
  if (dtype == StorageDType::kFloat32) {
    std::memcpy(out, bytes.data(), bytes.size());
    return;
  }
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint16_t)) {
    uint16_t bits;
    std::memcpy(&bits, bytes.data() + i, sizeof(bits));
    *out++ = BFloat16ToFloat(bits);
  }
}

// Empty when the manifest describes exactly `layout`, else what differs.
std::string Difference(const WeightManifest& manifest, const ParameterLayout& layout) {
  if (manifest.tensors.size() != layout.specs.size()) {
    return absl::StrCat("has ", manifest.tensors.size(), " tensors; this model has ", layout.specs.size());
  }
  uint64_t total = 0;
  for (size_t i = 0; i < layout.specs.size(); ++i) {
    const WeightManifest::Tensor& tensor = manifest.tensors[i];
    const ParameterSpec& spec = layout.specs[i];
    const auto bytes = static_cast<uint64_t>(spec.numel * BytesPerElement(manifest.dtype));
    if (tensor.name != spec.name) {
      return absl::StrCat("has tensor ", tensor.name.substr(0, 200), " where this model has ", spec.name);
    }
    if (tensor.shape != spec.shape || tensor.bytes != bytes) {
      return absl::StrCat("gives tensor ", spec.name, " ", tensor.bytes, " bytes or a shape that this model does not (",
                          bytes, " bytes)");
    }
    total += bytes;
  }
  if (manifest.total_bytes == total) return "";
  return absl::StrCat("announces ", manifest.total_bytes, " bytes for tensors of ", total);
}

}  // namespace

WeightAssembler::WeightAssembler(const WeightManifest& manifest, const ParameterLayout& layout)
    : manifest_(manifest),
      layout_(&layout),
      flat_(static_cast<size_t>(layout.total_numel), 0.0f),
      hash_(std::make_unique<Sha256>()) {}

absl::Status WeightAssembler::Check(const WeightManifest& manifest, const ParameterLayout& layout) {
  const std::string difference = Difference(manifest, layout);
  if (difference.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("weight manifest of version ", VersionName(manifest.version), " ", difference));
}

absl::StatusOr<WeightAssembler> WeightAssembler::Start(const WeightManifest& manifest, const ParameterLayout& layout) {
  RETURN_IF_ERROR(Check(manifest, layout));
  return WeightAssembler(manifest, layout);
}

absl::Status WeightAssembler::Append(uint64_t offset, absl::string_view data) {
  const auto width = static_cast<uint64_t>(BytesPerElement(manifest_.dtype));
  if (offset != received_ || data.empty() || data.size() > kMaxWeightChunkBytes || data.size() % width != 0 ||
      data.size() > manifest_.total_bytes - received_) {
    return absl::InvalidArgumentError(absl::StrCat("weight chunk of ", data.size(), " bytes at ", offset,
                                                   "; expected the bytes from ", received_, " up to ",
                                                   manifest_.total_bytes, ", at most ", kMaxWeightChunkBytes));
  }
  received_ += data.size();
  while (!data.empty()) {
    const ParameterSpec& spec = layout_->specs[tensor_];
    const uint64_t left = manifest_.tensors[tensor_].bytes - tensor_received_;
    const absl::string_view piece = data.substr(0, std::min<uint64_t>(left, data.size()));
    ConvertFrom(piece, manifest_.dtype, flat_.data() + spec.offset + tensor_received_ / width);
    hash_->Update(piece);
    tensor_received_ += piece.size();
    data.remove_prefix(piece.size());
    RETURN_IF_ERROR(FinishTensorIfFull());
  }
  return absl::OkStatus();
}

absl::Status WeightAssembler::FinishTensorIfFull() {
  const WeightManifest::Tensor& tensor = manifest_.tensors[tensor_];
  if (tensor_received_ < tensor.bytes) return absl::OkStatus();
  if (hash_->FinishHex() != tensor.sha256_hex) {
    return absl::DataLossError(absl::StrCat("weights of version ", VersionName(manifest_.version), ": tensor ",
                                            tensor.name, " arrived with a wrong SHA-256"));
  }
  ++tensor_;
  tensor_received_ = 0;
  hash_ = std::make_unique<Sha256>();
  return absl::OkStatus();
}

absl::StatusOr<ReceivedWeights> WeightAssembler::Finish() {
  const std::string name = absl::StrCat("weights of version ", VersionName(manifest_.version));
  if (!done()) {
    return absl::DataLossError(
        absl::StrCat(name, ": ", received_, " of ", manifest_.total_bytes, " bytes arrived before the stream ended"));
  }
  RETURN_IF_ERROR(CheckFinite(*layout_, flat_, name));
  return ReceivedWeights{.version = manifest_.version,
                         .flat = std::move(flat_),
                         .head_classes = manifest_.head_classes,
                         .wire_bytes = received_};
}

}  // namespace tactus
