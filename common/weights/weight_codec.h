// Between WeightManifest and its wire form, proto/weight_service.proto. Pure functions; thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/weights/weight_supply.h"

namespace tactus {

namespace wire {
class WeightManifest;  // proto/weight_service.proto
}

wire::WeightManifest ToWire(const WeightManifest& manifest);

// SHA-256, as lowercase hex, of everything that makes the set what it is: run, version, dtype, tensors with their
// hashes, head classes. How it is sent, and from where, is no part of it. Who has this from the learner can take
// manifest and bytes from anybody.
std::string ManifestDigest(const WeightManifest& manifest);

// InvalidArgument: an unknown dtype, a hash that is not 32 bytes, or head classes that are not of `calibrated_heads`
// heads (0: there must be none). Whether the tensors are those of the model at hand is the WeightAssembler's business.
absl::StatusOr<WeightManifest> FromWire(const wire::WeightManifest& manifest, int calibrated_heads = 0);

}  // namespace tactus
