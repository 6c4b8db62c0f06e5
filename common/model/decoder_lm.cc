#include "common/model/decoder_lm.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/model/decoder_impl.h"
#include "common/model/layer_forward.h"

namespace tactus {

DecoderLm::DecoderLm(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DecoderLm::~DecoderLm() = default;

absl::StatusOr<std::unique_ptr<DecoderLm>> DecoderLm::Create(const ModelConfig& config, StorageDType weights_dtype) {
  return std::unique_ptr<DecoderLm>(new DecoderLm(std::make_unique<Impl>(config, weights_dtype)));
}

absl::StatusOr<std::unique_ptr<DecoderLm>> DecoderLm::FromFolder(const ModelFolder& folder,
                                                                 StorageDType weights_dtype) {
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderLm> model, Create(folder.config, weights_dtype));
  RETURN_IF_ERROR(LoadParameters(folder, model->parameters()));
  model->PackWeights();
  return model;
}

const ModelConfig& DecoderLm::config() const { return impl_->weights.config; }
const ParameterLayout& DecoderLm::layout() const { return impl_->weights.layout; }
std::span<float> DecoderLm::parameters() {
  return {impl_->weights.flat.data(), static_cast<size_t>(impl_->weights.flat.size())};
}
std::span<const float> DecoderLm::parameters() const {
  return {impl_->weights.flat.data(), static_cast<size_t>(impl_->weights.flat.size())};
}
void DecoderLm::PackWeights() { impl_->weights.Pack(); }

void DecoderLm::Forward(const ForwardBatch& batch, KvCache& cache, at::Tensor& hidden) {
  DecoderWeights& weights = impl_->weights;
  const ModelConfig& config = weights.config;
  const int64_t rows = static_cast<int64_t>(batch.token_ids.size()), h = config.hidden_size;
  impl_->FillPositions(batch.runs, rows);
  float* x = impl_->stream.Get(rows * h);
  for (int64_t r = 0; r < rows; ++r) weights.Embed(batch.token_ids[static_cast<size_t>(r)], x + r * h);
  const LayerBuffers buffers = impl_->InferenceBuffers(rows);
  ops::LayerTaps taps{.probe = batch.probe, .taps = batch.taps};
  size_t measured = 0;  // of the probe's layers, so far
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const bool measure =
        batch.probe != nullptr && measured < batch.probe->layers.size() && batch.probe->layers[measured] == layer;
    LayerForward(weights, layer, impl_->positions, batch.runs, cache.layer(layer), buffers, x,
                 measure ? &taps : nullptr);
    if (!measure) continue;
    ++measured;
    taps.first_head += config.num_heads;
  }
  if (!hidden.defined() || hidden.size(0) != rows) hidden = at::empty({rows, h});
  NormRows(x, weights.final_norm, config.rms_norm_eps, rows, hidden.data_ptr<float>(), nullptr);
}

void DecoderLm::Logits(const at::Tensor& hidden, std::span<const int32_t> rows, at::Tensor& logits) {
  const DecoderWeights& weights = impl_->weights;
  const int64_t h = weights.config.hidden_size, vocab = weights.config.vocab_size;
  const int64_t count = static_cast<int64_t>(rows.size());
  const float* from = hidden.data_ptr<float>();
  float* chosen = impl_->chosen.Get(count * h);
  for (int64_t i = 0; i < count; ++i) std::copy_n(from + rows[static_cast<size_t>(i)] * h, h, chosen + i * h);
  if (!logits.defined() || logits.size(0) != count) logits = at::empty({count, vocab});
  ops::Gemm({chosen, h}, count, weights.head, logits.data_ptr<float>(), vocab, /*accumulate=*/false);
}

}  // namespace tactus
