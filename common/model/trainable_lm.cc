#include "common/model/trainable_lm.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "common/model/decoder_impl.h"
#include "common/model/layer_backward.h"
#include "common/model/layer_forward.h"
#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"
#include "common/ops/cpu/sampling.h"

namespace tactus {

// Shapes: T tokens, N target rows, H hidden, V vocabulary, C rows of a chunk of logits.
struct TrainableLm::Impl {
  // One layer's kept activations; with checkpointing all but x_in are shared by the layers and recomputed.
  struct Kept {
    Scratch qkv, attention, gate_up, log_sum_exp, mid, qk_raw, qk_inverse_rms;
  };

  Impl(DecoderLm::Impl& model_impl, TrainableOptions opts)
      : model(model_impl),
        weights(model.weights),
        options(opts),
        gradients(weights.layout.total_numel),
        x_in(weights.layers.size()),
        kept(options.activation_checkpointing ? 1 : weights.layers.size()) {
    scratch.right = ops::PackedMatrix(0, 0, weights.head.type());
  }

  int64_t rows() const { return static_cast<int64_t>(batch.token_ids.size()); }
  int64_t hidden() const { return weights.config.hidden_size; }

  void Prepare(const TrainSequences& from);
  LayerBuffers TrainingBuffers(size_t layer);
  void RunLayers(bool keep);
  void Head(std::span<float> logprobs, std::span<float> entropy);
  float* ChunkLogits(int64_t first, int64_t count);
  void HeadBackward(std::span<const float> dlogprobs);
  void ChunkBackward(std::span<const int32_t> chosen, std::span<const float> dlogprobs, float* dnormed);
  void LayersBackward();

  DecoderLm::Impl& model;
  DecoderWeights& weights;
  const TrainableOptions options;
  ops::Buffer<float> gradients;
  std::optional<BackwardWeights> backward;
  int64_t packed_generation = -1;  // of the weights that `backward` was laid out from

  // The running batch.
  TrainSequences sequences;
  ForwardBatch batch;
  std::vector<std::vector<int32_t>> page_tables;
  std::unique_ptr<KvCache> pages;  // one layer's, reused by every layer
  Scratch stream;                  // [T, H] the residual stream, and in the backward pass its gradient
  std::vector<Scratch> x_in;       // per layer [T, H]
  std::vector<Kept> kept;
  Scratch final_x, final_normed, final_inverse_rms;  // [N, H], [N, H], [N]
  std::vector<ops::TokenLogProb> stats;              // [N]
  Scratch logits, chunk_normed, dnormed, dfinal;
  BackwardScratch scratch;
};

void TrainableLm::Impl::Prepare(const TrainSequences& from) {
  sequences = from;
  batch.token_ids = from.token_ids;
  batch.runs.clear();
  page_tables.clear();
  int32_t next_page = 0;
  for (size_t i = 0; i + 1 < from.sequence_starts.size(); ++i) {
    const int64_t length = from.sequence_starts[i + 1] - from.sequence_starts[i];
    std::vector<int32_t>& table =
        page_tables.emplace_back(static_cast<size_t>((length + kPageTokens - 1) / kPageTokens));
    std::iota(table.begin(), table.end(), next_page);
    next_page += static_cast<int32_t>(table.size());
  }
  for (size_t i = 0; i < page_tables.size(); ++i) {
    batch.runs.push_back({.first_row = from.sequence_starts[i],
                          .num_rows = from.sequence_starts[i + 1] - from.sequence_starts[i],
                          .start_position = 0,
                          .page_table = page_tables[i]});
  }
  if (pages == nullptr || pages->num_pages() < next_page) {
    pages = std::make_unique<KvCache>(weights.config, weights.dtype, /*num_layers=*/1, next_page);
  }
  model.FillPositions(batch.runs, rows());
}

LayerBuffers TrainableLm::Impl::TrainingBuffers(size_t layer) {
  const ModelConfig& config = weights.config;
  Kept& k = kept[options.activation_checkpointing ? 0 : layer];
  LayerBuffers buffers = model.InferenceBuffers(rows());  // for the scratch it shares
  buffers.qkv = k.qkv.Get(rows() * weights.qkv_columns());
  buffers.attention = k.attention.Get(rows() * config.num_heads * config.head_dim);
  buffers.gate_up = k.gate_up.Get(rows() * 2 * config.intermediate_size);
  buffers.log_sum_exp = k.log_sum_exp.Get(rows() * config.num_heads);
  buffers.mid = k.mid.Get(rows() * hidden());
  if (config.qk_norm) {
    const int64_t heads = config.num_heads + config.num_kv_heads;
    buffers.qk_raw = k.qk_raw.Get(rows() * heads * config.head_dim);
    buffers.qk_inverse_rms = k.qk_inverse_rms.Get(rows() * heads);
  }
  return buffers;
}

void TrainableLm::Impl::RunLayers(bool keep) {
  const int64_t h = hidden();
  float* x = stream.Get(rows() * h);
  for (int64_t r = 0; r < rows(); ++r) weights.Embed(batch.token_ids[static_cast<size_t>(r)], x + r * h);
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    if (keep) std::copy_n(x, rows() * h, x_in[layer].Get(rows() * h));
    const LayerBuffers buffers = keep ? TrainingBuffers(layer) : model.InferenceBuffers(rows());
    LayerForward(weights, static_cast<int64_t>(layer), model.positions, batch.runs, pages->layer(0), buffers, x);
  }
  const int64_t targets = static_cast<int64_t>(sequences.target_rows.size());
  float* chosen = final_x.Get(targets * h);
  for (int64_t i = 0; i < targets; ++i) {
    std::copy_n(x + sequences.target_rows[static_cast<size_t>(i)] * h, h, chosen + i * h);
  }
  NormRows(chosen, weights.final_norm, weights.config.rms_norm_eps, targets, final_normed.Get(targets * h),
           final_inverse_rms.Get(targets));
}

