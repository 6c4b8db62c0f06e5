// The members of Decoder, for the one file per backend that instantiates it.
#pragma once

#include <algorithm>
#include <utility>

#include "common/model/decoder.h"
#include "common/model/decoder_pass.h"

namespace tactus {

template <ops::Backend B>
struct Decoder<B>::Impl {
  Impl(const ModelConfig& config, B backend, typename B::KvCache pages)
      : pass(config, std::move(backend)), cache(std::move(pages)) {}

  // Where the heads of `layer` begin among those that are measured; -1: it is none of them.
  int64_t FirstHead(const ops::AttentionProbe* probe, int64_t layer) const {
    if (probe == nullptr) return -1;
    const auto found = std::ranges::lower_bound(probe->layers, layer);
    if (found == probe->layers.end() || *found != layer) return -1;
    return (found - probe->layers.begin()) * pass.config().num_heads;
  }

  DecoderPass<B> pass;
  typename B::KvCache cache;
  LayerBuffers<B> buffers;  // of every layer, one after the other
};

template <ops::Backend B>
Decoder<B>::Decoder(const ModelConfig& config, B backend, typename B::KvCache cache)
    : impl_(std::make_unique<Impl>(config, std::move(backend), std::move(cache))) {}
template <ops::Backend B>
Decoder<B>::~Decoder() = default;

template <ops::Backend B>
bool Decoder<B>::Reserve(const DecoderRoom& room) {
  B& backend = impl_->pass.backend();
  const int64_t moves = backend.memory_moves();
  impl_->pass.Reserve(room.rows, room.logit_rows, room.logit_rows);
  impl_->pass.ReachPositions(room.positions);
  impl_->pass.layer().Reserve(room.rows, room.rows, impl_->buffers);
  backend.ReservePaged(AttentionShapeOf(config()), room.rows, room.decode_rows, room.table_pages,
                       impl_->buffers.attention);
  return backend.memory_moves() != moves;
}

template <ops::Backend B>
void Decoder<B>::Forward(const DecoderParameters<B>& parameters, typename B::PagedBatch batch, int64_t positions) {
  impl_->pass.ReachPositions(positions);
  impl_->pass.Run(parameters, batch, [&](int64_t layer, typename B::PagedBatch& step) {
    step.AtLayer(impl_->cache.layer(layer), impl_->FirstHead(step.probe, layer));
    return std::pair(&impl_->buffers, typename DecoderLayer<B>::Keep());
  });
}

template <ops::Backend B>
const float* Decoder<B>::Logits(const DecoderParameters<B>& parameters, const int32_t* rows, int64_t count) {
  return impl_->pass.Logits(parameters, impl_->pass.FinalNorm(parameters, rows, count).normed, count);
}

template <ops::Backend B>
typename B::KvCache& Decoder<B>::cache() {
  return impl_->cache;
}
template <ops::Backend B>
const typename B::KvCache& Decoder<B>::cache() const {
  return impl_->cache;
}
template <ops::Backend B>
const ModelConfig& Decoder<B>::config() const {
  return impl_->pass.config();
}

}  // namespace tactus
