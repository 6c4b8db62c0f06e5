// What this binary is: set when it was configured. Thread-safe: constants.
#pragma once

namespace tactus {

struct BuildInfo {
  const char* version;  // of the project, "0.1.0"
  const char* commit;   // short hash of the source, "unknown" outside a checkout
};

const BuildInfo& ThisBuild();

}  // namespace tactus
