// Typed fields of JSON objects, with errors that name the place. Thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <istream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/data/types.h"

namespace tactus {

// A whole number of 64 bits. InvalidArgument: "<where>: <field>: expected a 64-bit integer, found ...".
absl::StatusOr<int64_t> JsonInt64(const nlohmann::ordered_json& value, absl::string_view where,
                                  absl::string_view field);

// A string field that the object has. InvalidArgument: "<where>: <field>: expected a string, found ...".
absl::StatusOr<std::string> JsonString(const nlohmann::ordered_json& object, absl::string_view where,
                                       const char* field);

inline constexpr size_t kMaxJsonLineBytes = size_t{4} << 20;

// Reads up to the next line break into `line`; false at the end of the stream. ResourceExhausted: the line is larger
// than kMaxJsonLineBytes, named `where`.
absl::StatusOr<bool> ReadJsonLine(std::istream& in, absl::string_view where, std::string& line);

// One line of a JSONL file: an object that has exactly these keys. InvalidArgument names `where` ("data.jsonl:3") and
// the missing or unknown key; ResourceExhausted: the line is larger than kMaxJsonLineBytes, or has more values.
absl::StatusOr<nlohmann::ordered_json> ParseJsonLine(absl::string_view line, absl::string_view where,
                                                     std::initializer_list<absl::string_view> keys,
                                                     size_t max_values = 1000);

// A field that is an array of token ids. InvalidArgument: "<where>: <field>[3]: expected a token id, found ...".
absl::StatusOr<std::vector<TokenId>> JsonTokenIds(const nlohmann::ordered_json& object, absl::string_view where,
                                                  const char* field);

}  // namespace tactus
