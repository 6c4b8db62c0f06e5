// Between WeightManifest and its wire form, proto/weight_service.proto. Pure functions; thread-safe.
#pragma once

#include "absl/status/statusor.h"
#include "common/weights/weight_publisher.h"
#include "proto/weight_service.pb.h"

namespace tactus {

wire::WeightManifest ToWire(const WeightManifest& manifest);

// InvalidArgument: an unknown dtype, or a hash that is not 32 bytes. Whether the manifest describes the model at hand
// is the WeightAssembler's business.
absl::StatusOr<WeightManifest> FromWire(const wire::WeightManifest& manifest);

}  // namespace tactus
