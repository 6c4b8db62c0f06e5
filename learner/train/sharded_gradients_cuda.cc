#include "learner/train/sharded_gradients_cuda.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/device/runtime_cuda.h"

namespace tactus {

ShardedGradientsCuda::ShardedGradientsCuda(int gpu, const std::vector<DecoderPart>& parts,
                                           std::span<const FlatRange> buckets, const Sharding& sharding)
    : gpu_(gpu),
      buckets_(buckets),
      rank_(sharding.rank),
      world_(sharding.world),
      tied_(parts.back().size() > 1),
      capacities_{},
      places_(OwnedPlaces(buckets, sharding.world, sharding.rank)),
      owned_(NumelOf(OwnedRanges(buckets, sharding.world, sharding.rank))),
      open_(parts.size()),
      complete_from_(parts.size()),
      started_from_(parts.size()) {
  for (size_t part = 0; part < parts.size(); ++part) {
    const FlatRange tile = parts[part].back();  // a head that is the embedding comes first there
    FlatRange covers = tile;
    for (const FlatRange& bucket : buckets_) {
      if (Overlap(bucket, tile)) {
        covers = {std::min(covers.begin, bucket.begin), std::max(covers.end, bucket.end)};
      }
    }
    tiles_.push_back(tile);
    covers_.push_back(covers);
    int64_t& capacity = capacities_[IndexOf(part)];
    capacity = std::max(capacity, covers.size());
  }
}

size_t ShardedGradientsCuda::IndexOf(size_t part) const {
  const bool own_head = part + 1 == open_.size() && !tied_;
  return part == 0 || own_head ? 2 : part % 2;
}

const at::Tensor& ShardedGradientsCuda::sums() {
  if (!sums_.defined()) {
    sums_ = device::DeviceEmpty(gpu_, {owned_}, at::kFloat);
    Zero();
  }
  return sums_;
}

void ShardedGradientsCuda::Zero() { device::ZeroAsync(sums().data_ptr(), static_cast<size_t>(sums().nbytes())); }

at::Tensor ShardedGradientsCuda::Values(const Window& window, const FlatRange& range) const {
  return window.floats.narrow(0, range.begin - window.covers.begin, range.size());
}

void ShardedGradientsCuda::Open(size_t part) {
  Window& window = WindowOf(part);
  if (!window.floats.defined()) window.floats = device::DeviceEmpty(gpu_, {capacities_[IndexOf(part)]}, at::kFloat);
  window.covers = covers_[part];
  device::ZeroAsync(window.floats.data_ptr(), static_cast<size_t>(window.covers.size()) * sizeof(float));
  open_[part] = true;
}

float* ShardedGradientsCuda::At(int64_t place) {
  const auto tile = std::ranges::find_if(tiles_, [&](const FlatRange& t) { return t.begin <= place && place < t.end; });
  const size_t part = static_cast<size_t>(tile - tiles_.begin());
  if (!open_[part]) Open(part);
  const Window& window = WindowOf(part);
  return window.floats.data_ptr<float>() + (place - window.covers.begin);
}

absl::Status ShardedGradientsCuda::Begin(Collective& collective) {
  RETURN_IF_ERROR(Finish(collective));
  open_.assign(open_.size(), false);
  complete_from_ = started_from_ = tiles_.size();
  next_bucket_ = 0;
  return absl::OkStatus();
}

void ShardedGradientsCuda::Complete(int64_t begin) {
  while (complete_from_ > 0 && tiles_[complete_from_ - 1].begin >= begin) --complete_from_;
}

void ShardedGradientsCuda::Fold() {
  for (const Sum& sum : sums_under_way_) {
    const FlatRange mine = SliceOf(buckets_[sum.bucket], world_, rank_);
    if (mine.size() > 0) sums().narrow(0, places_[sum.bucket], mine.size()).add_(Values(*sum.window, mine));
    sum.window->under_way = false;
  }
  sums_under_way_.clear();
}

// A rank without work comes to many parts at once, and to windows that are still under way.
absl::Status ShardedGradientsCuda::EnsureOpen(size_t part, Collective& collective) {
  if (open_[part]) return absl::OkStatus();
  if (WindowOf(part).under_way) {
    RETURN_IF_ERROR(collective.Wait());
    Fold();
  }
  Open(part);
  return absl::OkStatus();
}

absl::Status ShardedGradientsCuda::StartComplete(Collective& collective) {
  for (; started_from_ > complete_from_; --started_from_) {
    const size_t part = started_from_ - 1;
    RETURN_IF_ERROR(EnsureOpen(part, collective));
    Window& window = WindowOf(part);
    for (; next_bucket_ < buckets_.size() && buckets_[next_bucket_].begin >= tiles_[part].begin; ++next_bucket_) {
      const FlatRange& bucket = buckets_[next_bucket_];
      float* const values = Values(window, bucket).data_ptr<float>();
      RETURN_IF_ERROR(collective.StartReduceScatterSum({values, static_cast<size_t>(bucket.size())}));
      window.under_way = true;
      sums_under_way_.push_back({next_bucket_, &window});
    }
    RETURN_IF_ERROR(CarryOver(part, collective));
  }
  return absl::OkStatus();
}

// The bucket that the part before, too, adds to.
absl::Status ShardedGradientsCuda::CarryOver(size_t part, Collective& collective) {
  if (next_bucket_ == buckets_.size()) return absl::OkStatus();
  const FlatRange written{tiles_[part].begin, buckets_[next_bucket_].end};
  if (written.size() <= 0) return absl::OkStatus();
  RETURN_IF_ERROR(EnsureOpen(part - 1, collective));
  const at::Tensor from = Values(WindowOf(part), written);
  device::CopyAsync(Values(WindowOf(part - 1), written).data_ptr(), from.const_data_ptr(),
                    static_cast<size_t>(from.nbytes()));
  return absl::OkStatus();
}

}  // namespace tactus
