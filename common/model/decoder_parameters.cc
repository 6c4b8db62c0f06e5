#include "common/model/decoder_parameters.h"

#include "absl/strings/str_cat.h"

namespace tactus {

absl::Status CheckDecoderShape(const ModelConfig& config) {
  if (config.hidden_size % 16 == 0 && config.intermediate_size % 16 == 0) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("the kernels need a hidden and an intermediate size that are multiples ",
                                               "of 16; this model's are ", config.hidden_size, " and ",
                                               config.intermediate_size, "."));
}

std::vector<NormSpan> NormsOf(const ModelConfig& config, const DecoderOffsets& offsets) {
  std::vector<NormSpan> norms;
  const auto add = [&](int64_t offset, int64_t size) {
    if (offset >= 0) norms.push_back({offset, size});
  };
  for (const LayerOffsets& layer : offsets.layers) {
    for (const int64_t offset :
         {layer.attention_in_norm, layer.attention_out_norm, layer.mlp_in_norm, layer.mlp_out_norm}) {
      add(offset, config.hidden_size);
    }
    add(layer.q_norm, QNormSize(config));
    add(layer.k_norm, KNormSize(config));
  }
  add(offsets.final_norm, config.hidden_size);
  return norms;
}

}  // namespace tactus
