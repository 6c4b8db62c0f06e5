// A decoder's parameters as a backend's ops read them: the same struct for every backend. Who fills it and owns the
// memory is DecoderWeights<B> (common/model/cpu, common/model/cuda). Internal to common/model.
//
// Shapes: H hidden, I intermediate, Hq/Hk query and key/value heads, D head size, V vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/model/decoder_layout.h"
#include "common/ops/backend.h"

namespace tactus {

// Null where the family has none.
template <typename B>
struct LayerWeights {
  // Of what attention and the MLP read of the stream, and of what they add to it: [H].
  const float *attention_in_norm = nullptr, *attention_out_norm = nullptr;
  const float *mlp_in_norm = nullptr, *mlp_out_norm = nullptr;
  ops::QkvWeights<B> qkv_finish;
  typename B::Matrix qkv;      // [(Hq + 2 Hk) D, H]
  typename B::Matrix o;        // [H, Hq D]
  typename B::Matrix gate_up;  // [2 I, H]
  typename B::Matrix down;     // [H, I]
};

template <typename B>
struct DecoderParameters {
  typename B::ConstRows embed = nullptr;  // [V, H]
  typename B::Matrix head;                // [V, H]
  const float* final_norm = nullptr;      // [H]
  std::vector<LayerWeights<B>> layers;
};

// Where the gradient of the parameter at a place of the flat buffer is added up. Parameters of a part (PartsOf) that
// lie one behind the other have gradients that do.
using GradientPlaces = absl::FunctionRef<float*(int64_t place)>;

// What a pass does with the matrices of a part: products of rows, those of their gradients, or both.
enum class PartUse { kForward, kBackward, kBoth };

// Where a part's parameters come from when they are not there all the time.
class PartFeed {
 public:
  virtual ~PartFeed() = default;
  // A pass goes on to `part` (PartsOf) and has no more use for the part before. With kForward the next is the one
  // behind, else the one before.
  virtual void Need(size_t part, PartUse use) = 0;
};

// Has Need, as PartFeed's, which does nothing where everything is there.
template <typename B>
class DecoderWeights;

// Unimplemented: sizes that the kernels do not compute, on any backend.
absl::Status CheckDecoderShape(const ModelConfig& config);

inline ops::AttentionShape AttentionShapeOf(const ModelConfig& config) {
  return {.num_heads = config.num_heads, .num_kv_heads = config.num_kv_heads, .head_dim = config.head_dim};
}

// A family's norms, which every backend keeps as float32 vectors of their own, rounded to the storage type.
struct NormSpan {
  int64_t offset = 0;  // in the flat parameters
  int64_t size = 0;
};
std::vector<NormSpan> NormsOf(const ModelConfig& config, const DecoderOffsets& offsets);

// Points the parameters to their norms: `values` holds those of NormsOf end to end.
template <typename B>
void BindNorms(const ModelConfig& config, const DecoderOffsets& offsets, const float* values,
               DecoderParameters<B>& parameters) {
  const auto next = [&](int64_t offset, int64_t size) -> const float* {
    if (offset < 0) return nullptr;
    values += size;
    return values - size;
  };
  for (size_t i = 0; i < offsets.layers.size(); ++i) {
    const LayerOffsets& at = offsets.layers[i];
    LayerWeights<B>& layer = parameters.layers[i];
    layer.attention_in_norm = next(at.attention_in_norm, config.hidden_size);
    layer.attention_out_norm = next(at.attention_out_norm, config.hidden_size);
    layer.mlp_in_norm = next(at.mlp_in_norm, config.hidden_size);
    layer.mlp_out_norm = next(at.mlp_out_norm, config.hidden_size);
    layer.qkv_finish.q_norm = next(at.q_norm, QNormSize(config));
    layer.qkv_finish.k_norm = next(at.k_norm, KNormSize(config));
    layer.qkv_finish.whole_width = config.qk_norm_whole;
    layer.qkv_finish.eps = static_cast<float>(config.rms_norm_eps);
  }
  parameters.final_norm = next(offsets.final_norm, config.hidden_size);
}

}  // namespace tactus
