// Access to a RunConfig's leaf fields by their dotted names. Internal to common/config.
// Thread-safe as far as the message is: no state of its own.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace tactus::config {

// Sets one leaf from text: a number, true/false, an enum value's name, a string taken as it is, or for a repeated
// field a comma-separated list that replaces it. InvalidArgument, without a source: the caller prefixes it.
absl::Status SetField(google::protobuf::Message* message, absl::string_view path, absl::string_view value);

// Calls `visit(path, field)` for every leaf in declaration order.
void ForEachLeaf(const google::protobuf::Descriptor* type,
                 const std::function<void(const std::string&, const google::protobuf::FieldDescriptor*)>& visit);

}  // namespace tactus::config
