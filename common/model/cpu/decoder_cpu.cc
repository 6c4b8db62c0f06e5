#include "common/model/cpu/decoder_cpu.h"

#include <algorithm>

#include "common/model/decoder_impl.h"
#include "common/model/trainable_backward_impl.h"

namespace tactus {

template class Decoder<ops::CpuBackend>;
template class TrainableDecoder<ops::CpuBackend>;

DecoderCpu MakeDecoderCpu(const DecoderWeightsCpu& weights, int64_t num_pages) {
  const ModelConfig& config = weights.config();
  return DecoderCpu(config, weights.backend(),
                    ops::KvCacheCpu(AttentionShapeOf(config), weights.dtype(), config.num_layers, num_pages));
}

void Forward(DecoderCpu& decoder, const DecoderWeightsCpu& weights, const ForwardBatch& batch,
             std::vector<int32_t>& positions) {
  positions.resize(batch.token_ids.size());
  int64_t longest = 0;
  for (const SequenceRun& run : batch.runs) {
    for (int64_t r = 0; r < run.num_rows; ++r) {
      positions[static_cast<size_t>(run.first_row + r)] = static_cast<int32_t>(run.start_position + r);
    }
    longest = std::max(longest, run.start_position + run.num_rows);
  }
  decoder.Forward(weights.parameters(),
                  {.num_rows = static_cast<int64_t>(batch.token_ids.size()),
                   .token_ids = batch.token_ids.data(),
                   .rotary = {.positions = positions.data()},
                   .runs = batch.runs,
                   .probe = batch.probe,
                   .taps = batch.taps},
                  longest);
}

}  // namespace tactus
