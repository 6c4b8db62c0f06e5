#include "common/model/trainable_cuda.h"

#include <algorithm>

#include "common/device/runtime_cuda.h"
#include "common/model/device_cache_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/gemm_cuda.h"
#include "common/ops/cuda/rows_cuda.h"
#include "common/ops/cuda/sampling_cuda.h"

namespace tactus {

namespace cuda = ops::cuda;

namespace {

constexpr auto kStatBytes = static_cast<int64_t>(sizeof(ops::TokenLogProb));

ops::TokenLogProb* StatsIn(const at::Tensor& bytes) { return static_cast<ops::TokenLogProb*>(bytes.data_ptr()); }

std::byte* Row(const at::Tensor& rows, int64_t row) {
  return static_cast<std::byte*>(rows.data_ptr()) + row * rows.stride(0) * rows.element_size();
}

}  // namespace

TrainableCuda::TrainableCuda(const ModelConfig& config, const DeviceParameterSet& weights, TrainableOptions options,
                             int gpu)
    : config_(config),
      offsets_(OffsetsOf(config, MakeParameterLayout(config))),
      weights_(weights),
      options_(options),
      type_(weights.flat().scalar_type()),
      h_(config.hidden_size),
      vocab_(config.vocab_size),
      batch_(config, gpu),
      layers_(config, weights, options.activation_checkpointing, gpu),
      chosen_upload_(gpu),
      stream_scratch_(gpu),
      final_scratch_(gpu),
      normed_scratch_(gpu),
      inverse_scratch_(gpu),
      stats_scratch_(gpu),
      logits_scratch_(gpu),
      dlogits_scratch_(gpu),
      dnormed_scratch_(gpu),
      dfinal_scratch_(gpu),
      workspace_scratch_(gpu) {}

void TrainableCuda::Forward(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy) {
  Run(sequences, /*keep=*/true, logprobs, entropy);
}

void TrainableCuda::ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy) {
  Run(sequences, /*keep=*/false, logprobs, entropy);
}

void TrainableCuda::Run(const TrainSequences& sequences, bool keep, std::span<float> logprobs,
                        std::span<float> entropy) {
  target_rows_ = sequences.target_rows;
  targets_ = sequences.targets;
  batch_.Load(sequences);
  stream_ = stream_scratch_.Get({batch_.rows(), h_}, at::kFloat);
  cuda::EmbedRows(batch_.tokens(), batch_.rows(), weights_.parameters().embed, h_, type_, stream_.data_ptr<float>());
  layers_.Forward(batch_, stream_.data_ptr<float>(), keep);
  Head(logprobs, entropy);
}

void TrainableCuda::FinalNorm(const int32_t* rows, int64_t count) {
  final_ = final_scratch_.Get({count, h_}, at::kFloat);
  normed_ = normed_scratch_.Get({count, h_}, type_);
  inverse_ = inverse_scratch_.Get({count}, at::kFloat);
  GatherRows(stream_.const_data_ptr(), rows, count, h_ * static_cast<int64_t>(sizeof(float)), final_.data_ptr());
  cuda::AddRmsNorm({.rows = count,
                    .hidden = h_,
                    .type = type_,
                    .x = final_.data_ptr<float>(),
                    .weight = weights_.parameters().final_norm,
                    .eps = static_cast<float>(config_.rms_norm_eps),
                    .out = normed_.data_ptr(),
                    .inverse_rms = inverse_.data_ptr<float>()});
}

int64_t TrainableCuda::ChunkRows(int64_t first, int64_t total) const {
  return std::min<int64_t>(options_.logprob_chunk_tokens, total - first);
}

float* TrainableCuda::ChunkLogits(int64_t first, int64_t count) {
  const at::Tensor logits = logits_scratch_.Get({count, vocab_}, at::kFloat);
  cuda::Linear(Row(normed_, first), count, weights_.parameters().head, vocab_, h_, type_, logits.data_ptr(),
               at::kFloat);
  return logits.data_ptr<float>();
}

void TrainableCuda::Head(std::span<float> logprobs, std::span<float> entropy) {
  const int64_t count = batch_.targets();
  FinalNorm(batch_.target_rows(), count);
  const at::Tensor stats = stats_scratch_.Get({count * kStatBytes}, at::kByte);
  for (int64_t first = 0; first < count; first += options_.logprob_chunk_tokens) {
    const int64_t rows = ChunkRows(first, count);
    cuda::LogProbRows(ChunkLogits(first, rows), rows, vocab_, batch_.target_tokens() + first, options_.temperature,
                      StatsIn(stats) + first);
  }
  if (!pinned_stats_.defined() || pinned_stats_.numel() < stats.numel()) {
    pinned_stats_ = device::PinnedEmpty({stats.numel() + stats.numel() / 4}, at::kByte);
  }
  device::CopyAsync(pinned_stats_.data_ptr(), stats.const_data_ptr(), static_cast<size_t>(stats.numel()));
  device::Synchronize();
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const ops::TokenLogProb& stat = StatsIn(pinned_stats_)[i];
    logprobs[i] = stat.logprob;
    if (!entropy.empty()) entropy[i] = stat.entropy;
  }
}

