// A policy's parameters, gradients and optimizer moments, and what is done to all of them at once, wherever they live:
// in host memory or on a GPU. What leaves is an explicit snapshot in host memory.
//
// Owned by the policy's thread. Errors as in TrainablePolicy, and those of the collective.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/dtype.h"
#include "common/collective/collective.h"
#include "common/weights/shared_weights.h"
#include "learner/train/adamw.h"

namespace tactus {

// Float32 in host memory, each [layout.total_numel].
struct ParameterState {
  std::span<const float> parameters;
  std::span<const float> first_moment;
  std::span<const float> second_moment;
};

// InvalidArgument: `state` is none of a policy of `size` parameters.
absl::Status CheckState(const ParameterState& state, size_t size);

class TrainableParameters {
 public:
  virtual ~TrainableParameters() = default;
  virtual absl::Status ZeroGradients() = 0;
  // The gradients become the sum over all ranks. Every rank makes this call once per optimizer step, also one that had
  // nothing to compute.
  virtual absl::Status ReduceGradients(Collective& collective) = 0;
  // One step of AdamW with the gradients as they are; the policy computes with the new parameters from then on.
  // A gradient that is not finite changes nothing.
  virtual absl::StatusOr<AdamWResult> Step(const AdamWOptions& options, const AdamWStep& step) = 0;
  // A snapshot for checkpoints, valid until the next call of this or of any method that changes something.
  virtual absl::StatusOr<ParameterState> ReadState() = 0;
  // All three at once; without moments they are 0, as at the start. InvalidArgument: one has not the layout's size.
  virtual absl::Status WriteState(const ParameterState& state) = 0;
  // The parameters as they are published: rounded to `dtype`, the tensors end to end in the layout's order.
  // InvalidArgument: a type that the policy does not compute in.
  virtual absl::StatusOr<std::vector<char>> ReadWeights(StorageDType dtype) = 0;
  // The same where other processes of this machine can copy it from one GPU to another, as `version`; none in host
  // memory. A set stays until the one after the next.
  virtual absl::StatusOr<std::optional<SharedWeights>> Share(PolicyVersion version) = 0;
};

}  // namespace tactus
