#include "common/tasks/json_fields.h"

#include <algorithm>
#include <limits>
#include <streambuf>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {

absl::StatusOr<int64_t> JsonInt64(const nlohmann::ordered_json& value, absl::string_view where,
                                  absl::string_view field) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (fits) return value.get<int64_t>();
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", field, ": expected a 64-bit integer, found a ",
                                                 value.type_name(), value.is_number() ? " that is none" : ""));
}

absl::StatusOr<std::string> JsonString(const nlohmann::ordered_json& object, absl::string_view where,
                                       const char* field) {
  const auto& value = object.at(field);
  if (value.is_string()) return value.get<std::string>();
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": ", field, ": expected a string, found a ", value.type_name()));
}

absl::StatusOr<bool> ReadJsonLine(std::istream& in, absl::string_view where, std::string& line) {
  line.clear();
  std::streambuf& buffer = *in.rdbuf();
  for (int c = buffer.sbumpc(); c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
    if (c == '\n') return true;
    if (line.size() == kMaxJsonLineBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(where, ": the line is longer than the limit of ", kMaxJsonLineBytes, " bytes"));
    }
    line.push_back(static_cast<char>(c));
  }
  return !line.empty();
}

absl::StatusOr<nlohmann::ordered_json> ParseJsonLine(absl::string_view line, absl::string_view where,
                                                     std::initializer_list<absl::string_view> keys, size_t max_values) {
  ASSIGN_OR_RETURN(
      auto json,
      ParseStrictJson(
          line, where,
          {.max_bytes = kMaxJsonLineBytes, .max_depth = 4, .max_values = max_values, .max_string = kMaxJsonLineBytes}));
  const std::string expected = absl::StrJoin(keys, ", ");
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected a JSON object with the keys ", expected));
  }
  for (const auto& item : json.items()) {
    if (std::find(keys.begin(), keys.end(), absl::string_view(item.key())) == keys.end()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": unknown key \"", item.key(), "\", expected ", expected));
    }
  }
  for (const absl::string_view key : keys) {
    if (json.contains(std::string(key))) continue;
    return absl::InvalidArgumentError(absl::StrCat(where, ": key \"", key, "\" is missing, expected ", expected));
  }
  return json;
}

absl::StatusOr<std::vector<TokenId>> JsonTokenIds(const nlohmann::ordered_json& object, absl::string_view where,
                                                  const char* field) {
  const auto& array = object.at(field);
  if (!array.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", field, ": expected an array of token ids, found a ", array.type_name()));
  }
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const auto& value : array) {
    const std::string element = absl::StrCat(field, "[", ids.size(), "]");
    ASSIGN_OR_RETURN(const int64_t id, JsonInt64(value, where, element));
    if (id < 0 || id > std::numeric_limits<TokenId>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", element, ": expected a token id, found ", id));
    }
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

}  // namespace tactus
