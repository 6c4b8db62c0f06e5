// ParameterFeed in the memory of a GPU: the buckets of a part are gathered in place into one of three slots, and
// products read them there. Layers take turns in two of them; the third is the embedding's and the head's. A bucket
// that is in another slot is copied from there.
//
// Everything is enqueued on the current queue. Throws what the device's library throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/model/cuda/decoder_weights_cuda.h"
#include "learner/train/parameter_feed.h"
#include "learner/train/shards.h"

namespace tactus {

class ParameterFeedCuda : public ParameterFeed {
 public:
  // As ParameterFeed. `owned`: T [NumelOf(OwnedRanges)], this rank's slices end to end, outlives this.
  ParameterFeedCuda(DecoderWeightsCuda& weights, int gpu, const at::Tensor& owned, std::span<const FlatRange> buckets,
                    const Sharding& sharding, Collective& collective, ShardedGradients* gradients);

 private:
  struct Slot {
    at::Tensor values;  // T, made when it is first needed
    std::optional<size_t> part;
    std::vector<size_t> buckets;  // of the part, ascending by place
    bool arrived = false;
  };

  absl::Status Start(size_t part) override;
  void Receive() override;
  bool Has(size_t part) const override;
  void LayOut(size_t part, PartUse use) override;
  void Drop(size_t) override {}
  void Keep(std::span<const size_t> parts) override;

  size_t IndexOf(size_t part) const { return part == 0 || part + 1 == parts_.size() ? 2 : part % 2; }
  int64_t Capacity(size_t slot) const;
  Slot& Take(size_t part);
  at::Tensor Place(const Slot& slot, size_t bucket) const;                 // undefined: it is not there
  at::Tensor FindArrived(size_t bucket) const;                             // in any slot; undefined: in none
  at::Tensor Find(const Slot& slot, int64_t offset, int64_t numel) const;  // of parameters that are

  DecoderWeightsCuda& weights_;
  const int gpu_;
  const at::Tensor& owned_;
  const std::vector<int64_t> owned_places_;
  std::array<Slot, 3> slots_;
};

}  // namespace tactus
