// What the Trainer needs of a model. The decoder is one implementation, on the CPU or on a GPU; tests use a model small
// enough to check by hand.
//
// Passes are Forward, ForwardOnly and Backward. Of a policy whose gradients or parameters are divided among the ranks
// they are collective: every rank makes the same ones in the same order, one without work with no sequences.
//
// Owned by one thread. Shapes as in TrainSequences: N targets. Every call blocks for its own work at most; a device's
// failure comes back as Internal, no memory as ResourceExhausted.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/model/folder/model_config.h"
#include "common/model/target_gradient.h"
#include "common/model/train_sequences.h"
#include "learner/train/pass_cost.h"
#include "learner/train/trainable_parameters.h"

namespace tactus {

class TrainablePolicy {
 public:
  virtual ~TrainablePolicy() = default;
  virtual const ParameterLayout& layout() const = 0;
  virtual int64_t vocab_size() const = 0;
  // By which work is shared among ranks. By default that of a model without attention: rows.
  virtual PassCost pass_cost() const { return {}; }
  virtual bool collective_passes() const { return false; }
  // logprobs [N] of the targets, and entropies [N] of the distributions they are of at temperature 1, or empty where
  // not wanted. Forward keeps what Backward needs; ForwardOnly gives the same numbers and keeps nothing.
  virtual absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs,
                               std::span<float> entropies) = 0;
  virtual absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) = 0;
  // Adds to the gradients, given those of the last Forward's targets. `reduce_over` is null, or, in the last
  // call before state().ReduceGradients, its collective: the sums over ranks may begin while this call still computes.
  virtual absl::Status Backward(const TargetGradient& gradient, Collective* reduce_over) = 0;
  // The policy's parameters, gradients and moments; they live as long as the policy.
  virtual TrainableParameters& state() = 0;
};

}  // namespace tactus
