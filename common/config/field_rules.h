// What the options of proto/config.proto's fields (proto/options.proto) say, and whether a message keeps to it.
// Internal to common/config. Thread-safe, no I/O.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace tactus::config {

class FieldRule;

// What is wrong with which field; `text` is the rest of the sentence "<field> <text>".
struct Problem {
  std::string path;
  std::string text;
  bool operator==(const Problem&) const = default;
};

const FieldRule& RuleOf(const google::protobuf::FieldDescriptor& field);

// What the field accepts, for a sentence or a table: "from 0 to 1", "\"chat\" or \"compact\""; "" = anything of its
// type.
std::string AllowedText(const google::protobuf::FieldDescriptor& field);

// The field's default as a configuration would write it, or in words where it depends on another field; "" = none.
std::string DefaultText(const google::protobuf::FieldDescriptor& field);

// The first leaf of `message` that breaks its rule, or nothing. Paths begin with `prefix` ("task.", or ""); of repeated
// texts and messages they have the place ("variant[1].name").
std::optional<Problem> CheckRules(const google::protobuf::Message& message, const std::string& prefix);

}  // namespace tactus::config
