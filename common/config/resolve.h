// Defaults and limits of every field, in one table. Internal to common/config.
#pragma once

#include <limits>
#include <span>

#include "absl/strings/string_view.h"
#include "proto/config.pb.h"

namespace tactus::config {

// One leaf field. `fallback` is what stands as [default: x] in proto/config.proto; null where the field has none, or
// where it depends on another field (Resolve fills those in). Numbers must lie in [min, max].
struct FieldSpec {
  const char* path;
  const char* fallback = nullptr;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

std::span<const FieldSpec> FieldSpecs();

// Fills in every field that is not set and has a default.
void Resolve(RunConfig* config);

}  // namespace tactus::config
