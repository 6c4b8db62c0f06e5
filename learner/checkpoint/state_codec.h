// The facts of a training run beside its tensors, and their form in a checkpoint (proto/checkpoint.proto).
// Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/data/codec.h"
#include "common/data/types.h"
#include "learner/ledger/ledger_types.h"

namespace tactus {

struct TrainFacts {
  PolicyVersion version;
  int64_t optimizer_steps = 0;  // taken, not counting skipped ones
  int64_t skipped_steps = 0;
  int64_t schedule_step = 0;       // position in the learning-rate schedule
  int64_t learner_step = 0;        // batches trained
  int64_t planned_steps = 0;       // learner.steps then; 0: a checkpoint that does not tell
  uint64_t data_cursor = 0;        // next position in the data's order
  uint64_t seed = 0;               // keys every draw: the whole state of the random numbers
  std::string config_fingerprint;  // SHA-256 of the resolved configuration
  std::string data_fingerprint;    // SHA-256 of the rows trained on; empty in checkpoints of older builds
  std::string tactus_version;
  LedgerSnapshot ledger;
  std::optional<HeadClasses> head_classes;  // that `version` samples with, once calibrated
  std::string prompt_difficulty;            // PromptDifficulty::Save
};

std::string EncodeTrainFacts(const TrainFacts& facts);

// InvalidArgument naming the field: no such message, negative counts, a group or head classes outside `limits`, or no
// head classes after a step that must have made some.
absl::StatusOr<TrainFacts> DecodeTrainFacts(absl::string_view bytes, const TrajectoryLimits& limits);

// ledger.log_segment alone.
absl::StatusOr<uint64_t> DecodeLogSegment(absl::string_view bytes);

// head_classes alone, with the same errors.
absl::StatusOr<std::optional<HeadClasses>> DecodeHeadClasses(absl::string_view bytes, int calibrated_heads);

}  // namespace tactus
