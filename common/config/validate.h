// The rules a resolved configuration must satisfy. Internal to common/config. Thread-safe, no I/O.
#pragma once

#include <optional>
#include <string>

#include "proto/config.pb.h"

namespace tactus::config {

// What is wrong with which field; `text` is the rest of the sentence "<field> <text>".
struct Problem {
  std::string path;
  std::string text;
};

// The first rule that is broken, or nothing. `config` must be resolved.
std::optional<Problem> Validate(const RunConfig& config);

}  // namespace tactus::config
