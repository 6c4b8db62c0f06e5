// One scalar as a textproto writes it. Internal to common/config.
#pragma once

#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace tactus::config {

// `field` is a leaf of `message` and not repeated. Reading the text gives the same value.
std::string ScalarText(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor* field);

}  // namespace tactus::config
