#include "learner/train/parameter_feed_cuda.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/device/runtime_cuda.h"
#include "learner/train/bucket_cuda.h"

namespace tactus {
ParameterFeedCuda::ParameterFeedCuda(DecoderWeightsCuda& weights, int gpu, const at::Tensor& owned,
                                     std::span<const FlatRange> buckets, const Sharding& sharding,
                                     Collective& collective, ShardedGradients* gradients)
    : ParameterFeed(weights.parts(), buckets, sharding, collective, gradients),
      weights_(weights),
      gpu_(gpu),
      owned_(owned),
      owned_places_(OwnedPlaces(buckets, sharding.world, sharding.rank)) {
  weights_.SetFeed(this);
}

// The largest of the parts that take turns in it, in elements.
int64_t ParameterFeedCuda::Capacity(size_t slot) const {
  int64_t most = 0;
  for (size_t part = 0; part < parts_.size(); ++part) {
    if (IndexOf(part) != slot) continue;
    int64_t numel = 0;
    for (const size_t bucket : BucketsOf(part)) numel += buckets_[bucket].size();
    most = std::max(most, numel);
  }
  return most;
}

at::Tensor ParameterFeedCuda::Place(const Slot& slot, size_t bucket) const {
  int64_t place = 0;
  for (const size_t before : slot.buckets) {
    if (before == bucket) return slot.values.narrow(0, place, buckets_[bucket].size());
    place += buckets_[before].size();
  }
  return {};
}

// The parameters' buckets are neighbours, in the slot as in the layout.
at::Tensor ParameterFeedCuda::Find(const Slot& slot, int64_t offset, int64_t numel) const {
  int64_t place = 0;
  for (const size_t bucket : slot.buckets) {
    const FlatRange& range = buckets_[bucket];
    if (offset < range.end) return slot.values.narrow(0, place + offset - range.begin, numel);
    place += range.size();
  }
  return {};
}

at::Tensor ParameterFeedCuda::FindArrived(size_t bucket) const {
  for (const Slot& slot : slots_) {
    at::Tensor found = slot.part.has_value() && slot.arrived ? Place(slot, bucket) : at::Tensor();
    if (found.defined()) return found;
  }
  return {};
}

// Makes the part's slot the part's.
ParameterFeedCuda::Slot& ParameterFeedCuda::Take(size_t part) {
  const size_t index = IndexOf(part);
  Slot& slot = slots_[index];
  if (!slot.values.defined()) slot.values = device::DeviceEmpty(gpu_, {Capacity(index)}, owned_.scalar_type());
  slot.part = part;
  slot.arrived = false;
  slot.buckets = BucketsOf(part);
  std::ranges::reverse(slot.buckets);
  return slot;
}

// The last layer is still there when a backward pass comes to it.
absl::Status ParameterFeedCuda::Start(size_t part) {
  if (Has(part)) return absl::OkStatus();
  const Slot& slot = Take(part);
  for (const size_t bucket : slot.buckets) {
    const at::Tensor to = Place(slot, bucket);
    const at::Tensor there = FindArrived(bucket);
    if (there.defined()) {
      device::CopyAsync(to.data_ptr(), there.const_data_ptr(), static_cast<size_t>(there.nbytes()));
      continue;
    }
    RETURN_IF_ERROR(StartGather(owned_, owned_places_[bucket], buckets_[bucket], to, collective_));
  }
  return absl::OkStatus();
}

void ParameterFeedCuda::Receive() {
  for (Slot& slot : slots_) slot.arrived = slot.part.has_value();
}

bool ParameterFeedCuda::Has(size_t part) const {
  const Slot& slot = slots_[IndexOf(part)];
  return slot.part == part && slot.arrived;
}

// After an error what is laid out is of no use, but of the right size.
void ParameterFeedCuda::LayOut(size_t part, PartUse) {
  const Slot& slot = Has(part) ? slots_[IndexOf(part)] : Take(part);
  weights_.LayOut(part, [&](int64_t offset, int64_t numel) { return Find(slot, offset, numel); });
}

void ParameterFeedCuda::Keep(std::span<const size_t> parts) {
  if (!parts.empty()) return;  // slots are written over as the next part needs them
  for (Slot& slot : slots_) slot.part.reset();
}

}  // namespace tactus
