#include "common/model/decoder_weights.h"

#include <algorithm>
#include <utility>

namespace tactus {
DecoderWeights::DecoderWeights(const ModelConfig& model_config, StorageDType storage)
    : config(model_config),
      layout(MakeParameterLayout(model_config)),
      dtype(storage),
      flat(layout.total_numel),
      rope_(model_config) {
  DecoderOffsets at = OffsetsOf(config, layout);
  offsets = std::move(at.layers);
  embed_offset = at.embed;
  final_norm_offset = at.final_norm;
  head_offset = at.head;
  const ops::PanelType panels = dtype == StorageDType::kFloat32 ? ops::PanelType::kFloat32 : ops::PanelType::kBFloat16;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerWeights& layer = layers.emplace_back();
    layer.qkv = ops::PackedMatrix(config.hidden_size, qkv_columns(), panels);
    layer.o = ops::PackedMatrix(config.num_heads * config.head_dim, config.hidden_size, panels);
    layer.gate_up = ops::PackedMatrix(config.hidden_size, 2 * config.intermediate_size, panels);
    layer.down = ops::PackedMatrix(config.intermediate_size, config.hidden_size, panels);
  }
  head = ops::PackedMatrix(config.hidden_size, config.vocab_size, panels);
}

std::vector<float> DecoderWeights::Rounded(int64_t offset, int64_t count) const {
  std::vector<float> values(flat.data() + offset, flat.data() + offset + count);
  if (dtype == StorageDType::kBFloat16) {
    for (float& value : values) value = BFloat16ToFloat(FloatToBFloat16(value));
  }
  return values;
}

void DecoderWeights::Pack() {
  const int64_t h = config.hidden_size, d = config.head_dim;
  const int64_t q_columns = config.num_heads * d, kv_columns = config.num_kv_heads * d;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerOffsets& at = offsets[i];
    LayerWeights& layer = layers[i];
    layer.input_norm = Rounded(at.input_norm, h);
    layer.post_norm = Rounded(at.post_norm, h);
    if (at.q_norm >= 0) {
      layer.q_norm = Rounded(at.q_norm, d);
      layer.k_norm = Rounded(at.k_norm, d);
    }
    if (at.q_bias >= 0) {
      layer.qkv_bias = Rounded(at.q_bias, q_columns);
      for (const int64_t offset : {at.k_bias, at.v_bias}) {
        const std::vector<float> bias = Rounded(offset, kv_columns);
        layer.qkv_bias.insert(layer.qkv_bias.end(), bias.begin(), bias.end());
      }
    }
    layer.qkv.PackTransposed(flat.data() + at.q, q_columns, 0);
    layer.qkv.PackTransposed(flat.data() + at.k, kv_columns, q_columns);
    layer.qkv.PackTransposed(flat.data() + at.v, kv_columns, q_columns + kv_columns);
    layer.o.PackTransposed(flat.data() + at.o, h, 0);
    layer.gate_up.PackTransposed(flat.data() + at.gate, config.intermediate_size, 0);
    layer.gate_up.PackTransposed(flat.data() + at.up, config.intermediate_size, config.intermediate_size);
    layer.down.PackTransposed(flat.data() + at.down, h, 0);
  }
  final_norm = Rounded(final_norm_offset, h);
  head.PackTransposed(flat.data() + head_offset, config.vocab_size, 0);
  ++generation;
}

void DecoderWeights::Embed(int32_t token, float* out) const {
  const float* row = flat.data() + embed_offset + token * config.hidden_size;
  std::copy_n(row, config.hidden_size, out);
  if (dtype == StorageDType::kFloat32) return;
  for (int64_t j = 0; j < config.hidden_size; ++j) out[j] = BFloat16ToFloat(FloatToBFloat16(out[j]));
}

}  // namespace tactus
