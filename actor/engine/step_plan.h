// One engine step as plain data: what the scheduler decides and the model runner executes.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/forward_batch.h"
#include "common/ops/token_types.h"

namespace tactus {

// A shared page that is about to be written: `to` gets its content before the forward pass.
struct PageCopy {
  int32_t from = 0;
  int32_t to = 0;
};

// One token wanted from the logits of a row. Several draws may name the same row (the first tokens of a group).
struct RowDraw {
  int32_t row = 0;
  ops::SamplingParams params;
  int32_t target = -1;  // >= 0: no draw, the log-prob of this token is wanted
};

struct StepPlan {
  ForwardBatch batch;            // T rows; the runs' page tables stay valid until the scheduler's next call
  std::vector<PageCopy> copies;  // in this order, before the forward pass
  std::vector<RowDraw> draws;    // rows never decrease

  bool empty() const { return batch.runs.empty(); }
  void Clear() {
    batch.token_ids.clear();
    batch.runs.clear();
    batch.taps.clear();
    copies.clear();
    draws.clear();
  }
};

}  // namespace tactus
