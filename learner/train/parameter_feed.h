// Brings a decoder's weights to a pass part by part, where each rank keeps those of its own slices alone.
//
// When a pass comes to a part, the part's buckets have been gathered in the storage dtype, and those of the part that
// comes next are on their way while this one is computed with. The order of it all is here; where the numbers lie is
// the backend's (parameter_feed_cpu.h, parameter_feed_cuda.h).
//
// Every pass is collective: each rank makes the same calls (PartFeed) in the same order. Owned by the policy's thread.
// The first error of the collective stays, and from then on nothing is brought: the numbers of that pass are of no use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/model/decoder_layout.h"
#include "common/model/decoder_parameters.h"
#include "learner/train/sharded_gradients.h"
#include "learner/train/shards.h"

namespace tactus {

class ParameterFeed : public PartFeed {
 public:
  void Need(size_t part, PartUse use) override;
  // A rank without rows goes through a pass too, or the others would wait. `keep`: Backward follows. `finished` and
  // `use`, of the layers, as TrainableDecoder's.
  void PassForward(bool keep);
  void PassBackward(PartUse use, absl::FunctionRef<void(int64_t begin)> finished);
  // The pass has ended: nothing is laid out. The first error of all so far.
  absl::Status Rest();
  const absl::Status& status() const { return status_; }

 protected:
  // All outlive this; `gradients` are those whose sums begin between two parts, or null.
  ParameterFeed(const std::vector<DecoderPart>& parts, std::span<const FlatRange> buckets, const Sharding& sharding,
                Collective& collective, ShardedGradients* gradients)
      : parts_(parts), buckets_(buckets), sharding_(sharding), collective_(collective), gradients_(gradients) {}

  // Begins to gather what of the part is not there.
  virtual absl::Status Start(size_t part) = 0;
  // What was begun has come.
  virtual void Receive() = 0;
  virtual bool Has(size_t part) const = 0;  // all of it
  // The decoder finds the part, or may take it away.
  virtual void LayOut(size_t part, PartUse use) = 0;
  virtual void Drop(size_t part) = 0;
  // What none of these parts reads may go.
  virtual void Keep(std::span<const size_t> parts) = 0;

  std::vector<size_t> BucketsOf(size_t part) const;  // ascending by number, so falling by place

  const std::vector<DecoderPart>& parts_;
  const std::span<const FlatRange> buckets_;
  const Sharding sharding_;
  Collective& collective_;

 private:
  size_t last() const { return parts_.size() - 1; }
  absl::Status Arrive();
  absl::Status Bring(size_t part);
  absl::Status GoOn(size_t part, PartUse use);

  ShardedGradients* const gradients_;
  absl::Status status_;
  std::optional<size_t> part_;  // laid out
  PartUse use_ = PartUse::kForward;
};

}  // namespace tactus
