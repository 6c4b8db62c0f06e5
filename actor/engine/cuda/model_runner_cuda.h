// ModelRunner on a GPU (in tests: on the emulation of one).
//
// A step is planned on the host (device_step.h), goes to the device in one copy, and comes back in one; the host waits
// once a step, at its end. Steps that only decode recur in few shapes: from its second occurrence on a shape is
// replayed as a recorded graph, until a recording or a replay fails: then, after a line in the log, all steps are
// enqueued one by one.
//
// What is promised of bits: a step's results do not depend on whether it was replayed. A row's do not depend on its
// batch neighbours in steps of the same bucket of rows; between buckets, and between decode rows and runs, cuBLAS and
// FlashAttention may round differently. Neither promises the CPU's bits.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "actor/engine/model_runner.h"

namespace tactus {

// Counts since creation, for tests and benchmarks.
struct ModelRunnerCudaStats {
  int64_t steps = 0;
  int64_t replayed_steps = 0;
  int64_t recorded_graphs = 0;
};

class ModelRunnerCuda : public ModelRunner {
 public:
  virtual ModelRunnerCudaStats stats() const = 0;
};

struct ModelRunnerCudaOptions {
  int64_t fewest_rows = 1;  // of a step that only decodes: smaller ones are padded to it
};

// options.device must be a GPU; its index is ignored in the emulation. Blocks while the weights are read. Besides
// CreateModelRunner's errors: Unimplemented, a model whose sizes the kernels do not support. Without load_weights,
// Execute is an Internal error until a set is in use.
absl::StatusOr<std::unique_ptr<ModelRunnerCuda>> CreateModelRunnerCuda(const ModelFolder& folder,
                                                                       const ModelRunnerOptions& options,
                                                                       const ModelRunnerCudaOptions& cuda = {});

}  // namespace tactus
