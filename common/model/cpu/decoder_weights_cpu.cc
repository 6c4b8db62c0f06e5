#include "common/model/cpu/decoder_weights_cpu.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"

namespace tactus {
namespace {

int64_t QkvColumns(const ModelConfig& config) { return (config.num_heads + 2 * config.num_kv_heads) * config.head_dim; }

}  // namespace

DecoderWeightsCpu::DecoderWeights(const ModelConfig& config, StorageDType dtype, Residence residence)
    : config_(config),
      layout_(MakeParameterLayout(config)),
      dtype_(dtype),
      offsets_(OffsetsOf(config, layout_)),
      norms_(NormsOf(config, offsets_)),
      parts_(PartsOf(offsets_, layout_)) {
  const bool whole = residence == Residence::kWhole;
  if (whole) {
    whole_ = ops::Buffer<float>(layout_.total_numel);
  } else {
    sparse_ = ops::SparseFloats(layout_.total_numel);
    spare_ = MakeLayerMatrices();
  }
  flat_ = whole ? whole_.data() : sparse_.data();
  parameters_.layers.resize(static_cast<size_t>(config.num_layers));
  if (whole) {
    for (LayerWeights<ops::CpuBackend>& layer : parameters_.layers) {
      std::array<Matrix, kLayerMatrices> matrices = MakeLayerMatrices();
      ExchangeMatrices(layer, matrices);
    }
    parameters_.head = MakeMatrix(config.vocab_size, config.hidden_size);
  }
  parameters_.embed = flat_ + offsets_.embed;
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

DecoderWeightsCpu::Matrix DecoderWeightsCpu::MakeMatrix(int64_t columns, int64_t depth) const {
  const ops::PanelType panels = dtype_ == StorageDType::kFloat32 ? ops::PanelType::kFloat32 : ops::PanelType::kBFloat16;
  return {.forward = ops::PackedMatrix(depth, columns, panels), .backward = {}};
}

std::array<DecoderWeightsCpu::Matrix, DecoderWeightsCpu::kLayerMatrices> DecoderWeightsCpu::MakeLayerMatrices() const {
  const int64_t h = config_.hidden_size, inner = config_.intermediate_size;
  return {MakeMatrix(QkvColumns(config_), h), MakeMatrix(h, config_.num_heads * config_.head_dim),
          MakeMatrix(2 * inner, h), MakeMatrix(h, inner)};
}

void DecoderWeightsCpu::ExchangeMatrices(LayerWeights<ops::CpuBackend>& layer,
                                         std::array<Matrix, kLayerMatrices>& others) {
  std::swap(layer.qkv, others[0]);
  std::swap(layer.o, others[1]);
  std::swap(layer.gate_up, others[2]);
  std::swap(layer.down, others[3]);
}

absl::StatusOr<std::unique_ptr<DecoderWeightsCpu>> DecoderWeightsCpu::Create(const ModelConfig& config,
                                                                             StorageDType dtype, Residence residence) {
  RETURN_IF_ERROR(CheckDecoderShape(config));
  return std::unique_ptr<DecoderWeightsCpu>(new DecoderWeightsCpu(config, dtype, residence));
}

absl::StatusOr<std::unique_ptr<DecoderWeightsCpu>> DecoderWeightsCpu::FromFolder(const ModelFolder& folder,
                                                                                 StorageDType dtype) {
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> weights, Create(folder.config, dtype));
  RETURN_IF_ERROR(LoadParameters(folder, weights->flat()));
  weights->Pack();
  return weights;
}

void DecoderWeightsCpu::RoundInto(int64_t offset, int64_t count, float* out) const {
  std::copy_n(flat_ + offset, count, out);
  if (dtype_ == StorageDType::kFloat32) return;
  for (int64_t i = 0; i < count; ++i) out[i] = BFloat16ToFloat(FloatToBFloat16(out[i]));
}

std::vector<DecoderWeightsCpu::Placed> DecoderWeightsCpu::MatricesOf(size_t part) {
  if (part == 0) return {};
  if (part > parameters_.layers.size()) return {{offsets_.head, &parameters_.head}};
  LayerWeights<ops::CpuBackend>& layer = parameters_.layers[part - 1];
  const LayerOffsets& at = offsets_.layers[part - 1];
  return {{at.q, &layer.qkv}, {at.o, &layer.o}, {at.gate, &layer.gate_up}, {at.down, &layer.down}};
}

// Norms and biases.
void DecoderWeightsCpu::RoundVectors(size_t part) {
  float* norm = norm_values_.data();
  for (const NormSpan& from : norms_) {
    for (const FlatRange& range : parts_[part]) {
      if (range.begin <= from.offset && from.offset < range.end) RoundInto(from.offset, from.size, norm);
    }
    norm += from.size;
  }
  if (part == 0 || part > parameters_.layers.size() || !config_.qkv_bias) return;
  const int64_t columns = QkvColumns(config_);
  RoundInto(offsets_.layers[part - 1].q_bias, columns, biases_.data() + static_cast<int64_t>(part - 1) * columns);
}

void DecoderWeightsCpu::LayOutForward(size_t part) {
  for (const auto& [offset, matrix] : MatricesOf(part)) {
    matrix->forward.PackTransposed(flat_ + offset, matrix->forward.columns(), 0);
  }
}

void DecoderWeightsCpu::LayOutBackward(size_t part) {
  for (const auto& [offset, matrix] : MatricesOf(part)) {
    const int64_t depth = matrix->forward.columns(), columns = matrix->forward.depth();
    if (matrix->backward.depth() == 0) matrix->backward = ops::PackedMatrix(depth, columns, matrix->forward.type());
    matrix->backward.PackRows(flat_ + offset, depth, 0, columns);
  }
}

void DecoderWeightsCpu::Pack() {
  for (size_t part = 0; part < parts_.size(); ++part) {
    RoundVectors(part);
    LayOutForward(part);
  }
  backward_packed_ = false;
}

void DecoderWeightsCpu::PrepareBackward() {
  if (feed_ != nullptr || std::exchange(backward_packed_, true)) return;
  for (size_t part = 0; part < parts_.size(); ++part) LayOutBackward(part);
}

void DecoderWeightsCpu::LayOut(size_t part, PartUse use) {
  if (part > parameters_.layers.size()) {
    parameters_.head = MakeMatrix(config_.vocab_size, config_.hidden_size);
  } else if (part > 0) {
    ExchangeMatrices(parameters_.layers[part - 1], spare_);
  }
  RoundVectors(part);
  if (use != PartUse::kBackward) LayOutForward(part);
  if (use != PartUse::kForward) LayOutBackward(part);
}

void DecoderWeightsCpu::Drop(size_t part) {
  if (part > parameters_.layers.size()) {
    parameters_.head = {};
  } else if (part > 0) {
    ExchangeMatrices(parameters_.layers[part - 1], spare_);
  }
}

}  // namespace tactus
