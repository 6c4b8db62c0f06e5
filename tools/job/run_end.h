// What a run has come to, as lines for a person. Blocking reads.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/metrics/run_folder.h"

namespace tactus {

// "  reward       0.270 -> 0.600, means of the first and the last 10 steps", or nothing before the first.
std::string RewardLine(const std::vector<StepRecord>& steps);
// "  checkpoint   runs/a/checkpoints/step-000016", and the one that is kept for its held-out score, where there is one.
std::string CheckpointLine(const RunFolder& folder);

// Of a run whose processes are gone: its last step and the numbers above. NotFound: it has trained no step. Errors of
// its files.
absl::StatusOr<std::string> RunEnd(const RunFolder& folder);
// Whether the last step that was planned is trained.
bool IsFinished(const RunFolder& folder);

}  // namespace tactus
