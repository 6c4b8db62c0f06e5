// Measures a policy on held-out prompts before and after training, as `tactus eval` does, in a process of its own.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tools/train_job.h"

namespace tactus {

// "0.241 [0.191, 0.298]": pass@1 with its 95 % interval, over config.eval's prompts of the test set. Blocks; ends
// early, with Cancelled, on a stop signal. The whole summary stays in logs/eval-<name>.json.
absl::StatusOr<std::string> HeldOutPassRate(const TrainJobOptions& options, const std::string& model_folder,
                                            const std::string& name);

}  // namespace tactus
