// A local file piece by piece, for what is too large to be read at once. Blocking; thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

// Hands over the first `bytes` of the file in order, or ends with what `use` returned. DataLoss: it is shorter; other
// errors name the path, too.
absl::Status ForEachPiece(const std::string& path, uint64_t bytes,
                          absl::FunctionRef<absl::Status(absl::string_view)> use);

}  // namespace tactus
