// The backward pass of TrainableDecoder, and with trainable_impl.h all its members: for the one file per backend that
// instantiates it.
#pragma once

#include "common/model/trainable_impl.h"
#include "common/model/weighted_targets.h"

namespace tactus {

template <ops::Backend B>
void TrainableDecoder<B>::Impl::HeadBackward(const TargetGradient& gradient, GradientPlaces gradients) {
  const WeightedTargets weighted(gradient, target_rows, targets, stats);
  const int64_t count = static_cast<int64_t>(weighted.rows.size());
  chosen.Clear();
  const int64_t rows_at = chosen.Add(weighted.rows), wanted_at = chosen.Add(weighted.targets);
  const int64_t weighted_at = chosen.Add(weighted.dlogprobs), bonus_at = chosen.Add(weighted.dentropies),
                forward_at = chosen.Add(weighted.stats);
  b.Send(chosen);
  const DecoderParameters<B>& parameters = weights.parameters();
  const int32_t* const stream_rows = chosen.template At<int32_t>(rows_at);
  const auto final_rows = pass.FinalNorm(parameters, stream_rows, count);
  const typename B::Rows dnormed_rows = b.RowsIn(dnormed, count * h);
  for (int64_t first = 0; first < count; first += options.logprob_chunk_tokens) {
    const int64_t n = Chunk(count - first);
    const typename B::ConstRows normed = b.At(final_rows.normed, first * h);
    const float* const dentropies = weighted.dentropies.empty() ? nullptr : chosen.template At<float>(bonus_at) + first;
    const typename B::ConstRows d =
        b.LogProbBackward(pass.Logits(parameters, normed, n), n, vocab, chosen.template At<int32_t>(wanted_at) + first,
                          chosen.template At<ops::TokenLogProb>(forward_at) + first,
                          chosen.template At<float>(weighted_at) + first, dentropies, options.temperature, dlogits);
    b.LinearBackwardInput(d, n, parameters.head, b.At(dnormed_rows, first * h));
    b.LinearBackwardWeight(d, n, vocab, normed, h, gradients(offsets.head));
  }
  float* const dfinal_rows = b.FloatsIn(dfinal, count * h);
  b.NormBackward(final_rows.x, final_rows.norm, final_rows.inverse_rms, dnormed_rows, dfinal_rows,
                 /*accumulate=*/false, gradients(offsets.final_norm));
  float* const dx = pass.stream().x;
  b.Zero(dx, batch.rows() * h);
  b.ScatterRows(dfinal_rows, stream_rows, count, h, dx);
}

template <ops::Backend B>
void TrainableDecoder<B>::Impl::LayerBackward(size_t layer, float* dx, GradientPlaces gradients) {
  const LayerWeights<B>& w = weights.parameters().layers[layer];
  LayerBuffers<B>& buffers = KeptOf(layer);
  const int64_t floats = batch.rows() * h;
  const float* const x = rounds_inputs() ? b.AsFloats(b.RowsIn(x_in[layer], floats), batch.rows(), h, wide)
                                         : b.FloatsIn(x_in[layer], floats);
  float* const mid = b.FloatsIn(buffers.mid, floats);
  if (options.activation_checkpointing) {
    // The stream that runs through the first half ends it as what the MLP read.
    b.Copy(x, floats, mid);
    ops::Stream<B> again{.x = mid};
    pass.layer().ForwardToMlp(w, batch, {.backward = true}, again, buffers);
  }
  pass.layer().Backward(w, offsets.layers[layer], batch, x, mid, buffers, dx, MlpRows(), gradients);
}

template <ops::Backend B>
void TrainableDecoder<B>::Backward(const TargetGradient& gradient, GradientPlaces gradients,
                                   absl::FunctionRef<void(int64_t begin)> finished) {
  if (gradient.zero()) return finished(0);
  const PartUse use = impl_->options.activation_checkpointing ? PartUse::kBoth : PartUse::kBackward;
  const size_t layers = impl_->offsets.layers.size();
  impl_->weights.PrepareBackward();
  impl_->weights.Need(layers + 1, PartUse::kBoth);
  impl_->HeadBackward(gradient, gradients);
  finished(impl_->offsets.final_norm);
  float* const dx = impl_->pass.stream().x;
  for (size_t layer = layers; layer-- > 0;) {
    impl_->weights.Need(layer + 1, use);
    impl_->LayerBackward(layer, dx, gradients);
    finished(impl_->offsets.layers[layer].q);
  }
  impl_->b.EmbedBackward(impl_->batch, dx, impl_->h, gradients(impl_->offsets.embed));
  finished(0);
}

}  // namespace tactus
