// From tokens to a tree.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/ast.h"

namespace tactus::jinja {

// The deepest expression or block inside another.
inline constexpr int kMaxTreeDepth = 200;

// InvalidArgument: "line N: …", also for a statement that needs other files (include, import, extends).
absl::StatusOr<Block> Parse(absl::string_view source);

}  // namespace tactus::jinja
