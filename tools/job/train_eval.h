// Measures a policy on held-out prompts before and after training, as `tactus eval` does, in a process of its own.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/metrics/held_out.h"
#include "tools/job/train_job.h"

namespace tactus {

// pass@1 with its 95 % interval, over config.eval's prompts of the test set, of the policy after `step` steps; also the
// next line of held_out.jsonl. A step that stands there keeps its number and is not measured again. Blocks; ends early,
// with Cancelled, on a stop signal. The whole summary stays in logs/eval-<name>.json.
absl::StatusOr<HeldOutRecord> MeasureHeldOut(const TrainJobOptions& options, const std::string& model_folder,
                                             int64_t step, const std::string& name);

}  // namespace tactus
