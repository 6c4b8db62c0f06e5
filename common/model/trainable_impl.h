// The members of TrainableDecoder but those of the backward pass (trainable_backward_impl.h).
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "common/model/decoder_layer_backward.h"
#include "common/model/decoder_pass.h"
#include "common/model/trainable.h"

namespace tactus {

template <ops::Backend B>
struct TrainableDecoder<B>::Impl {
  Impl(DecoderWeights<B>& from, TrainableOptions opts)
      : weights(from),
        options(opts),
        pass(from.config(), from.backend()),
        b(pass.backend()),
        h(from.config().hidden_size),
        vocab(from.config().vocab_size),
        offsets(OffsetsOf(from.config(), MakeParameterLayout(from.config()))),
        x_in(offsets.layers.size()),
        kept(opts.activation_checkpointing ? 1 : offsets.layers.size()) {}

  void Load(const TrainSequences& sequences, bool keep);
  void Reserve(bool keep);
  void Run(const TrainSequences& sequences, bool keep, std::span<float> logprobs, std::span<float> entropy);
  void Head(std::span<float> logprobs, std::span<float> entropy);
  void HeadBackward(const TargetGradient& gradient, GradientPlaces gradients);
  void LayerBackward(size_t layer, float* dx, GradientPlaces gradients);

  // Layers that are computed again begin with what they read, in the type of what they compute with.
  bool rounds_inputs() const { return options.activation_checkpointing && b.narrow(); }
  int64_t MlpRowsOf(int64_t rows) const { return rounds_inputs() ? std::min(options.mlp_rows, rows) : rows; }
  // Of an MLP at once; 0: all, and they are kept.
  int64_t MlpRows() const { return options.activation_checkpointing ? MlpRowsOf(batch.rows()) : 0; }
  LayerBuffers<B>& KeptOf(size_t layer) { return kept[options.activation_checkpointing ? 0 : layer]; }
  int64_t Chunk(int64_t rows_left) const { return std::min<int64_t>(options.logprob_chunk_tokens, rows_left); }

  DecoderWeights<B>& weights;
  const TrainableOptions options;
  DecoderPass<B> pass;
  B& b;
  const int64_t h, vocab;
  const DecoderOffsets offsets;

  bool reserved[2] = {};  // for passes that keep nothing, and for those that do

  // The running batch.
  typename B::SequenceBatch batch;
  typename B::Upload upload;
  std::vector<int32_t> target_rows, targets;  // [N]
  int64_t target_rows_at = 0, targets_at = 0;
  std::vector<ops::TokenLogProb> stats;  // [N]

  std::vector<typename B::Buffer> x_in;  // per layer [T, H], float32 or as Rows
  typename B::Buffer wide;               // float32 [T, H]: one of them
  std::vector<LayerBuffers<B>> kept;     // with checkpointing one set, made again for each layer in turn

