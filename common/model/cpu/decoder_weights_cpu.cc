#include "common/model/cpu/decoder_weights_cpu.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"

namespace tactus {
namespace {

int64_t QkvColumns(const ModelConfig& config) { return (config.num_heads + 2 * config.num_kv_heads) * config.head_dim; }

}  // namespace

DecoderWeightsCpu::DecoderWeights(const ModelConfig& config, StorageDType dtype)
    : config_(config),
      layout_(MakeParameterLayout(config)),
      dtype_(dtype),
      offsets_(OffsetsOf(config, layout_)),
      norms_(NormsOf(config, offsets_)),
      flat_(layout_.total_numel) {
  const ops::PanelType panels = dtype == StorageDType::kFloat32 ? ops::PanelType::kFloat32 : ops::PanelType::kBFloat16;
  const auto matrix = [&](int64_t columns, int64_t depth) {
    return ops::CpuBackend::Matrix{.forward = ops::PackedMatrix(depth, columns, panels), .backward = {}};
  };
  const int64_t h = config.hidden_size, inner = config.intermediate_size;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerWeights<ops::CpuBackend>& layer = parameters_.layers.emplace_back();
    layer.qkv = matrix(QkvColumns(config), h);
    layer.o = matrix(h, config.num_heads * config.head_dim);
    layer.gate_up = matrix(2 * inner, h);
    layer.down = matrix(h, inner);
  }
  parameters_.head = matrix(config.vocab_size, h);
  parameters_.embed = flat_.data() + offsets_.embed;
  int64_t norm_numel = 0;
  for (const NormSpan& norm : norms_) norm_numel += norm.size;
  norm_values_.resize(static_cast<size_t>(norm_numel));
  BindNorms(config, offsets_, norm_values_.data(), parameters_);
  if (!config.qkv_bias) return;
  const size_t columns = static_cast<size_t>(QkvColumns(config));
  biases_.resize(parameters_.layers.size() * columns);
  for (size_t i = 0; i < parameters_.layers.size(); ++i) {
    parameters_.layers[i].qkv_finish.bias = biases_.data() + i * columns;
  }
}

absl::StatusOr<std::unique_ptr<DecoderWeightsCpu>> DecoderWeightsCpu::Create(const ModelConfig& config,
                                                                             StorageDType dtype) {
  RETURN_IF_ERROR(CheckDecoderShape(config));
  return std::unique_ptr<DecoderWeightsCpu>(new DecoderWeightsCpu(config, dtype));
}

absl::StatusOr<std::unique_ptr<DecoderWeightsCpu>> DecoderWeightsCpu::FromFolder(const ModelFolder& folder,
                                                                                 StorageDType dtype) {
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> weights, Create(folder.config, dtype));
  RETURN_IF_ERROR(LoadParameters(folder, weights->flat()));
  weights->Pack();
  return weights;
}

void DecoderWeightsCpu::RoundInto(int64_t offset, int64_t count, float* out) const {
  std::copy_n(flat_.data() + offset, count, out);
  if (dtype_ == StorageDType::kFloat32) return;
  for (int64_t i = 0; i < count; ++i) out[i] = BFloat16ToFloat(FloatToBFloat16(out[i]));
}

void DecoderWeightsCpu::Pack() {
  float* norm = norm_values_.data();
  for (const NormSpan& from : norms_) {
    RoundInto(from.offset, from.size, norm);
    norm += from.size;
  }
  const auto pack = [&](int64_t offset, ops::CpuBackend::Matrix& matrix) {
    matrix.forward.PackTransposed(flat_.data() + offset, matrix.forward.columns(), 0);
  };
  const int64_t columns = QkvColumns(config_);
  for (size_t i = 0; i < parameters_.layers.size(); ++i) {
    const LayerOffsets& at = offsets_.layers[i];
    LayerWeights<ops::CpuBackend>& layer = parameters_.layers[i];
    if (at.q_bias >= 0) RoundInto(at.q_bias, columns, biases_.data() + static_cast<int64_t>(i) * columns);
    pack(at.q, layer.qkv);
    pack(at.o, layer.o);
    pack(at.gate, layer.gate_up);
    pack(at.down, layer.down);
  }
  pack(offsets_.head, parameters_.head);
  backward_packed_ = false;
}

void DecoderWeightsCpu::PrepareBackward() {
  if (std::exchange(backward_packed_, true)) return;
  const auto pack = [&](int64_t offset, ops::CpuBackend::Matrix& matrix) {
    const int64_t depth = matrix.forward.columns(), columns = matrix.forward.depth();
    if (matrix.backward.depth() == 0) matrix.backward = ops::PackedMatrix(depth, columns, matrix.forward.type());
    matrix.backward.PackRows(flat_.data() + offset, depth, 0, columns);
  };
  for (size_t i = 0; i < parameters_.layers.size(); ++i) {
    const LayerOffsets& at = offsets_.layers[i];
    LayerWeights<ops::CpuBackend>& layer = parameters_.layers[i];
    pack(at.q, layer.qkv);
    pack(at.o, layer.o);
    pack(at.gate, layer.gate_up);
    pack(at.down, layer.down);
  }
  pack(offsets_.head, parameters_.head);
}

}  // namespace tactus
