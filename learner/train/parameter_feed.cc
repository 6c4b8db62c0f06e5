#include "learner/train/parameter_feed.h"

#include <algorithm>

#include "common/base/status_macros.h"

namespace tactus {
std::vector<size_t> ParameterFeed::BucketsOf(size_t part) const {
  std::vector<size_t> wanted;
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    if (std::ranges::any_of(parts_[part], [&](const FlatRange& r) { return Overlap(r, buckets_[bucket]); })) {
      wanted.push_back(bucket);
    }
  }
  return wanted;
}

absl::Status ParameterFeed::Arrive() {
  RETURN_IF_ERROR(collective_.Wait());
  if (gradients_ != nullptr) gradients_->Fold();
  Receive();
  return absl::OkStatus();
}

absl::Status ParameterFeed::Bring(size_t part) {
  RETURN_IF_ERROR(Arrive());
  if (Has(part)) return absl::OkStatus();
  RETURN_IF_ERROR(Start(part));  // the first of a pass
  return Arrive();
}

// The part is laid out: begins what can go on meanwhile.
absl::Status ParameterFeed::GoOn(size_t part, PartUse use) {
  std::vector<size_t> wanted;
  if (part == 0) wanted.push_back(part);  // read where it is
  std::optional<size_t> next;
  if (use == PartUse::kForward && part < last()) next = part + 1;
  if (use != PartUse::kForward && part > 1) next = part - 1;  // a backward pass reads no embedding
  if (next.has_value()) wanted.push_back(*next);
  Keep(wanted);
  if (gradients_ != nullptr) RETURN_IF_ERROR(gradients_->StartComplete(collective_));
  return next.has_value() ? Start(*next) : absl::OkStatus();
}

// After an error a pass still finds matrices of its sizes.
void ParameterFeed::Need(size_t part, PartUse use) {
  if (part_ == part && use_ == use) return;  // the head, from the end of a forward pass
  if (part_.has_value()) Drop(*part_);
  if (status_.ok()) status_ = Bring(part);
  LayOut(part, use);
  part_ = part;
  use_ = use;
  if (status_.ok()) status_ = GoOn(part, use);
}

void ParameterFeed::PassForward(bool keep) {
  for (size_t part = 0; part < last(); ++part) Need(part, PartUse::kForward);
  Need(last(), keep ? PartUse::kBoth : PartUse::kForward);
}

void ParameterFeed::PassBackward(PartUse use, absl::FunctionRef<void(int64_t begin)> finished) {
  for (size_t part = last(); part > 0; --part) {
    Need(part, part == last() ? PartUse::kBoth : use);
    finished(parts_[part].back().begin);
  }
  finished(0);
}

absl::Status ParameterFeed::Rest() {
  if (part_.has_value()) Drop(*part_);
  part_.reset();
  Keep({});
  return status_;
}

}  // namespace tactus
