// What this binary is: set when it was configured. Thread-safe: constants.
#pragma once

namespace tactus {

struct BuildInfo {
  const char* version;  // of the project, "0.1.0"
  const char* commit;   // short hash of the source, "unknown" outside a checkout
  const char* torch;    // whose C++ libraries are linked, "2.11.0+cu130"
  const char* cuda;     // of the toolkit the CUDA code was built with; "none" in a CPU build
};

const BuildInfo& ThisBuild();

}  // namespace tactus
