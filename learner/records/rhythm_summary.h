// What is logged about a batch's credit and attention rhythm (docs/rhythm.md). Pure; thread-safe.
//
// The age of the weights is known for every completion. The rest comes from the audited ones, the completions that
// carry raw metrics: what each strategy would have chosen there is computed anew, whichever of them the run uses. The
// record holds float32 where the actor chose from doubles, so positions within that rounding may differ.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/data/types.h"
#include "common/metrics/step_record.h"
#include "common/rhythm/credit.h"

namespace tactus {

struct RhythmSummaryOptions {
  CreditParams credit;
  RhythmOptions rhythm;         // the horizon of FAI: which positions are eligible
  std::vector<int32_t> layers;  // whose heads are measured; what samples.jsonl says of them
  bool reads_model = true;      // the run's strategy chooses tokens by what an actor measured

  // `options` is resolved. InvalidArgument names the field.
  static absl::StatusOr<RhythmSummaryOptions> FromProto(const config::CreditOptions& options);
};

// Fills the record's fields from credit_local_chunk_share on; those of a batch without audited completions stay NaN.
// Tokens of all audited completions count the same, but the correlation is a mean over completions, each against its
// own mean: a hard question has more entropy everywhere. `before`: the weights that the step started from.
void FillRhythmSummary(const std::vector<TrajectoryGroup>& groups, PolicyVersion before,
                       const RhythmSummaryOptions& options, StepRecord* record);

}  // namespace tactus
