// What this binary is: set when it was configured. Thread-safe: constants.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "common/device/device_spec.h"

namespace tactus {

struct BuildInfo {
  const char* version;  // of the project, "0.2.0"
  const char* commit;   // short hash of the source, "unknown" outside a checkout
  const char* torch;    // whose C++ libraries are linked, "2.11.0+cu130"
  const char* cuda;     // of the toolkit the CUDA code was built with, "13.0.88"; "none" in a CPU build
  // Of a CUDA build: NCCL, "2.28.9", and the GPU generations with machine code, "sm_80 sm_90". "" in a CPU build.
  const char* nccl;
  const char* gpu_targets;
};

const BuildInfo& ThisBuild();

// What `PROGRAM --version` prints: one line about the build; in a build for GPUs also a line for each GPU here, or one
// sentence that there is none.
std::string VersionText(absl::string_view program, const BuildInfo& build, const GpuList& gpus);

}  // namespace tactus
