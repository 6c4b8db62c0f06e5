// The rules between a configuration's fields; those of one field stand in proto/config.proto (field_rules.h). Internal
// to common/config. Thread-safe, no I/O.
#pragma once

#include <optional>

#include "common/config/config_fwd.h"
#include "common/config/field_rules.h"

namespace tactus::config {

// The first rule that is broken, of one field or between fields, or nothing. `config` must be resolved.
std::optional<Problem> Validate(const RunConfig& config);

// The same of a task's options alone.
std::optional<Problem> ValidateTask(const TaskOptions& task);

}  // namespace tactus::config
