// The decoder on the CPU, for actors and learners.
#pragma once

#include <vector>

#include "common/model/cpu/decoder_weights_cpu.h"
#include "common/model/decoder.h"
#include "common/model/forward_batch.h"
#include "common/model/trainable.h"
#include "common/ops/cpu/backend_cpu.h"

namespace tactus {

using DecoderCpu = Decoder<ops::CpuBackend>;
using TrainableDecoderCpu = TrainableDecoder<ops::CpuBackend>;
extern template class Decoder<ops::CpuBackend>;
extern template class TrainableDecoder<ops::CpuBackend>;

// A decoder with a cache of `num_pages` pages for these weights.
DecoderCpu MakeDecoderCpu(const DecoderWeightsCpu& weights, int64_t num_pages);

// Runs the batch; `positions` is memory that the call fills, kept by the caller so that steps don't allocate.
void Forward(DecoderCpu& decoder, const DecoderWeightsCpu& weights, const ForwardBatch& batch,
             std::vector<int32_t>& positions);

}  // namespace tactus
