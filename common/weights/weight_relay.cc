#include "common/weights/weight_relay.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"
#include "common/data/codec.h"

namespace tactus {
namespace {

// How often readers that wait are looked after, and the stop flag: a signal handler sets it and wakes nobody.
constexpr absl::Duration kSlice = absl::Milliseconds(200);
// A reader that heard of a version before this actor did waits so long for its fetch to begin.
constexpr absl::Duration kBeginPatience = absl::Seconds(5);

absl::Status Refused(absl::string_view why) { return absl::UnavailableError(absl::StrCat("this relay ", why)); }

}  // namespace

absl::StatusOr<std::unique_ptr<WeightRelay>> WeightRelay::Start(std::string run_id, const std::atomic<bool>* stop) {
  auto relay = absl::WrapUnique(new WeightRelay(std::move(run_id), stop));
  ASSIGN_OR_RETURN(relay->thread_, StartThread("passing weights on", [self = relay.get()] { self->Run(); }));
  return relay;
}

WeightRelay::~WeightRelay() {
  {
    absl::MutexLock lock(&mu_);
    ending_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void WeightRelay::Run() {
  uint64_t seen = 0;
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (!ending_ && changes_ == seen) changed_.WaitFor(&mu_, kSlice);
      if (ending_) return;
      if (stop_ != nullptr && *stop_) CloseLocked();
      seen = changes_;
    }
    absl::MutexLock watch(&watch_mu_);
    if (watcher_ != nullptr) watcher_();
  }
}

void WeightRelay::Watch(std::function<void()> changed) {
  absl::MutexLock lock(&watch_mu_);
  watcher_ = std::move(changed);
}

void WeightRelay::Changed() {
  ++changes_;
  changed_.SignalAll();
}

void WeightRelay::Expect(PolicyVersion version) {
  absl::MutexLock lock(&mu_);
  expected_ = version;
}

void WeightRelay::Begin(const WeightManifest& manifest, std::shared_ptr<const void> keeps, absl::string_view bytes) {
  absl::MutexLock lock(&mu_);
  for (const std::shared_ptr<WeightArrival>& arrival : retired_) arrival->Withdraw();
  retired_.clear();
  if (arriving_.has_value()) arriving_->arrival->Withdraw();
  if (!manifest.delta.has_value()) Retire();  // its memory is for the new one
  declined_ = false;
  auto arrival = std::make_shared<WeightArrival>();
  if (closed_) arrival->Withdraw();
  arriving_ = Arriving{.manifest = manifest,
                       .piece = {.keeps = std::move(keeps), .bytes = bytes, .arrival = arrival},
                       .arrival = arrival};
  arriving_->manifest.shared.reset();
  Changed();
}

void WeightRelay::Advance(uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  if (!arriving_.has_value()) return;
  arriving_->arrival->Advance(bytes);
  Changed();
}

void WeightRelay::Drop() {
  absl::MutexLock lock(&mu_);
  if (!arriving_.has_value()) return;
  arriving_->arrival->Withdraw();
  arriving_.reset();
  Changed();
}

void WeightRelay::LetGo() {
  absl::MutexLock lock(&mu_);
  Retire();
}

void WeightRelay::Retire() {
  if (!held_.has_value()) return;
  retired_.push_back(std::move(held_->arrival));
  held_.reset();
}

void WeightRelay::Hold(std::shared_ptr<const WeightSnapshot> set) {
  absl::MutexLock lock(&mu_);
  Retire();
  const uint64_t total = set->manifest.total_bytes;
  std::shared_ptr<WeightArrival> arrival;
  if (arriving_.has_value() && arriving_->manifest.delta.has_value()) {
    WeightManifest::Delta& delta = *arriving_->manifest.delta;
    if (!legs_.empty() && legs_.back().to != delta.base) legs_.clear();
    legs_.push_back({.from = delta.base,
                     .to = arriving_->manifest.version,
                     .sizes = std::move(delta.bytes),
                     .piece = std::move(arriving_->piece)});
  } else {
    legs_.clear();
    if (arriving_.has_value()) arrival = arriving_->arrival;  // readers of the set go on
  }
  uint64_t kept = 0;  // a way that is longer than half the set is offered to nobody
  for (const Leg& leg : legs_) kept += leg.piece.bytes.size();
  for (; kept > total / 2; legs_.pop_front()) kept -= legs_.front().piece.bytes.size();
  if (arrival == nullptr) arrival = std::make_shared<WeightArrival>(total);
  if (closed_) arrival->Withdraw();
  held_ = Held{.set = std::move(set), .arrival = std::move(arrival)};
  arriving_.reset();
  Changed();
}

void WeightRelay::Decline() {
  absl::MutexLock lock(&mu_);
  declined_ = true;
  Changed();
}

void WeightRelay::Close() {
  absl::MutexLock lock(&mu_);
  CloseLocked();
}

void WeightRelay::CloseLocked() {
  if (std::exchange(closed_, true)) return;
  for (const std::shared_ptr<WeightArrival>& arrival : retired_) arrival->Withdraw();
  if (arriving_.has_value()) arriving_->arrival->Withdraw();
  if (held_.has_value()) held_->arrival->Withdraw();
  Changed();
}

std::optional<PolicyVersion> WeightRelay::Newest() const {
  std::optional<PolicyVersion> newest;
  if (held_.has_value()) newest = held_->set->manifest.version;
  if (arriving_.has_value()) newest = std::max(newest, std::optional(arriving_->manifest.version));
  return newest;
}

bool WeightRelay::AddLegs(PolicyVersion from, PolicyVersion to, WeightFeed& feed) const {
  if (from == to) return true;
  const auto first = std::ranges::find(legs_, from, &Leg::from);
  if (first == legs_.end() || legs_.back().to != to) return false;
  std::vector<WeightFeed::Piece> pieces;
  std::vector<uint64_t> sizes;
  for (auto leg = first; leg != legs_.end(); ++leg) {
    pieces.push_back(leg->piece);
    sizes.insert(sizes.end(), leg->sizes.begin(), leg->sizes.end());
  }
  if (!feed.manifest.delta.has_value()) feed.manifest.delta.emplace();
  feed.manifest.delta->base = from;
  feed.manifest.delta->bytes.insert(feed.manifest.delta->bytes.begin(), sizes.begin(), sizes.end());
  feed.pieces.insert(feed.pieces.begin(), pieces.begin(), pieces.end());
  return true;
}

WeightFeed WeightRelay::FeedOfHeld(const WeightWish& wish) const {
  WeightFeed feed{.manifest = held_->set->manifest, .pieces = {}};
  const PolicyVersion version = feed.manifest.version;
  if (wish.held.has_value() && *wish.held != version && AddLegs(*wish.held, version, feed)) return feed;
  feed.pieces.push_back({.keeps = held_->set, .bytes = View(*held_->set->bytes), .arrival = held_->arrival});
  return feed;
}

// nullopt: what arrives is of no use to this reader before it is whole.
std::optional<WeightFeed> WeightRelay::FeedOfArriving(const WeightWish& wish) const {
  WeightFeed feed{.manifest = arriving_->manifest, .pieces = {arriving_->piece}};
  if (!feed.manifest.delta.has_value()) return feed;
  if (!wish.held.has_value() || !AddLegs(*wish.held, feed.manifest.delta->base, feed)) return std::nullopt;
  return feed;
}

absl::StatusOr<std::optional<WeightFeed>> WeightRelay::FeedFor(const WeightWish& wish) const {
  absl::MutexLock lock(&mu_);
  if (closed_) return Refused("is stopping");
  if (declined_) return Refused("has its weights from the learner's memory");
  if (held_.has_value() && held_->set->manifest.version == wish.at_least) return FeedOfHeld(wish);
  if (arriving_.has_value() && arriving_->manifest.version == wish.at_least) return FeedOfArriving(wish);
  if (const auto newest = Newest(); newest.has_value() && *newest > wish.at_least) {
    return Refused(absl::StrCat("has version ", VersionName(*newest), ", which is newer"));
  }
  const bool begun = expected_.has_value() && *expected_ >= wish.at_least;
  if (!begun && MonotonicNow() - wish.since > kBeginPatience) {
    return Refused(absl::StrCat("does not fetch version ", VersionName(wish.at_least)));
  }
  return std::optional<WeightFeed>();
}

}  // namespace tactus
