// Forward with saved activations, and the backward pass, of a decoder, on any backend (ops/backend.h). Hand-written
// gradients: memory is explicit, and the layers are Decoder's own, so on the CPU a recomputed log-prob has the actor's
// bits. The same inputs give the same bits in every run, with activation checkpointing and without; but where the
// backend computes in bfloat16 (GPUs) a layer that is computed again begins with its input rounded to that, so that
// gradients differ by as much, and log-probs by nothing.
//
// Users include cpu/decoder_cpu.h or cuda/decoder_cuda.h, where the names for one backend are.
// Shapes: T tokens, N targets, C rows of a chunk of logits, V vocabulary. Owned by one thread. On a GPU calls enqueue
// on the current queue; Forward and ForwardOnly wait for their numbers, Backward does not wait. Throws what the
// device's library throws.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/functional/function_ref.h"
#include "common/model/decoder_parameters.h"
#include "common/model/target_gradient.h"
#include "common/model/train_sequences.h"
#include "common/model/trainable_options.h"
#include "common/ops/backend.h"

namespace tactus {

template <ops::Backend B>
class TrainableDecoder {
 public:
  // `weights` outlives this.
  TrainableDecoder(DecoderWeights<B>& weights, TrainableOptions options);
  ~TrainableDecoder();

  // logprobs [N]; entropy [N] (temperature 1, nats) or empty when not wanted. Keeps what Backward needs until the next
  // call.
  void Forward(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy);
  // The same numbers, keeping nothing (reference model, `tactus score`).
  void ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy);

  // Adds d loss / d parameter to the float32 numbers that `gradients` names, where the backend computes, given those of
  // the last Forward's targets; of entropies with TrainableOptions::temperature 1 alone. `finished(begin)`: all of this
  // call's work on gradients from place `begin` on, to the end of the layout, is done or enqueued; called with falling
  // places, last with 0.
  void Backward(const TargetGradient& gradient, GradientPlaces gradients,
                absl::FunctionRef<void(int64_t begin)> finished);
  // The same into one buffer, flat as the parameters.
  void Backward(const TargetGradient& gradient, float* gradients, absl::FunctionRef<void(int64_t begin)> finished) {
    Backward(
        gradient, [gradients](int64_t place) { return gradients + place; }, finished);
  }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
