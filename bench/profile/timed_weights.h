// The decoder's weights as its passes on a TimedBackend want them.
#pragma once

#include "bench/profile/timed_backend.h"
#include "common/model/cpu/decoder_weights_cpu.h"

namespace tactus {

// A view of weights that DecoderWeightsCpu owns; `from` outlives it.
template <>
class DecoderWeights<TimedBackend> {
 public:
  DecoderWeights(DecoderWeights<ops::CpuBackend>& from, Recorder& recorder) : from_(from), recorder_(recorder) {
    const DecoderParameters<ops::CpuBackend>& parameters = from.parameters();
    parameters_.embed = parameters.embed;
    parameters_.head = {&parameters.head};
    parameters_.final_norm = parameters.final_norm;
    for (const LayerWeights<ops::CpuBackend>& layer : parameters.layers) {
      LayerWeights<TimedBackend>& to = parameters_.layers.emplace_back();
      to.attention_in_norm = layer.attention_in_norm;
      to.attention_out_norm = layer.attention_out_norm;
      to.mlp_in_norm = layer.mlp_in_norm;
      to.mlp_out_norm = layer.mlp_out_norm;
      to.qkv_finish = {.bias = layer.qkv_finish.bias,
                       .q_norm = layer.qkv_finish.q_norm,
                       .k_norm = layer.qkv_finish.k_norm,
                       .whole_width = layer.qkv_finish.whole_width,
                       .eps = layer.qkv_finish.eps};
      to.qkv = {&layer.qkv};
      to.o = {&layer.o};
      to.gate_up = {&layer.gate_up};
      to.down = {&layer.down};
    }
  }

  const ModelConfig& config() const { return from_.config(); }
  TimedBackend backend() const { return {from_.dtype(), recorder_}; }
  const DecoderParameters<TimedBackend>& parameters() const { return parameters_; }
  void Need(size_t, PartUse) {}
  void Pack() {
    recorder_.Time("weights laid out", Layout(), [&] { from_.Pack(); });
  }
  void PrepareBackward() {
    recorder_.Time("weights laid out, backward", Layout(), [&] { from_.PrepareBackward(); });
  }

 private:
  // The masters read, the panels written.
  PartCost Layout() const {
    const auto numel = static_cast<double>(from_.layout().total_numel);
    return {.memory_bytes = numel * static_cast<double>(4 + BytesPerElement(from_.dtype()))};
  }

  DecoderWeights<ops::CpuBackend>& from_;
  Recorder& recorder_;
  DecoderParameters<TimedBackend> parameters_;
};

}  // namespace tactus
