#include "common/model/folder/config_fields.h"

namespace tactus {

const ConfigFields::Json* ConfigFields::Get(const char* field) const {
  const auto it = object_.find(field);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<int64_t> ConfigFields::Int(const char* field, int64_t low, int64_t high, int64_t fallback) const {
  const Json* value = Get(field);
  if (value == nullptr && fallback >= 0) return fallback;
  if (value == nullptr) return Error(field, "is missing");
  // An unsigned value above int64 wraps to a negative one, which no range here holds.
  const int64_t number = value->is_number_integer() ? value->get<int64_t>() : low - 1;
  if (number < low || number > high) {
    return Error(field, absl::StrCat("is ", Short(*value), "; expected an integer from ", low, " to ", high));
  }
  return number;
}

absl::StatusOr<double> ConfigFields::Positive(const char* field, double high, double fallback) const {
  const Json* value = Get(field);
  if (value == nullptr) return fallback;
  const double number = value->is_number() ? value->get<double>() : 0;
  if (!(number > 0 && number <= high)) {
    return Error(field, absl::StrCat("is ", Short(*value), "; expected a number above 0 and at most ", high));
  }
  return number;
}

absl::StatusOr<bool> ConfigFields::Bool(const char* field, bool fallback) const {
  const Json* value = Get(field);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Error(field, absl::StrCat("is ", Short(*value), "; expected true or false"));
  return value->get<bool>();
}

absl::StatusOr<std::string> ConfigFields::String(const char* field, const char* fallback) const {
  const Json* value = Get(field);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return Error(field, absl::StrCat("is ", Short(*value), "; expected a string"));
  return value->get<std::string>();
}

std::string ConfigFields::Short(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : absl::StrCat(text.substr(0, 40), "...");
}

}  // namespace tactus
