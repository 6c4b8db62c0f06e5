// held_out.jsonl: what `tactus train` measured on held-out prompts before, during and after the training. Its writer is
// not the learner, so it is a file of its own. And the checkpoint with the best score. Thread-safe; blocking reads and
// writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/metrics/run_folder.h"
#include "common/metrics/step_record.h"

namespace tactus {

struct HeldOutRecord {
  int64_t step = 0;                     // steps trained; 0 = the starting policy
  double pass1 = 0, low = 0, high = 0;  // with its 95 % interval
  friend bool operator==(const HeldOutRecord&, const HeldOutRecord&) = default;
};

// Appends a line. Errors name the path.
absl::Status AppendHeldOut(const std::string& path, const HeldOutRecord& record);

// In the order of the file; none when there is no file. Damaged lines are left out, with a warning in the log.
absl::StatusOr<std::vector<HeldOutRecord>> ReadHeldOut(const std::string& path);

// Sets eval_pass1 of the step that trained what was measured, the latest if it was measured again. The starting
// policy's goes to step 1, as there is no step 0.
void JoinHeldOut(const std::vector<HeldOutRecord>& measured, StepRecord* record);

// A checkpoint that is kept for its score, whatever checkpoint.keep says.
struct BestCheckpoint {
  std::string path;  // RunFolder::best()/step-000150
  HeldOutRecord held_out;
  friend bool operator==(const BestCheckpoint&, const BestCheckpoint&) = default;
};

// nullopt: none was measured. Errors of held_out.jsonl.
absl::StatusOr<std::optional<BestCheckpoint>> FindBestCheckpoint(const RunFolder& folder);

// Keeps the checkpoint at `path` as the best, as second links to its files (copies on a disk without links), if its
// score, `held_out`, is above that of the one kept before, which is then removed. Whole or not at all. NotFound: the
// checkpoint is gone.
absl::Status KeepIfBest(const RunFolder& folder, const std::string& path, const HeldOutRecord& held_out);

}  // namespace tactus
