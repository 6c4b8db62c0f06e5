// How a TrainableDecoder works. Apart from it, so that who only chooses does not see a backend.
#pragma once

namespace tactus {

struct TrainableOptions {
  bool activation_checkpointing = false;
  int logprob_chunk_tokens = 256;  // rows of logits that exist at once
  float temperature = 1.0f;        // log-probs are of softmax(logits / temperature)
  bool flash_attention = true;     // on a GPU, where the weights' type has it
};

}  // namespace tactus
