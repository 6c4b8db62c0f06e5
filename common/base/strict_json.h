// JSON from files and messages we did not write: bounded in size, depth and number of values, and with no key twice in
// one object (two readers would see two different documents). What editors and Python add is read: a byte order mark
// before the text, CR LF, and NaN, Infinity and -Infinity as numbers that are not finite, which the readers of
// json_field.h refuse wherever the number is used. Thread-safe; never throws.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct JsonLimits {
  size_t max_bytes = size_t{1} << 20;
  int max_depth = 32;                   // arrays and objects inside each other
  size_t max_values = size_t{1} << 20;  // numbers, strings, objects, …
  size_t max_string = size_t{1} << 20;  // bytes of one string or key
};

// The text after a UTF-8 byte order mark, if one stands before it.
absl::string_view WithoutByteOrderMark(absl::string_view text);

// InvalidArgument: not JSON, a key twice, or beyond a limit; the message starts with `source`. For reading (JsonField).
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view source,
                                         const JsonLimits& limits = {});
// The same with keys in their order, for writing them again. Its objects search one key after the other: not for large
// ones.
absl::StatusOr<nlohmann::ordered_json> ParseStrictJson(absl::string_view text, absl::string_view source,
                                                       const JsonLimits& limits = {});

}  // namespace tactus
