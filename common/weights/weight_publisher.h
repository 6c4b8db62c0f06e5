// The newest weights of the policy, ready to be sent: in the wire's type, hashed once, shared by every
// reader. Readers of an older set keep it alive until they end, so at most one set per unfinished fetch exists.
// Of bfloat16 sets, what changed from one version to the next is kept too, for readers that have an older one.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/base/dtype.h"
#include "common/data/types.h"
#include "common/model/folder/model_config.h"
#include "common/weights/weight_supply.h"

namespace tactus {

// What turns one published set into the next (delta/delta_set.h), immutable.
struct WeightDelta {
  PolicyVersion from, to;
  std::string bytes;
};

// What a reader is to be sent: the newest set, or the deltas that lead from the reader's to it.
struct WeightOffer {
  std::shared_ptr<const WeightSnapshot> snapshot;          // nullptr before the first Publish
  std::vector<std::shared_ptr<const WeightDelta>> deltas;  // empty: the set itself
};

// The tensors of `flat` [layout.total_numel] end to end in the layout's order, rounded to `dtype`, little-endian.
// `room` is memory to put them in: that of an earlier set of this size saves the kernel's work for a new one.
std::vector<char> EncodeWeights(const ParameterLayout& layout, std::span<const float> flat, StorageDType dtype,
                                std::vector<char> room = {});

// Thread-safe. Publish blocks its caller for the hashing of the whole set and its comparison with the last one, on
// threads of its own that end with it: the process's intra-op threads may be training meanwhile. It never blocks a
// reader.
class WeightPublisher final : public WeightSupply {
 public:
  // Keeps the deltas of the last `max_deltas` versions; 0: none. Works with `threads`, the caller's included.
  explicit WeightPublisher(std::string run_id, int max_deltas = 0, int threads = 1)
      : run_id_(std::move(run_id)), max_deltas_(static_cast<size_t>(max_deltas)), threads_(threads) {}

  // Makes `bytes`, to be sampled with `head_classes`, the newest set; `shared` is where
  // actors on this machine's GPUs find the same. FailedPrecondition: the version is not above the last one.
  // InvalidArgument: wrong size, or a tensor holds NaN or infinity; the last set
  // stays the newest.
  absl::Status Publish(PolicyVersion version, const ParameterLayout& layout, WeightBytes bytes, StorageDType dtype,
                       std::optional<HeadClasses> head_classes = std::nullopt,
                       std::optional<SharedWeights> shared = std::nullopt) ABSL_LOCKS_EXCLUDED(mu_);

  // nullptr before the first Publish.
  std::shared_ptr<const WeightSnapshot> Newest() const ABSL_LOCKS_EXCLUDED(mu_);
  // The newest set, as deltas where the reader holds a version they begin at and together they are at most half as
  // large.
  WeightOffer OfferTo(std::optional<PolicyVersion> held) const ABSL_LOCKS_EXCLUDED(mu_);

  // Of what leads from the version before to the newest; 0: readers of that version are sent the whole set.
  uint64_t NewestDeltaBytes() const ABSL_LOCKS_EXCLUDED(mu_);

  // What OfferTo says, for a service. Unavailable: nothing as new as the wish is published.
  absl::StatusOr<std::optional<WeightFeed>> FeedFor(const WeightWish& wish) const override ABSL_LOCKS_EXCLUDED(mu_);
  void Watch(std::function<void()>) override {}
  const std::string& run_id() const override { return run_id_; }

 private:
  const std::string run_id_;
  const size_t max_deltas_;
  const int threads_;
  mutable absl::Mutex mu_;
  std::shared_ptr<const WeightSnapshot> newest_ ABSL_GUARDED_BY(mu_);
  std::deque<std::shared_ptr<const WeightDelta>> deltas_ ABSL_GUARDED_BY(mu_);  // oldest first, without a gap
};

}  // namespace tactus
