// A whole set's delta: its blocks (weight_delta.h), each after its size as a varint. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

// Calls fn(begin, end) on pieces that cover [0, count); ops::ParallelFor, or a plain call.
using SplitFn = absl::FunctionRef<void(int64_t count, absl::FunctionRef<void(int64_t, int64_t)> fn)>;

// `before` and `after` have one size. None where the delta is more than half as large as the numbers: after so great a
// change it saves little and costs both sides time.
std::optional<std::string> EncodeDelta(std::span<const uint16_t> before, std::span<const uint16_t> after,
                                       SplitFn split);

// Turns the numbers before into those after, in the caller's thread. Errors as ApplyDeltaBlock's.
absl::Status ApplyDelta(absl::string_view delta, std::span<uint16_t> numbers);

}  // namespace tactus
