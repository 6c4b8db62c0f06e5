// Typed fields of JSON objects, with errors that name the place. Thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// A whole number of 64 bits. InvalidArgument: "<where>: expected a 64-bit integer, found ...".
absl::StatusOr<int64_t> JsonInt64(const nlohmann::ordered_json& value, absl::string_view where);

// One line of a JSONL file: an object that has exactly these keys. InvalidArgument names `where` ("data.jsonl:3") and
// the missing or unknown key; ResourceExhausted: the line is larger than kMaxJsonLineBytes.
inline constexpr size_t kMaxJsonLineBytes = size_t{4} << 20;
absl::StatusOr<nlohmann::ordered_json> ParseJsonLine(absl::string_view line, absl::string_view where,
                                                     std::initializer_list<absl::string_view> keys);

}  // namespace tactus