// Logits [count, V] of target rows [first, first + count).
float* TrainableLm::Impl::ChunkLogits(int64_t first, int64_t count) {
  const int64_t vocab = weights.config.vocab_size, targets = static_cast<int64_t>(sequences.target_rows.size());
  float* out = logits.Get(std::min<int64_t>(options.logprob_chunk_tokens, targets) * vocab);
  ops::Gemm({final_normed.Get(targets * hidden()) + first * hidden(), hidden()}, count, weights.head, out, vocab,
            /*accumulate=*/false);
  return out;
}

void TrainableLm::Impl::Head(std::span<float> logprobs, std::span<float> entropy) {
  const int64_t targets = static_cast<int64_t>(sequences.target_rows.size());
  stats.resize(static_cast<size_t>(targets));
  for (int64_t first = 0; first < targets; first += options.logprob_chunk_tokens) {
    const int64_t count = std::min<int64_t>(options.logprob_chunk_tokens, targets - first);
    const size_t at = static_cast<size_t>(first), n = static_cast<size_t>(count);
    ops::LogProbRows(ChunkLogits(first, count), weights.config.vocab_size, std::span(sequences.targets).subspan(at, n),
                     options.temperature, std::span(stats).subspan(at, n));
  }
  for (size_t i = 0; i < stats.size(); ++i) {
    logprobs[i] = stats[i].logprob;
    if (!entropy.empty()) entropy[i] = stats[i].entropy;
  }
}

// d loss / d logits of chosen target rows, through the head: into dnormed [count, H] and the head's gradient.
void TrainableLm::Impl::ChunkBackward(std::span<const int32_t> chosen, std::span<const float> dlogprobs,
                                      float* dnormed_rows) {
  const int64_t h = hidden(), vocab = weights.config.vocab_size, count = static_cast<int64_t>(chosen.size());
  const int64_t targets = static_cast<int64_t>(stats.size());
  const float* normed = final_normed.Get(targets * h);
  float* rows_in = chunk_normed.Get(count * h);
  for (int64_t i = 0; i < count; ++i) std::copy_n(normed + chosen[static_cast<size_t>(i)] * h, h, rows_in + i * h);
  float* dlogits = logits.Get(count * vocab);
  ops::Gemm({rows_in, h}, count, weights.head, dlogits, vocab, /*accumulate=*/false);
  const float inverse = 1.0f / options.temperature;
  ops::ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t row = static_cast<size_t>(chosen[static_cast<size_t>(i)]);
      const float g = dlogprobs[row] * inverse;
      // d logp / d logit_j = ([j = target] - softmax_j) / temperature
      ops::ActiveKernels().softmax_scale(dlogits + i * vocab, vocab, stats[row].max, inverse,
                                         static_cast<float>(-g / stats[row].sum));
      dlogits[i * vocab + sequences.targets[row]] += g;
    }
  });
  ops::Gemm({dlogits, vocab}, count, backward->head, dnormed_rows, h, /*accumulate=*/false);
  scratch.right.Resize(count, h);
  scratch.right.PackRows(rows_in, count, 0, h);
  ops::GemmTransposedA(dlogits, vocab, vocab, scratch.right, gradients.data() + weights.head_offset, h);
}

