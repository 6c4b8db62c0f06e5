// The messages of a TensorBoard event file as bytes (proto/tensorboard_event.proto). Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tactus {

// The first event of a file: which version of the format follows.
std::string EncodeFileVersion(double wall_time_s);
// A run begins at `step`: TensorBoard discards what an earlier, interrupted run wrote from there on.
std::string EncodeSessionStart(double wall_time_s, int64_t step);
std::string EncodeScalar(double wall_time_s, int64_t step, absl::string_view tag, double value);

}  // namespace tactus
