// What an actor has of the newest weights, for other actors to fetch: the set it holds, what led there, and what is
// arriving. Readers are given bytes as they come, and nobody's word for them: every reader checks for itself.
//
// Memory: it keeps alive the set that the receiver holds and, while somebody still reads it, the one before; deltas
// of at most half a set. Readers of what is older are ended.
//
// Thread-safe; owns one thread, which tells the service of changes. The first block of methods is for the one thread
// that receives (IncomingWeights).
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/cond_var.h"
#include "common/weights/weight_supply.h"

namespace tactus {

class WeightRelay final : public WeightSupply {
 public:
  // Closes by itself once `*stop` is true: an actor that drains passes nothing on. Null: it is not asked to.
  // ResourceExhausted: there is no thread to be had.
  static absl::StatusOr<std::unique_ptr<WeightRelay>> Start(std::string run_id,
                                                            const std::atomic<bool>* stop = nullptr);
  ~WeightRelay() override;

  // This version, or a newer one, is about to be fetched: readers may wait for it.
  void Expect(PolicyVersion version) ABSL_LOCKS_EXCLUDED(mu_);
  // What `manifest` says begins to arrive in `bytes`, which `keeps` keeps in memory, and how much of it is there.
  void Begin(const WeightManifest& manifest, std::shared_ptr<const void> keeps, absl::string_view bytes)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Advance(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  // What was arriving will not be whole, or is not what it should be.
  void Drop() ABSL_LOCKS_EXCLUDED(mu_);
  // Offers the held set to nobody any more. Once its readers have ended, the caller alone has it.
  void LetGo() ABSL_LOCKS_EXCLUDED(mu_);
  // What was arriving has become this set, whole and verified.
  void Hold(std::shared_ptr<const WeightSnapshot> set) ABSL_LOCKS_EXCLUDED(mu_);
  // There are no bytes here and will be none: readers are refused until Begin.
  void Decline() ABSL_LOCKS_EXCLUDED(mu_);

  // Ends every reader and refuses all further ones, for good. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

  // Exactly the version wished for, whole or as the deltas that came here.
  absl::StatusOr<std::optional<WeightFeed>> FeedFor(const WeightWish& wish) const override ABSL_LOCKS_EXCLUDED(mu_);
  void Watch(std::function<void()> changed) override ABSL_LOCKS_EXCLUDED(watch_mu_);
  const std::string& run_id() const override { return run_id_; }

 private:
  // Deltas from one version to another, as they came.
  struct Leg {
    PolicyVersion from, to;
    std::vector<uint64_t> sizes;
    WeightFeed::Piece piece;
  };
  struct Arriving {
    WeightManifest manifest;
    WeightFeed::Piece piece;
    std::shared_ptr<WeightArrival> arrival;  // the piece's
  };
  struct Held {
    std::shared_ptr<const WeightSnapshot> set;
    std::shared_ptr<WeightArrival> arrival;
  };

  WeightRelay(std::string run_id, const std::atomic<bool>* stop) : run_id_(std::move(run_id)), stop_(stop) {}
  void Run() ABSL_LOCKS_EXCLUDED(mu_, watch_mu_);
  void CloseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Retire() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::optional<PolicyVersion> Newest() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What leads from `from` to `to`, put before what `feed` has already; whether there is such a way.
  bool AddLegs(PolicyVersion from, PolicyVersion to, WeightFeed& feed) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  WeightFeed FeedOfHeld(const WeightWish& wish) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::optional<WeightFeed> FeedOfArriving(const WeightWish& wish) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string run_id_;
  const std::atomic<bool>* const stop_;
  std::thread thread_;

  mutable absl::Mutex mu_;
  CondVar changed_;  // changes_ or ending_
  uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool declined_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<PolicyVersion> expected_ ABSL_GUARDED_BY(mu_);
  std::optional<Arriving> arriving_ ABSL_GUARDED_BY(mu_);
  std::optional<Held> held_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<WeightArrival>> retired_
      ABSL_GUARDED_BY(mu_);                    // of the set before, which some still read
  std::deque<Leg> legs_ ABSL_GUARDED_BY(mu_);  // oldest first, without a gap

  absl::Mutex watch_mu_;  // before mu_; held while the watcher is called
  std::function<void()> watcher_ ABSL_GUARDED_BY(watch_mu_);
};

}  // namespace tactus
