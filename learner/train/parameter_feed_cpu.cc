#include "learner/train/parameter_feed_cpu.h"

#include <algorithm>
#include <iterator>

#include "common/base/status_macros.h"
#include "learner/train/bucket_cpu.h"

namespace tactus {
namespace {

bool Overlap(const FlatRange& a, const FlatRange& b) { return a.begin < b.end && b.begin < a.end; }

}  // namespace

ParameterFeedCpu::ParameterFeedCpu(DecoderWeightsCpu& weights, std::span<const FlatRange> buckets,
                                   const Sharding& sharding, Collective& collective, ShardedGradientsCpu* gradients)
    : weights_(weights),
      buckets_(buckets),
      sharding_(sharding),
      collective_(collective),
      gradients_(gradients),
      dtype_(weights.dtype()) {
  weights_.SetFeed(this);
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) Release(bucket);
}

std::vector<size_t> ParameterFeedCpu::BucketsOf(size_t part) const {
  std::vector<size_t> wanted;
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    if (std::ranges::any_of(weights_.parts()[part], [&](const FlatRange& r) { return Overlap(r, buckets_[bucket]); })) {
      wanted.push_back(bucket);
    }
  }
  return wanted;
}

size_t ParameterFeedCpu::BytesOf(size_t bucket) const {
  return static_cast<size_t>(buckets_[bucket].size() * BytesPerElement(dtype_));
}

void ParameterFeedCpu::Release(size_t bucket) {
  const FlatRange& all = buckets_[bucket];
  const FlatRange mine = SliceOf(all, sharding_.world, sharding_.rank);
  weights_.Release({all.begin, mine.begin});
  weights_.Release({mine.end, all.end});
  present_.erase(bucket);
}

absl::Status ParameterFeedCpu::StartPart(size_t part) {
  size_t bytes = 0;
  for (const size_t bucket : BucketsOf(part)) {
    if (present_.contains(bucket)) continue;
    coming_.push_back(bucket);
    bytes += BytesOf(bucket);
  }
  gathered_.resize(bytes);
  std::span<char> rest = gathered_;
  for (const size_t bucket : coming_) {
    RETURN_IF_ERROR(StartGather(weights_.flat(), buckets_[bucket], dtype_, rest.first(BytesOf(bucket)), collective_));
    rest = rest.subspan(BytesOf(bucket));
  }
  return absl::OkStatus();
}

// What was on its way is there.
absl::Status ParameterFeedCpu::Receive() {
  RETURN_IF_ERROR(collective_.Wait());
  if (gradients_ != nullptr) gradients_->Fold();
  std::span<const char> rest = gathered_;
  for (const size_t bucket : coming_) {
    TakeOthers(rest.first(BytesOf(bucket)), buckets_[bucket], dtype_, collective_, weights_.flat());
    rest = rest.subspan(BytesOf(bucket));
    present_.insert(bucket);
  }
  coming_.clear();
  return absl::OkStatus();
}

absl::Status ParameterFeedCpu::Bring(size_t part) {
  RETURN_IF_ERROR(Receive());
  const auto present = [&](size_t bucket) { return present_.contains(bucket); };
  if (std::ranges::all_of(BucketsOf(part), present)) return absl::OkStatus();
  RETURN_IF_ERROR(StartPart(part));  // the first of a pass
  return Receive();
}

// The part is laid out: begins what can go on meanwhile.
absl::Status ParameterFeedCpu::GoOn(size_t part, PartUse use) {
  const size_t last = weights_.parts().size() - 1;
  std::optional<size_t> next;
  if (use == PartUse::kForward && part < last) next = part + 1;
  if (use != PartUse::kForward && part > 1) next = part - 1;  // a backward pass reads no embedding
  std::vector<size_t> wanted = next.has_value() ? BucketsOf(*next) : std::vector<size_t>();
  if (part == 0) std::ranges::copy(BucketsOf(part), std::back_inserter(wanted));  // read where it is
  for (const size_t bucket : std::vector<size_t>(present_.begin(), present_.end())) {
    if (std::ranges::find(wanted, bucket) == wanted.end()) Release(bucket);
  }
  if (gradients_ != nullptr) RETURN_IF_ERROR(gradients_->StartComplete(collective_));
  return next.has_value() ? StartPart(*next) : absl::OkStatus();
}

// After an error a pass still finds matrices of its sizes.
void ParameterFeedCpu::Need(size_t part, PartUse use) {
  if (part_ == part && use_ == use) return;  // the head, from the end of a forward pass
  if (part_.has_value()) weights_.Drop(*part_);
  if (status_.ok()) status_ = Bring(part);
  weights_.LayOut(part, use);
  part_ = part;
  use_ = use;
  if (status_.ok()) status_ = GoOn(part, use);
}

void ParameterFeedCpu::PassForward(bool keep) {
  const size_t last = weights_.parts().size() - 1;
  for (size_t part = 0; part < last; ++part) Need(part, PartUse::kForward);
  Need(last, keep ? PartUse::kBoth : PartUse::kForward);
}

void ParameterFeedCpu::PassBackward(PartUse use, absl::FunctionRef<void(int64_t begin)> finished) {
  const size_t last = weights_.parts().size() - 1;
  for (size_t part = last; part > 0; --part) {
    Need(part, part == last ? PartUse::kBoth : use);
    finished(weights_.parts()[part].back().begin);
  }
  finished(0);
}

absl::Status ParameterFeedCpu::Rest() {
  if (part_.has_value()) weights_.Drop(*part_);
  part_.reset();
  for (const size_t bucket : std::vector<size_t>(present_.begin(), present_.end())) Release(bucket);
  return status_;
}

}  // namespace tactus
