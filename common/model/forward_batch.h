// One step's work for a Decoder: which tokens, of which sequences, at which positions. No torch here: schedulers and
// their tests use it too.
#pragma once

#include <vector>

#include "common/data/types.h"
#include "common/ops/attention_types.h"  // SequenceRun, kPageTokens

namespace tactus {

// One step's work. Runs are disjoint, in row order, and cover all rows.
struct ForwardBatch {
  std::vector<TokenId> token_ids;  // [T]
  std::vector<SequenceRun> runs;
  // Attention measured on the way. probe null: nothing is; otherwise one tap per run, in memory that outlives the step.
  const ops::AttentionProbe* probe = nullptr;
  std::vector<ops::AttentionTap> taps = {};
};

}  // namespace tactus
