// One level of config.json, with errors that name the file and the field. Not thread-safe; refers to the JSON it reads.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/strict_json.h"

namespace tactus {

class ConfigFields {
 public:
  using Json = nlohmann::ordered_json;

  ConfigFields(const Json& object, std::string source) : object_(object), source_(std::move(source)) {}

  absl::Status Error(absl::string_view field, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(source_, ": ", field, " ", what));
  }

  // Whether the file says anything about the field, be it null.
  bool Has(const char* field) const { return object_.contains(field); }

  // nullptr when the field is absent or null.
  const Json* Get(const char* field) const;

  // InvalidArgument when the field is of another type or out of [low, high]. Required unless a fallback is given.
  absl::StatusOr<int64_t> Int(const char* field, int64_t low, int64_t high, int64_t fallback = -1) const;
  absl::StatusOr<double> Positive(const char* field, double high, double fallback) const;
  absl::StatusOr<bool> Bool(const char* field, bool fallback) const;
  absl::StatusOr<std::string> String(const char* field, const char* fallback) const;

  // A value as an error message shows it: cut, so that a hostile file cannot fill the log.
  static std::string Short(const Json& value);

  const std::string& source() const { return source_; }

 private:
  const Json& object_;
  std::string source_;
};

}  // namespace tactus
