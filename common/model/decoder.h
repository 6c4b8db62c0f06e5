// The decoder's forward pass over a paged cache, for actors: every family (folder/families), on any backend
// (ops/backend.h). It runs the same layers on the same parameters as the learner (trainable.h): on the CPU every op's
// result for a row depends on that row's sequence alone, so log-probs agree to the last bit however rows are batched,
// packed or cut (docs/adr/0002). The CPU and a GPU agree up to rounding.
//
// Users include cpu/decoder_cpu.h or cuda/decoder_cuda.h, where the names for one backend are.
// Shapes: R rows (tokens) of a step, H hidden, V vocabulary, C chosen rows.
// Owned by one thread. Pointers are to memory that the backend computes in. On a GPU calls enqueue and return; failures
// throw.
#pragma once

#include <cstdint>
#include <memory>

#include "common/model/decoder_parameters.h"
#include "common/model/folder/model_config.h"
#include "common/ops/backend.h"

namespace tactus {

// The largest step there is room for.
struct DecoderRoom {
  int64_t rows = 0;         // R
  int64_t decode_rows = 0;  // of them, a row alone of its sequence
  int64_t table_pages = 0;
  int64_t logit_rows = 0;  // C
  int64_t positions = 0;   // of the rows, at most
};

template <ops::Backend B>
class Decoder {
 public:
  // Allocates the cache. `backend` as of the weights it will run with.
  Decoder(const ModelConfig& config, B backend, typename B::KvCache cache);
  ~Decoder();

  // Buffers grow with the steps by themselves. This makes the room before, so that a recorded step finds its memory
  // where it was. True: memory moved, so what was recorded before is of no use. Waits when memory is allocated.
  bool Reserve(const DecoderRoom& room);

  // Appends the rows' keys and values to the cache's pages and runs all layers. The batch's rows stand at positions
  // below `positions`; the batch's rotary tables are set here.
  void Forward(const DecoderParameters<B>& parameters, typename B::PagedBatch batch, int64_t positions);

  // Logits [C, V] float32 of the rows that `rows` [C] names, or of all R = C where it is null. Good until the next
  // call.
  const float* Logits(const DecoderParameters<B>& parameters, const int32_t* rows, int64_t count);

  typename B::KvCache& cache();
  const typename B::KvCache& cache() const;
  const ModelConfig& config() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
