// What the Trainer needs of a model. The decoder is one implementation; tests use a model small enough to check by
// hand.
//
// Owned by one thread. Shapes as in TrainSequences: N targets.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "common/model/model_config.h"
#include "common/model/train_sequences.h"

namespace tactus {

class TrainablePolicy {
 public:
  virtual ~TrainablePolicy() = default;
  virtual const ParameterLayout& layout() const = 0;
  virtual int64_t vocab_size() const = 0;
  // Float32 [layout().total_numel]. After writing to them, ParametersChanged before the next forward.
  virtual std::span<float> parameters() = 0;
  virtual void ParametersChanged() = 0;
  // logprobs [N] of the targets. Forward keeps what Backward needs; ForwardOnly gives the same numbers and keeps
  // nothing.
  virtual void Forward(const TrainSequences& sequences, std::span<float> logprobs) = 0;
  virtual void ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) = 0;
  // Adds to gradients() [layout().total_numel], given d loss / d logprob [N] of the last Forward.
  virtual void Backward(std::span<const float> dlogprobs) = 0;
  virtual std::span<float> gradients() = 0;
  virtual void ZeroGradients() = 0;
};

}  // namespace tactus
