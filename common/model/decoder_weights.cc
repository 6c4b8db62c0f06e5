#include "common/model/decoder_weights.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

// As transformers computes them, in float32, so that angles agree to the last bit or so at any position.
std::vector<float> InverseFrequencies(const ModelConfig& config) {
  std::vector<float> result;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    result.push_back(1.0f / std::pow(static_cast<float>(config.rope_theta), exponent));
  }
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeScaling::Kind::kNone) return result;
  const double low_wavelength = static_cast<double>(scaling.original_max_position) / scaling.low_freq_factor;
  const double high_wavelength = static_cast<double>(scaling.original_max_position) / scaling.high_freq_factor;
  for (float& frequency : result) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      frequency = static_cast<float>(frequency / scaling.factor);
      continue;
    }
    const double smooth = (static_cast<double>(scaling.original_max_position) / wavelength - scaling.low_freq_factor) /
                          (scaling.high_freq_factor - scaling.low_freq_factor);
    frequency = static_cast<float>((1 - smooth) * frequency / scaling.factor + smooth * frequency);
  }
  return result;
}

}  // namespace

DecoderWeights::DecoderWeights(const ModelConfig& model_config, StorageDType storage)
    : config(model_config),
      layout(MakeParameterLayout(model_config)),
      dtype(storage),
      flat(layout.total_numel),
      inverse_frequencies_(InverseFrequencies(model_config)) {
  const auto offset = [this](const std::string& name) {
    const ParameterSpec* spec = layout.Find(name);
    return spec == nullptr ? int64_t{-1} : spec->offset;
  };
  embed_offset = offset("model.embed_tokens.weight");
  final_norm_offset = offset("model.norm.weight");
  head_offset = config.tie_word_embeddings ? embed_offset : offset("lm_head.weight");
  const ops::PanelType panels = dtype == StorageDType::kFloat32 ? ops::PanelType::kFloat32 : ops::PanelType::kBFloat16;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string base = absl::StrCat("model.layers.", i, ".");
    const std::string attention = base + "self_attn.", mlp = base + "mlp.";
    offsets.push_back({.input_norm = offset(base + "input_layernorm.weight"),
                       .q = offset(attention + "q_proj.weight"),
                       .k = offset(attention + "k_proj.weight"),
                       .v = offset(attention + "v_proj.weight"),
                       .q_bias = offset(attention + "q_proj.bias"),
                       .k_bias = offset(attention + "k_proj.bias"),
                       .v_bias = offset(attention + "v_proj.bias"),
                       .q_norm = offset(attention + "q_norm.weight"),
                       .k_norm = offset(attention + "k_norm.weight"),
                       .o = offset(attention + "o_proj.weight"),
                       .post_norm = offset(base + "post_attention_layernorm.weight"),
                       .gate = offset(mlp + "gate_proj.weight"),
                       .up = offset(mlp + "up_proj.weight"),
                       .down = offset(mlp + "down_proj.weight")});
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

void DecoderWeights::EnsureRope(int64_t positions) {
  const int64_t half = config.head_dim / 2;
  int64_t have = static_cast<int64_t>(cosines_.size()) / half;
  if (positions <= have) return;
  positions = std::max(positions, 2 * have);
  cosines_.resize(static_cast<size_t>(positions * half));
  sines_.resize(cosines_.size());
  for (; have < positions; ++have) {
    for (int64_t j = 0; j < half; ++j) {
      const float angle = static_cast<float>(have) * inverse_frequencies_[static_cast<size_t>(j)];
      cosines_[static_cast<size_t>(have * half + j)] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sines_[static_cast<size_t>(have * half + j)] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

}  // namespace tactus