void TrainableLm::Impl::HeadBackward(std::span<const float> dlogprobs) {
  const int64_t h = hidden();
  std::vector<int32_t> chosen;  // rows that carry a gradient: groups of equal rewards carry none
  for (size_t i = 0; i < dlogprobs.size(); ++i) {
    if (dlogprobs[i] != 0.0f) chosen.push_back(static_cast<int32_t>(i));
  }
  const int64_t count = static_cast<int64_t>(chosen.size());
  float* d = dnormed.Get(count * h);
  const size_t chunk = static_cast<size_t>(options.logprob_chunk_tokens);
  for (size_t first = 0; first < chosen.size(); first += chunk) {
    ChunkBackward(std::span(chosen).subspan(first, std::min(chunk, chosen.size() - first)), dlogprobs,
                  d + static_cast<int64_t>(first) * h);
  }
  const float* x = final_x.Get(0);
  const float* inverse_rms = final_inverse_rms.Get(0);
  float* chosen_x = chunk_normed.Get(count * h);
  std::vector<float> chosen_inverse(chosen.size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = chosen[static_cast<size_t>(i)];
    std::copy_n(x + row * h, h, chosen_x + i * h);
    chosen_inverse[static_cast<size_t>(i)] = inverse_rms[row];
  }
  float* dx_rows = dfinal.Get(count * h);
  NormRowsBackward(chosen_x, weights.final_norm, chosen_inverse.data(), d, count, dx_rows, /*accumulate_dx=*/false,
                   gradients.data() + weights.final_norm_offset, scratch.partial);
  float* dx = stream.Get(rows() * h);
  std::fill_n(dx, rows() * h, 0.0f);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = sequences.target_rows[static_cast<size_t>(chosen[static_cast<size_t>(i)])];
    std::copy_n(dx_rows + i * h, h, dx + row * h);
  }
}

void TrainableLm::Impl::LayersBackward() {
  const int64_t h = hidden();
  float* dx = stream.Get(rows() * h);
  for (size_t layer = weights.layers.size(); layer-- > 0;) {
    const LayerBuffers buffers = TrainingBuffers(layer);
    const float* x = x_in[layer].Get(0);
    if (options.activation_checkpointing) {
      float* again = scratch.dnormed.Get(rows() * h);
      std::copy_n(x, rows() * h, again);
      LayerForward(weights, static_cast<int64_t>(layer), model.positions, batch.runs, pages->layer(0), buffers, again);
    }
    LayerBackward(weights, *backward, static_cast<int64_t>(layer), model.positions, sequences.sequence_starts,
                  {.x_in = x, .buffers = buffers}, scratch, dx, gradients.data());
  }
  // Each thread takes columns, so a token that occurs twice is summed in row order by one thread.
  float* dembed = gradients.data() + weights.embed_offset;
  ops::ParallelFor(h, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = 0; r < rows(); ++r) {
      float* row = dembed + batch.token_ids[static_cast<size_t>(r)] * h;
      for (int64_t j = begin; j < end; ++j) row[j] += dx[r * h + j];
    }
  });
}

TrainableLm::TrainableLm(DecoderLm& model, TrainableOptions options)
    : impl_(std::make_unique<Impl>(*model.impl_, options)) {}
TrainableLm::~TrainableLm() = default;

void TrainableLm::Forward(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy) {
  impl_->Prepare(sequences);
  impl_->RunLayers(/*keep=*/true);
  impl_->Head(logprobs, entropy);
}

void TrainableLm::ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy) {
  impl_->Prepare(sequences);
  impl_->RunLayers(/*keep=*/false);
  impl_->Head(logprobs, entropy);
}

void TrainableLm::Backward(std::span<const float> dlogprobs) {
  if (std::ranges::all_of(dlogprobs, [](float d) { return d == 0.0f; })) return;
  if (!impl_->backward.has_value()) impl_->backward.emplace(impl_->weights);
  if (impl_->packed_generation != impl_->weights.generation) {
    impl_->backward->Pack(impl_->weights);
    impl_->packed_generation = impl_->weights.generation;
  }
  impl_->HeadBackward(dlogprobs);
  impl_->LayersBackward();
}

std::span<float> TrainableLm::gradients() {
  return {impl_->gradients.data(), static_cast<size_t>(impl_->gradients.size())};
}
void TrainableLm::ZeroGradients() { std::ranges::fill(gradients(), 0.0f); }

}  // namespace tactus
