// held_out.jsonl: what was measured on held-out prompts before, during and after the training. Its writer is the
// launcher or the learner (eval.by), and a measurement may come steps later, so it is a file of its own. And the
// checkpoint with the best score. Thread-safe; blocking reads and writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/metrics/run_folder.h"
#include "common/metrics/step_record.h"

namespace tactus {

struct HeldOutRecord {
  int64_t step = 0;                     // steps trained; 0 = the starting policy
  double pass1 = 0, low = 0, high = 0;  // with its 95 % interval
  // Younger than files that are still read: 0 samples there, which stands for not being known.
  int64_t samples = 0;                                 // k answers to each prompt; pass1 is the mean over them, avg@k
  double temperature = 0;                              // they were sampled at
  std::string version = "";                            // of the weights that answered, by actors
  double pass_k = 0, pass_k_low = 0, pass_k_high = 0;  // that one of the k is right; of k > 1
  std::string set = "";                                // of eval.sets; "": the first, of eval's own fields
  friend bool operator==(const HeldOutRecord&, const HeldOutRecord&) = default;
};

// Appends a line. Errors name the path.
absl::Status AppendHeldOut(const std::string& path, const HeldOutRecord& record);

// Those of the first set, in the order of the file; none when there is no file. Damaged lines are left out, with a
// warning in the log.
absl::StatusOr<std::vector<HeldOutRecord>> ReadHeldOut(const std::string& path);
// Of all sets.
absl::StatusOr<std::vector<HeldOutRecord>> ReadHeldOutSets(const std::string& path);

// The numbers that a measurement has, by the names that gauges and TensorBoard give them (kEvalSetScore).
std::vector<std::pair<const char*, double>> ScoresOf(const HeldOutRecord& measured);

// The numbers of a measurement as fields of a step's record: those it has.
void SetHeldOut(const HeldOutRecord& measured, StepRecord* record);

// Sets them in the step that trained what was measured, the latest if it was measured again. The starting
// policy's goes to step 1, as there is no step 0. Sets but the first are passed over.
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
