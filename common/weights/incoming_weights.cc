#include "common/weights/incoming_weights.h"

#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/only_owner.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/weights/delta/delta_set.h"
#include "common/weights/weight_codec.h"

namespace tactus {
namespace {

// The bytes of all deltas. InvalidArgument: more than the set itself.
absl::StatusOr<uint64_t> DeltaBytes(const WeightManifest& manifest) {
  uint64_t total = 0;
  for (const uint64_t bytes : manifest.delta->bytes) {
    if (bytes > manifest.total_bytes - total) {
      return absl::InvalidArgumentError(absl::StrCat("fetching weights: deltas are announced that are larger than the ",
                                                     manifest.total_bytes, " bytes of the weights"));
    }
    total += bytes;
  }
  return total;
}

std::span<uint16_t> AsBFloat16(std::vector<char>& bytes) {
  return {reinterpret_cast<uint16_t*>(bytes.data()), bytes.size() / sizeof(uint16_t)};
}

}  // namespace

std::optional<PolicyVersion> IncomingWeights::held() const {
  if (!held_.has_value() || held_->snapshot->manifest.dtype != StorageDType::kBFloat16) return std::nullopt;
  return held_->snapshot->manifest.version;
}

uint64_t IncomingWeights::received(PolicyVersion version) const {
  return partial_.has_value() && partial_->manifest.version == version ? partial_->received : 0;
}

bool IncomingWeights::Continues(const WeightManifest& manifest) const {
  return partial_.has_value() && partial_->digest == ManifestDigest(manifest) &&
         partial_->manifest.delta == manifest.delta;
}

IncomingWeights::Set IncomingWeights::EmptySet(const WeightManifest& manifest) {
  Set set{.snapshot = std::make_shared<WeightSnapshot>(), .bytes = std::make_shared<std::vector<char>>()};
  set.snapshot->manifest = manifest;
  set.snapshot->manifest.delta.reset();
  set.snapshot->manifest.shared.reset();
  set.snapshot->bytes = set.bytes;
  return set;
}

absl::Status IncomingWeights::Begin(const WeightManifest& manifest) {
  first_chunk_ = true;
  if (Continues(manifest)) return absl::OkStatus();
  uint64_t expected = manifest.total_bytes;
  if (manifest.delta.has_value()) {
    if (held() != manifest.delta->base) {
      return absl::InvalidArgumentError(absl::StrCat("fetching weights: changes since version ",
                                                     VersionName(manifest.delta->base),
                                                     " came, which were not asked for"));
    }
    ASSIGN_OR_RETURN(expected, DeltaBytes(manifest));
  }
  RETURN_IF_ERROR(WeightAssembler::Check(manifest, layout_));
  Drop(absl::OkStatus()).IgnoreError();
  if (!manifest.delta.has_value()) held_.reset();  // its memory is for the new one
  ASSIGN_OR_RETURN(WeightAssembler assembler, WeightAssembler::Start(manifest, layout_));
  Partial& partial = partial_.emplace(Partial{.manifest = manifest,
                                              .digest = ManifestDigest(manifest),
                                              .assembler = std::move(assembler),
                                              .set = EmptySet(manifest),
                                              .deltas = nullptr,
                                              .expected = expected});
  if (manifest.delta.has_value()) {
    partial.deltas = std::make_shared<std::string>(expected, '\0');
    if (relay_ != nullptr) relay_->Begin(manifest, partial.deltas, *partial.deltas);
    return absl::OkStatus();
  }
  const bool keep = relay_ != nullptr || manifest.dtype == StorageDType::kBFloat16;
  if (keep) partial.set.bytes->resize(manifest.total_bytes);
  if (relay_ != nullptr) relay_->Begin(manifest, partial.set.snapshot, View(*partial.set.bytes));
  return absl::OkStatus();
}

absl::Status IncomingWeights::Append(uint64_t offset, absl::string_view data) {
  if (!partial_.has_value()) return absl::InvalidArgumentError("fetching weights: a chunk came before a manifest");
  if (std::exchange(first_chunk_, false) && offset == 0 && partial_->received > 0) {
    const WeightManifest manifest = partial_->manifest;
    Drop(absl::OkStatus()).IgnoreError();
    RETURN_IF_ERROR(Begin(manifest));
    first_chunk_ = false;
  }
  if (absl::Status status = AppendTo(*partial_, offset, data); !status.ok()) return Drop(std::move(status));
  if (relay_ != nullptr) relay_->Advance(partial_->received);
  return absl::OkStatus();
}

absl::Status IncomingWeights::AppendTo(Partial& partial, uint64_t offset, absl::string_view data) {
  char* to = partial.set.bytes->data();
  if (partial.deltas == nullptr) {
    RETURN_IF_ERROR(partial.assembler.Append(offset, data));
  } else if (offset != partial.received || data.size() > partial.expected - partial.received) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: ", data.size(), " bytes of changes at ", offset,
                                                   "; expected those from ", partial.received, " up to ",
                                                   partial.expected));
  } else {
    to = partial.deltas->data();
  }
  if (partial.deltas != nullptr || !partial.set.bytes->empty()) std::memcpy(to + offset, data.data(), data.size());
  partial.received += data.size();
  return absl::OkStatus();
}

absl::StatusOr<ReceivedWeights> IncomingWeights::Finish() {
  if (!partial_.has_value() || partial_->received < partial_->expected) {
    return absl::DataLossError(absl::StrCat("fetching weights: ", partial_.has_value() ? partial_->received : 0, " of ",
                                            partial_.has_value() ? partial_->expected : 0,
                                            " bytes arrived before the stream ended"));
  }
  absl::StatusOr<ReceivedWeights> weights = Complete(*partial_);
  if (!weights.ok()) return Drop(weights.status());
  weights->wire_bytes = partial_->received;
  const bool keep = !partial_->set.bytes->empty();
  if (keep) held_ = std::move(partial_->set);
  partial_.reset();
  if (keep && relay_ != nullptr) relay_->Hold(held_->snapshot);
  return weights;
}

absl::StatusOr<ReceivedWeights> IncomingWeights::Complete(Partial& partial) {
  if (partial.deltas != nullptr) {
    RETURN_IF_ERROR(ApplyDeltas(partial));
    const absl::string_view all = View(*partial.set.bytes);
    for (uint64_t at = 0; at < all.size(); at += kMaxWeightChunkBytes) {
      RETURN_IF_ERROR(partial.assembler.Append(at, all.substr(at, kMaxWeightChunkBytes)));
    }
  }
  return partial.assembler.Finish();
}

// From here on the old set is no more: what does not work out ends in fetching all.
absl::Status IncomingWeights::ApplyDeltas(Partial& partial) {
  if (relay_ != nullptr) relay_->LetGo();
  if (OnlyOwner(held_->snapshot)) {
    *partial.set.bytes = std::move(*held_->bytes);
  } else {
    *partial.set.bytes = *held_->bytes;  // somebody is still being sent it
  }
  held_.reset();
  absl::string_view left = *partial.deltas;
  for (const uint64_t bytes : partial.manifest.delta->bytes) {
    const absl::Status applied = ApplyDelta(left.substr(0, bytes), AsBFloat16(*partial.set.bytes));
    if (!applied.ok()) return absl::DataLossError(absl::StrCat("fetching weights: ", applied.message()));
    left.remove_prefix(bytes);
  }
  return absl::OkStatus();
}

absl::Status IncomingWeights::Drop(absl::Status status) {
  partial_.reset();
  if (relay_ != nullptr) relay_->Drop();
  return status;
}

}  // namespace tactus
