// ShardedGradients in the memory of a GPU, without an address for every gradient: there are two windows, of which the
// layers take turns, and a third for the embedding and for a head of its own. The former, written to by a head that is
// the embedding too, is complete last; the latter first.
//
// A window holds the buckets that its part lies in, whole, so that they can be summed in place. What a part has added
// to a bucket which it shares with the part before is carried over into that one's window. While one window's buckets
// are summed the next part is computed in the other.
//
// Owned by the policy's thread; everything is enqueued on the current queue. Throws what the device's library throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/model/decoder_layout.h"
#include "learner/train/sharded_gradients.h"
#include "learner/train/shards.h"

namespace tactus {

class ShardedGradientsCuda : public ShardedGradients {
 public:
  // `buckets` (CutBuckets) outlive this; `parts` are PartsOf.
  ShardedGradientsCuda(int gpu, const std::vector<DecoderPart>& parts, std::span<const FlatRange> buckets,
                       const Sharding& sharding);

  float* At(int64_t place) override;
  absl::Status Begin(Collective& collective) override;
  void Complete(int64_t begin) override;
  void Fold() override;
  absl::Status StartComplete(Collective& collective) override;

  // [NumelOf(OwnedRanges)], end to end.
  const at::Tensor& sums();
  void Zero();  // the sums

 private:
  struct Window {
    at::Tensor floats;
    FlatRange covers;  // of the part it was opened for
    bool under_way = false;
  };
  struct Sum {
    size_t bucket = 0;
    Window* window = nullptr;
  };

  size_t IndexOf(size_t part) const;
  Window& WindowOf(size_t part) { return windows_[IndexOf(part)]; }
  at::Tensor Values(const Window& window, const FlatRange& range) const;
  void Open(size_t part);
  absl::Status EnsureOpen(size_t part, Collective& collective);
  absl::Status CarryOver(size_t part, Collective& collective);

  const int gpu_;
  const std::span<const FlatRange> buckets_;
  const int rank_, world_;
  const bool tied_;                    // the head is the embedding
  std::vector<FlatRange> tiles_;       // of each part what no other part has: together the whole layout
  std::vector<FlatRange> covers_;      // of each part: its buckets
  std::array<int64_t, 3> capacities_;  // of the windows, floats
  const std::vector<int64_t> places_;  // of each bucket's own slice in the sums
  const int64_t owned_;
  at::Tensor sums_;  // made when they are first needed, as the windows are

  std::array<Window, 3> windows_;
  std::vector<bool> open_;  // by part
  size_t complete_from_;    // parts from this one on are complete
  size_t started_from_;     // and the sums of their buckets begun
  size_t next_bucket_ = 0;  // the first whose sum has not begun
  std::vector<Sum> sums_under_way_;
};

}  // namespace tactus