  typename B::Upload chosen;  // the targets that carry a gradient
  typename B::Buffer stats_buffer, dlogits, dnormed, dfinal;
};

template <ops::Backend B>
void TrainableDecoder<B>::Impl::Load(const TrainSequences& sequences, bool keep) {
  target_rows = sequences.target_rows;
  targets = sequences.targets;
  upload.Clear();
  const ops::PackedLayout layout{.starts = sequences.sequence_starts, .shared = sequences.shared_tokens};
  batch.Add(sequences.token_ids, layout, upload);
  target_rows_at = upload.Add(target_rows);
  targets_at = upload.Add(targets);
  b.Send(upload);
  batch.Bind(upload);
  if (!std::exchange(reserved[keep ? 1 : 0], true) && options.most_rows > 0) Reserve(keep);
  int64_t longest = 0;
  for (const ops::PackedSequence& sequence : ops::SequencesOf(layout)) longest = std::max(longest, sequence.tokens());
  pass.ReachPositions(longest);
}

// All that grows with the rows, but for attention's own.
template <ops::Backend B>
void TrainableDecoder<B>::Impl::Reserve(bool keep) {
  const int64_t rows = std::max(options.most_rows, batch.rows());
  const int64_t mlp_rows = MlpRowsOf(rows);
  pass.Reserve(rows, /*final_rows=*/rows, Chunk(rows));
  if (!keep) return pass.layer().Reserve(rows, mlp_rows, kept[0]);
  b.RowsIn(dnormed, rows * h);
  b.FloatsIn(dfinal, rows * h);
  for (LayerBuffers<B>& buffers : kept) pass.layer().ReserveTraining(rows, mlp_rows, buffers);
  for (typename B::Buffer& buffer : x_in) {
    if (rounds_inputs()) {
      b.RowsIn(buffer, rows * h);
    } else {
      b.FloatsIn(buffer, rows * h);
    }
  }
  if (rounds_inputs()) b.FloatsIn(wide, rows * h);
}

template <ops::Backend B>
void TrainableDecoder<B>::Impl::Run(const TrainSequences& sequences, bool keep, std::span<float> logprobs,
                                    std::span<float> entropy) {
  Load(sequences, keep);
  const int64_t floats = batch.rows() * h;
  const bool keep_mid = keep && !options.activation_checkpointing;
  weights.Need(0, PartUse::kForward);
  pass.Run(weights.parameters(), batch, [&](int64_t layer, typename B::SequenceBatch&) {
    const size_t i = static_cast<size_t>(layer);
    weights.Need(i + 1, PartUse::kForward);
    LayerBuffers<B>& buffers = keep ? KeptOf(i) : kept[0];
    return std::pair(&buffers, typename DecoderLayer<B>::Keep{
                                   .backward = keep,
                                   .x_in = keep && !rounds_inputs() ? b.FloatsIn(x_in[i], floats) : nullptr,
                                   .rounded = keep && rounds_inputs() ? &x_in[i] : nullptr,
                                   .mid = keep_mid ? b.FloatsIn(buffers.mid, floats) : nullptr});
  });
  weights.Need(offsets.layers.size() + 1, keep ? PartUse::kBoth : PartUse::kForward);  // where Backward begins
  Head(logprobs, entropy);
}

template <ops::Backend B>
void TrainableDecoder<B>::Impl::Head(std::span<float> logprobs, std::span<float> entropy) {
  const int64_t count = static_cast<int64_t>(targets.size());
  const auto final_rows = pass.FinalNorm(weights.parameters(), upload.template At<int32_t>(target_rows_at), count);
  const int32_t* const wanted = upload.template At<int32_t>(targets_at);
  ops::TokenLogProb* const out = b.StatsIn(stats_buffer, count);
  for (int64_t first = 0; first < count; first += options.logprob_chunk_tokens) {
    const int64_t rows = Chunk(count - first);
    const float* logits = pass.Logits(weights.parameters(), b.At(final_rows.normed, first * h), rows);
    b.LogProbRows(logits, rows, vocab, wanted + first, options.temperature, out + first);
  }
  const std::span<const ops::TokenLogProb> on_host = b.ToHost(out, count);
  stats.assign(on_host.begin(), on_host.end());
  for (size_t i = 0; i < stats.size(); ++i) {
    logprobs[i] = stats[i].logprob;
    if (!entropy.empty()) entropy[i] = stats[i].entropy;
  }
}

template <ops::Backend B>
TrainableDecoder<B>::TrainableDecoder(DecoderWeights<B>& weights, TrainableOptions options)
    : impl_(std::make_unique<Impl>(weights, options)) {}
template <ops::Backend B>
TrainableDecoder<B>::~TrainableDecoder() = default;

template <ops::Backend B>
void TrainableDecoder<B>::Forward(const TrainSequences& sequences, std::span<float> logprobs,
                                  std::span<float> entropy) {
  impl_->Run(sequences, /*keep=*/true, logprobs, entropy);
}

template <ops::Backend B>
void TrainableDecoder<B>::ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs,
                                      std::span<float> entropy) {
  impl_->Run(sequences, /*keep=*/false, logprobs, entropy);
}

}  // namespace tactus
