// ParameterFeed in host memory: gathered buckets are decoded into the flat buffer of masters, of which each rank holds
// its own slices, and laid out for the products. What is held beside the share: the masters of the embedding while it
// is looked up, else of no part but for shared buckets; one part laid out; the gathered bytes of the next. A bucket
// that two parts need is gathered once.
#pragma once

#include <cstddef>
#include <set>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/base/dtype.h"
#include "common/collective/collective.h"
#include "common/model/cpu/decoder_weights_cpu.h"
#include "learner/train/parameter_feed.h"
#include "learner/train/shards.h"

namespace tactus {

class ParameterFeedCpu : public ParameterFeed {
 public:
  // As ParameterFeed. Gives back what of the masters is not this rank's.
  ParameterFeedCpu(DecoderWeightsCpu& weights, std::span<const FlatRange> buckets, const Sharding& sharding,
                   Collective& collective, ShardedGradients* gradients);

 private:
  absl::Status Start(size_t part) override;
  void Receive() override;
  bool Has(size_t part) const override;
  void LayOut(size_t part, PartUse use) override { weights_.LayOut(part, use); }
  void Drop(size_t part) override { weights_.Drop(part); }
  void Keep(std::span<const size_t> parts) override;

  size_t BytesOf(size_t bucket) const;
  void Release(size_t bucket);

  DecoderWeightsCpu& weights_;
  const StorageDType dtype_;
  std::set<size_t> present_;    // buckets whose masters are all there
  std::vector<size_t> coming_;  // buckets on their way
  std::vector<char> gathered_;  // of these, end to end
};

}  // namespace tactus
