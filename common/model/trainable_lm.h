// Forward with saved activations, and the backward pass, of a DecoderLm. Hand-written gradients: memory is explicit,
// and the forward arithmetic is DecoderLm's own, so a recomputed log-prob has the actor's bits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/model/decoder_lm.h"
#include "common/model/train_sequences.h"

namespace tactus {

struct TrainableOptions {
  bool activation_checkpointing = false;
  int logprob_chunk_tokens = 256;  // rows of logits that exist at once
  float temperature = 1.0f;        // log-probs are of softmax(logits / temperature)
};

// Owned by one thread. Shares the DecoderLm's parameters; owns gradients and activations.
class TrainableLm {
 public:
  TrainableLm(DecoderLm& model, TrainableOptions options);
  ~TrainableLm();

  // logprobs [N]; entropy [N] (temperature 1, nats) or empty when not wanted. Keeps what Backward needs until the next
  // call.
  void Forward(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy);
  // The same numbers, keeping nothing (reference model, `tactus score`).
  void ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy);

  // Adds d loss / d parameter to gradients(), given d loss / d logprob [N] of the last Forward.
  void Backward(std::span<const float> dlogprobs);

  std::span<float> gradients();  // [layout().total_numel], float32
  void ZeroGradients();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
