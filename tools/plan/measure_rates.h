// The rates of this machine's cores for a run: some steps of its engine and of its trainer, on the run's shapes and
// with as many processes' work at once as there will be, and passes over memory, disk and loopback.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/config/config_fwd.h"
#include "common/model/folder/hf_folder.h"
#include "tools/plan/plan_figures.h"

namespace tactus {

// Replaces in `inputs` the rates, and the mean length of prompts where their data is there. Reads a folder's weights,
// or makes some up where it has none. Blocks, some seconds for a small model; sets the process's intra-op threads;
// writes and removes a file in `scratch`. Not thread-safe. Errors of the engine, the trainer, files and sockets.
absl::Status MeasureRates(const config::RunConfig& run, const ModelFolder& folder, const PlanSplit& split,
                          const std::string& scratch, PlanInputs& inputs);

}  // namespace tactus
