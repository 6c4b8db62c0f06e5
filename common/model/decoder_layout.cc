#include "common/model/decoder_layout.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

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

DecoderOffsets OffsetsOf(const ModelConfig& config, const ParameterLayout& layout) {
  const auto offset = [&](const std::string& name) {
    const ParameterSpec* spec = layout.Find(name);
    return spec == nullptr ? int64_t{-1} : spec->offset;
  };
  DecoderOffsets at;
  at.embed = offset("model.embed_tokens.weight");
  at.final_norm = offset("model.norm.weight");
  at.head = config.tie_word_embeddings ? at.embed : offset("lm_head.weight");
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string base = absl::StrCat("model.layers.", i, ".");
    const std::string attention = base + "self_attn.", mlp = base + "mlp.";
    LayerOffsets layer = {.q = offset(attention + "q_proj.weight"),
                          .k = offset(attention + "k_proj.weight"),
                          .v = offset(attention + "v_proj.weight"),
                          .q_bias = offset(attention + "q_proj.bias"),
                          .q_norm = offset(attention + "q_norm.weight"),
                          .k_norm = offset(attention + "k_norm.weight"),
                          .o = offset(attention + "o_proj.weight"),
                          .gate = offset(mlp + "gate_proj.weight"),
                          .up = offset(mlp + "up_proj.weight"),
                          .down = offset(mlp + "down_proj.weight")};
    if (config.norms_after) {
      layer.attention_out_norm = offset(base + "post_attention_layernorm.weight");
      layer.mlp_out_norm = offset(base + "post_feedforward_layernorm.weight");
    } else {
      layer.attention_in_norm = offset(base + "input_layernorm.weight");
      layer.mlp_in_norm = offset(base + "post_attention_layernorm.weight");
    }
    at.layers.push_back(layer);
  }
  return at;
}

std::vector<DecoderPart> PartsOf(const DecoderOffsets& offsets, const ParameterLayout& layout) {
  const FlatRange embedding{offsets.embed, offsets.layers.front().q}, last{offsets.final_norm, layout.total_numel};
  std::vector<DecoderPart> parts = {{embedding}};
  for (size_t i = 0; i < offsets.layers.size(); ++i) {
    const bool more = i + 1 < offsets.layers.size();
    parts.push_back({{offsets.layers[i].q, more ? offsets.layers[i + 1].q : offsets.final_norm}});
  }
  parts.push_back(offsets.head == offsets.embed ? DecoderPart{embedding, last} : DecoderPart{last});
  return parts;
}

RopeTables::RopeTables(const ModelConfig& config)
    : half_(config.head_dim / 2), inverse_frequencies_(InverseFrequencies(config)) {}

void RopeTables::Extend(int64_t positions) {
  int64_t have = this->positions();
  if (positions <= have) return;
  positions = std::max(positions, 2 * have);
  cosines_.resize(static_cast<size_t>(positions * half_));
  sines_.resize(cosines_.size());
  for (; have < positions; ++have) {
    for (int64_t j = 0; j < half_; ++j) {
      const float angle = static_cast<float>(have) * inverse_frequencies_[static_cast<size_t>(j)];
      cosines_[static_cast<size_t>(have * half_ + j)] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sines_[static_cast<size_t>(have * half_ + j)] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

}  // namespace tactus
