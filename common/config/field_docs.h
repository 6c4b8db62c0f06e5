// The configuration's fields as documents: for a terminal, and docs/configuration.md. Thread-safe, no I/O.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus::config {

// One line a field, in declaration order: path, default, what it accepts.
std::string FieldsText();

// docs/configuration.md. `descriptors` is protoc's descriptor set of proto/config.proto with its comments
// (--include_source_info --include_imports): the program itself carries none. InvalidArgument: it is something else.
absl::StatusOr<std::string> FieldsMarkdown(const std::string& descriptors);

}  // namespace tactus::config
