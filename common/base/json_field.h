// Typed reading of JSON we did not write: every error is one sentence that names the source, the field's path and what
// was expected there. The parser is strict_json.h's.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tactus {

// A value and where it stands. Views into the JSON and the source ("config.json", "data.jsonl:3"), which must outlive
// it. Every reader's error is InvalidArgument: "<source>: <path>: expected <what>". Immutable, thread-safe.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, absl::string_view source) : JsonField(&value, source, "") {}

  const nlohmann::json& value() const { return *value_; }
  absl::string_view source() const { return source_; }
  // A missing member of an object is as good as null.
  bool is_null() const { return value_->is_null(); }

  // The member of an object; a null field when there is none. An error: this is no object.
  absl::StatusOr<JsonField> Member(absl::string_view key) const;
  JsonField Element(size_t index) const;  // of an array, index < size

  absl::StatusOr<std::string> String() const;
  // A string, or a number as it is written. Expected a string: a number too long to be kept exactly.
  absl::StatusOr<std::string> StringOrNumber() const;
  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<bool> BoolOr(bool if_null) const { return is_null() ? absl::StatusOr<bool>(if_null) : Bool(); }
  absl::StatusOr<int64_t> Integer() const;  // whole, of 64 bits
  absl::StatusOr<int64_t> IntegerIn(int64_t min, int64_t max) const;
  absl::StatusOr<uint64_t> Unsigned() const;
  absl::StatusOr<double> Number() const;  // finite
  absl::StatusOr<size_t> ArraySize() const;
  // An array of whole numbers from 0 to 2^31 - 1, such as token ids.
  absl::StatusOr<std::vector<int32_t>> Indices() const;
  absl::StatusOr<std::vector<double>> Numbers() const;
  absl::StatusOr<std::vector<std::string>> Strings() const;
  // A string or a whole number, which names a line, as JSON text: it goes back as it came.
  absl::StatusOr<std::string> Id() const;
  // An object whose keys are all among these, and which has those of `required`.
  absl::Status CheckKeys(std::initializer_list<absl::string_view> required,
                         std::initializer_list<absl::string_view> optional = {}) const;
  // An object that has these keys, and whatever others.
  absl::Status CheckHas(std::initializer_list<absl::string_view> required) const;
  absl::Status CheckObject() const;

  absl::Status Expected(absl::string_view what) const;
  // "<source>: <path>: <problem>".
  absl::Status Error(absl::string_view problem) const;

 private:
  JsonField(const nlohmann::json* value, absl::string_view source, std::string path)
      : value_(value), source_(source), path_(std::move(path)) {}

  absl::Status CheckHas(std::initializer_list<absl::string_view> required, absl::string_view expected) const;

  const nlohmann::json* value_;
  absl::string_view source_;
  std::string path_;  // "model.vocab", "added_tokens[3].content"; empty at the root
};

// Reads obj.key by one of the readers above: JSON_MEMBER(std::string type, field, "type", String());
#define JSON_MEMBER(lhs, field, key, reader)                                               \
  ASSIGN_OR_RETURN(const auto TACTUS_CONCAT(json_member_, __LINE__), (field).Member(key)); \
  ASSIGN_OR_RETURN_IMPL(TACTUS_CONCAT(json_value_, __LINE__), lhs, TACTUS_CONCAT(json_member_, __LINE__).reader)

}  // namespace tactus
