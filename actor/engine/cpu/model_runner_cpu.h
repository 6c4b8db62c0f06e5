// ModelRunner on the CPU.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "actor/engine/model_runner.h"

namespace tactus {

// Blocks while the weights are read. The errors of CreateModelRunner.
absl::StatusOr<std::unique_ptr<ModelRunner>> CreateModelRunnerCpu(const ModelFolder& folder,
                                                                  const ModelRunnerOptions& options);

}  // namespace tactus
