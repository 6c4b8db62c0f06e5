// Typed reading of untrusted JSON: every error is one sentence that names the source, the field's path and what was
// expected there. Internal to common/tokenizer.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace tactus {

// Parses JSON no deeper than 64 levels. `source` stands first in the error (a path, or a path and a line).
// InvalidArgument: not JSON, or too deep.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view source);

// A value and where it stands. Views into the JSON and the source, which must outlive it. Not thread-safe.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string source) : JsonField(&value, std::move(source), "") {}

  const nlohmann::json& value() const { return *value_; }
  // A missing member of an object is as good as null.
  bool is_null() const { return value_->is_null(); }

  // The member of an object; a null field when there is none. InvalidArgument: this is no object.
  absl::StatusOr<JsonField> Member(absl::string_view key) const;
  JsonField Element(size_t index) const;  // of an array, index < size

  absl::StatusOr<std::string> String() const;
  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<bool> BoolOr(bool if_null) const { return is_null() ? absl::StatusOr<bool>(if_null) : Bool(); }
  absl::StatusOr<int64_t> IntegerIn(int64_t min, int64_t max) const;
  absl::StatusOr<size_t> ArraySize() const;
  absl::Status CheckObject() const;

  // "<source>: <path>: expected <what>".
  absl::Status Expected(absl::string_view what) const;
  // "<source>: <path>: <problem>".
  absl::Status Error(absl::string_view problem) const;

 private:
  JsonField(const nlohmann::json* value, std::string source, std::string path)
      : value_(value), source_(std::move(source)), path_(std::move(path)) {}

  const nlohmann::json* value_;
  std::string source_;
  std::string path_;  // "model.vocab", "added_tokens[3].content"; empty at the root
};

// Reads obj.key by one of the readers above: JSON_MEMBER(std::string type, field, "type", String());
#define JSON_MEMBER(lhs, field, key, reader)                                               \
  ASSIGN_OR_RETURN(const auto TACTUS_CONCAT(json_member_, __LINE__), (field).Member(key)); \
  ASSIGN_OR_RETURN_IMPL(TACTUS_CONCAT(json_value_, __LINE__), lhs, TACTUS_CONCAT(json_member_, __LINE__).reader)

}  // namespace tactus