void TrainableCuda::ChunkBackward(int64_t first, int64_t count, const int32_t* targets, const float* dlogprobs,
                                  float* gradients) {
  const float* logits = ChunkLogits(first, count);
  const at::Tensor stats = stats_scratch_.Get({count * kStatBytes}, at::kByte);
  cuda::LogProbRows(logits, count, vocab_, targets + first, options_.temperature, StatsIn(stats));
  const at::Tensor dlogits = dlogits_scratch_.Get({count, vocab_}, type_);
  cuda::LogProbBackward({.rows = count,
                         .vocab = vocab_,
                         .type = type_,
                         .logits = logits,
                         .targets = targets + first,
                         .stats = StatsIn(stats),
                         .dlogprobs = dlogprobs + first,
                         .temperature = options_.temperature,
                         .dlogits = dlogits.data_ptr()});
  cuda::LinearBackwardInput(dlogits.const_data_ptr(), count, vocab_, weights_.parameters().head, h_, type_,
                            Row(dnormed_, first));
  cuda::LinearBackwardWeight(dlogits.const_data_ptr(), count, vocab_, Row(normed_, first), h_, type_,
                             gradients + offsets_.head);
}

void TrainableCuda::HeadBackward(std::span<const float> dlogprobs, float* gradients) {
  std::vector<int32_t> rows, targets;  // those that carry a gradient: groups of equal rewards carry none
  std::vector<float> chosen;
  for (size_t i = 0; i < dlogprobs.size(); ++i) {
    if (dlogprobs[i] == 0) continue;
    rows.push_back(target_rows_[i]);
    targets.push_back(targets_[i]);
    chosen.push_back(dlogprobs[i]);
  }
  const int64_t count = static_cast<int64_t>(rows.size());
  chosen_upload_.Begin();
  const int64_t rows_at = chosen_upload_.Add(std::move(rows)), targets_at = chosen_upload_.Add(std::move(targets));
  const int64_t dlogprobs_at = chosen_upload_.Add(chosen);
  chosen_upload_.Send();
  const int32_t* const device_rows = chosen_upload_.At(rows_at);
  FinalNorm(device_rows, count);
  dnormed_ = dnormed_scratch_.Get({count, h_}, type_);
  for (int64_t first = 0; first < count; first += options_.logprob_chunk_tokens) {
    ChunkBackward(first, ChunkRows(first, count), chosen_upload_.At(targets_at),
                  reinterpret_cast<const float*>(chosen_upload_.At(dlogprobs_at)), gradients);
  }
  const at::Tensor dfinal = dfinal_scratch_.Get({count, h_}, at::kFloat);
  const int64_t floats = cuda::GradientWorkspaceFloats(count, h_);
  cuda::RmsNormBackward({.rows = count,
                         .hidden = h_,
                         .type = type_,
                         .x = final_.const_data_ptr<float>(),
                         .weight = weights_.parameters().final_norm,
                         .inverse_rms = inverse_.const_data_ptr<float>(),
                         .dy = dnormed_.const_data_ptr(),
                         .dx = dfinal.data_ptr<float>(),
                         .accumulate_dx = false,
                         .dweight = gradients + offsets_.final_norm,
                         .workspace = workspace_scratch_.Get({floats}, at::kFloat).data_ptr<float>()});
  device::ZeroAsync(stream_.data_ptr(), static_cast<size_t>(stream_.nbytes()));
  cuda::ScatterRows(dfinal.const_data_ptr<float>(), device_rows, count, h_, stream_.data_ptr<float>());
}

void TrainableCuda::Backward(std::span<const float> dlogprobs, float* gradients,
                             absl::FunctionRef<void(int64_t begin)> finished) {
  if (std::ranges::all_of(dlogprobs, [](float d) { return d == 0.0f; })) return finished(0);
  HeadBackward(dlogprobs, gradients);
  finished(offsets_.final_norm);
  float* dx = stream_.data_ptr<float>();
  for (int64_t layer = config_.num_layers; layer-- > 0;) {
    layers_.Backward(batch_, layer, dx, gradients);
    finished(offsets_.layers[static_cast<size_t>(layer)].q);
  }
  cuda::EmbedBackward(dx, batch_.distinct(), batch_.distinct_starts(), batch_.rows_by_token(), batch_.distinct_tokens(),
                      h_, gradients + offsets_.embed);
  finished(0);
}

}  // namespace tactus
