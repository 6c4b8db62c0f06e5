// Defaults that depend on another field. Internal to common/config. Thread-safe.
#pragma once

#include "common/config/config_fwd.h"

namespace tactus::config {

// Fills in every field that is not set and whose rule in proto/config.proto says derived_default.
void Resolve(RunConfig* config);

}  // namespace tactus::config
