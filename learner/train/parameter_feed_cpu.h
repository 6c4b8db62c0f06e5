// Brings a decoder's weights to a pass part by part, where each rank keeps the masters of its own slices alone.
//
// When a pass comes to a part, the part's buckets have been gathered in the storage dtype; they are laid out for the
// products, and those of the part that comes next are on their way while this one is computed with. A bucket that both
// need is gathered once. What is held beside the share: the masters of the embedding while it is looked up, else of no
// part but for shared buckets; one part laid out; the gathered bytes of the next.
//
// Every pass is collective: each rank makes the same calls (PartFeed) in the same order. Owned by the policy's thread.
// The first error of the collective stays, and from then on nothing is brought: the numbers of that pass are of no use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/base/dtype.h"
#include "common/collective/collective.h"
#include "common/model/cpu/decoder_weights_cpu.h"
#include "learner/train/sharded_gradients_cpu.h"
#include "learner/train/shards.h"

namespace tactus {

class ParameterFeedCpu : public PartFeed {
 public:
  // All outlive this; `gradients` are those whose sums begin between two parts, or null. Gives back what of the
  // masters is not this rank's.
  ParameterFeedCpu(DecoderWeightsCpu& weights, std::span<const FlatRange> buckets, const Sharding& sharding,
                   Collective& collective, ShardedGradientsCpu* gradients);

  void Need(size_t part, PartUse use) override;
  // A rank without rows goes through a pass too, or the others would wait. `keep`: Backward follows. `finished` and
  // `use`, of the layers, as TrainableDecoder's.
  void PassForward(bool keep);
  void PassBackward(PartUse use, absl::FunctionRef<void(int64_t begin)> finished);
  // The pass has ended: nothing is laid out. The first error of all so far.
  absl::Status Rest();
  const absl::Status& status() const { return status_; }

 private:
  std::vector<size_t> BucketsOf(size_t part) const;
  absl::Status Bring(size_t part);
  absl::Status GoOn(size_t part, PartUse use);
  absl::Status StartPart(size_t part);
  absl::Status Receive();
  size_t BytesOf(size_t bucket) const;
  void Release(size_t bucket);

  DecoderWeightsCpu& weights_;
  const std::span<const FlatRange> buckets_;
  const Sharding sharding_;
  Collective& collective_;
  ShardedGradientsCpu* const gradients_;
  const StorageDType dtype_;

  absl::Status status_;
  std::optional<size_t> part_;  // laid out
  PartUse use_ = PartUse::kForward;
  std::set<size_t> present_;    // buckets whose masters are all there
  std::vector<size_t> coming_;  // buckets on their way
  std::vector<char> gathered_;  // of these, end to end
};

}  // namespace tactus
