// How a TrainableDecoder works. Apart from it, so that who only chooses does not see a backend.
#pragma once

#include <cstdint>

namespace tactus {

struct TrainableOptions {
  bool activation_checkpointing = false;
  int logprob_chunk_tokens = 256;  // rows of logits that exist at once
  float temperature = 1.0f;        // log-probs are of softmax(logits / temperature)
  bool flash_attention = true;     // on a GPU, where the weights' type has it
  // Of layers that are computed again, on a GPU in bfloat16: how many rows of an MLP exist at once. Enough for a
  // product to be at its best, and a small part of a long sequence.
  int64_t mlp_rows = 4096;
  // The rows of the largest batch, for which room is made at the first; 0: buffers grow as batches do, which on the CPU
  // costs nothing.
  int64_t most_rows = 0;
};

}  // namespace tactus
