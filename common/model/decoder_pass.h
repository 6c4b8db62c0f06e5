// What every pass through a decoder shares: the stream from the embedding through all layers, and the head's logits of
// chosen rows. Internal to common/model: Decoder and TrainableDecoder are its two users.
#pragma once

#include <cstdint>
#include <utility>

#include "common/model/decoder_layer.h"
#include "common/model/decoder_layout.h"
#include "common/model/decoder_parameters.h"

namespace tactus {

template <ops::Backend B>
class DecoderPass {
 public:
  DecoderPass(const ModelConfig& config, B backend)
      : config_(config), b_(std::move(backend)), rope_(config), layer_(b_, config) {}
  DecoderPass(const DecoderPass&) = delete;
  DecoderPass& operator=(const DecoderPass&) = delete;

  const ModelConfig& config() const { return config_; }
  B& backend() { return b_; }
  DecoderLayer<B>& layer() { return layer_; }

  // Rotary tables that reach positions below `positions`. Waits when they grow.
  void ReachPositions(int64_t positions) {
    if (positions <= reached_) return;
    rope_.Extend(positions);
    reached_ = rope_.positions();
    cosines_ = b_.Keep(rope_.cosines(), cosine_buffer_);
    sines_ = b_.Keep(rope_.sines(), sine_buffer_);
  }

  // Embeds the batch's tokens and runs all layers; stream() is then their output, maybe with a part pending.
  // at_layer(layer, batch) runs before each and gives {LayerBuffers<B>&, DecoderLayer<B>::Keep}.
  template <typename Batch, typename AtLayer>
  void Run(const DecoderParameters<B>& parameters, Batch& batch, AtLayer at_layer) {
    const int64_t rows = batch.rows(), h = config_.hidden_size;
    batch.rotary.cosines = cosines_;
    batch.rotary.sines = sines_;
    rows_ = rows;
    stream_ = {.x = b_.FloatsIn(stream_buffer_, rows * h)};
    b_.Embed(batch.tokens(), rows, parameters.embed, h, stream_.x);
    for (int64_t i = 0; i < config_.num_layers; ++i) {
      const LayerWeights<B>& w = parameters.layers[static_cast<size_t>(i)];
      const auto [buffers, keep] = at_layer(i, batch);
      layer_.Forward(w, batch, keep, stream_, *buffers);
    }
  }

  ops::Stream<B>& stream() { return stream_; }  // [R, H]

  // Rows of the stream under the final norm.
  struct FinalRows {
    const float* x = nullptr;                // float32 [C, H]
    typename B::ConstRows normed = nullptr;  // [C, H]
    const float* inverse_rms = nullptr;      // [C]
    ops::NormShape norm;
  };
  // Of the `count` rows that `rows` names; null: of all. Good until the next call.
  FinalRows FinalNorm(const DecoderParameters<B>& parameters, const int32_t* rows, int64_t count) {
    const int64_t h = config_.hidden_size;
    FinalRows out;
    out.norm = {
        .rows = count, .width = h, .weight = parameters.final_norm, .eps = static_cast<float>(config_.rms_norm_eps)};
    const typename B::Rows normed = b_.RowsIn(normed_, count * h);
    float* const inverse = b_.FloatsIn(inverse_, count);
    if (rows == nullptr) {
      b_.Norm(stream_, out.norm, normed, inverse);
      out.x = stream_.x;
    } else {
      b_.Settle(stream_, rows_, h);
      float* const chosen = b_.FloatsIn(chosen_, count * h);
      b_.GatherRows(stream_.x, rows, count, h, chosen);
      b_.NormRows(chosen, out.norm, normed, inverse);
      out.x = chosen;
    }
    out.normed = normed;
    out.inverse_rms = inverse;
    return out;
  }

  // Logits float32 [count, V] of normed rows. Good until the next call.
  float* Logits(const DecoderParameters<B>& parameters, typename B::ConstRows normed, int64_t count) {
    float* const logits = b_.FloatsIn(logits_, count * config_.vocab_size);
    b_.LinearToFloats(normed, count, parameters.head, logits);
    return logits;
  }

  // Room for steps of `rows` rows, of which the final norm takes `final_rows`, and for the logits of `logit_rows` at
  // once.
  void Reserve(int64_t rows, int64_t final_rows, int64_t logit_rows) {
    const int64_t h = config_.hidden_size;
    b_.FloatsIn(stream_buffer_, rows * h);
    b_.RowsIn(normed_, final_rows * h);
    b_.FloatsIn(inverse_, final_rows);
    b_.FloatsIn(chosen_, final_rows * h);
    b_.FloatsIn(logits_, logit_rows * config_.vocab_size);
  }

 private:
  const ModelConfig config_;
  B b_;
  RopeTables rope_;
  int64_t reached_ = 0;
  const float *cosines_ = nullptr, *sines_ = nullptr;
  typename B::Buffer cosine_buffer_, sine_buffer_;
  DecoderLayer<B> layer_;
  ops::Stream<B> stream_;
  int64_t rows_ = 0;
  typename B::Buffer stream_buffer_, chosen_, normed_, inverse_, logits_;
};

}  // namespace tactus
