// A group of several ranks over any CommBackend: order, cutting, waiting, timeouts, abort, and who is to blame.
// See collective.h for what it promises.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/cond_var.h"
#include "common/collective/collective.h"
#include "common/collective/comm_backend.h"
#include "common/collective/hang_watch.h"
#include "common/collective/rank_watch.h"

namespace tactus {

// For a library that does not come back.
struct GroupPatience {
  absl::Duration abort = absl::Seconds(30);  // for the backend's Abort, and for calls under way to return after it
  std::function<void(const std::string&)> end_process = EndProcess;
};

// Of the library's calls Start and Collect are bounded by the timeout, Abort by the patience; where one does not return
// even so, memory of the caller's may be in use by it, and the process ends.
class GroupCollective : public Collective {
 public:
  GroupCollective(const CollectiveOptions& options, std::shared_ptr<CommBackend> backend,
                  std::unique_ptr<RankWatch> watch, const GroupPatience& patience = {});
  ~GroupCollective() override;

  int rank() const override { return options_.rank; }
  int size() const override { return options_.world; }
  using Collective::AllReduceSum;
  absl::Status StartAllReduceSum(std::span<float> values) override;
  absl::Status StartReduceScatterSum(std::span<float> values) override;
  absl::Status StartAllGather(std::span<char> values, size_t element_bytes) override;
  absl::Status Wait() override;
  absl::Status AllReduceSum(std::span<double> values) override;
  absl::Status Broadcast(std::span<char> bytes, int root) override;
  absl::Status Barrier() override;
  void Abort() override;

 private:
  struct Pending {
    const char* name = nullptr;  // as the caller knows it
    int64_t sequence = 0;
    std::string what;  // name, sequence and size
    std::unique_ptr<CommOperation> operation;
  };
  enum class Cause { kNone, kOwner, kError, kHang, kOtherRank };  // that the group is broken
  // Shared with `wake`, which a library may call when this object is gone.
  struct State {
    absl::Mutex mutex;
    CondVar changed;
    bool woken ABSL_GUARDED_BY(mutex) = false;
    Cause broken ABSL_GUARDED_BY(mutex) = Cause::kNone;
    bool backend_ending ABSL_GUARDED_BY(mutex) = false;  // somebody has called the backend's Abort
    bool backend_ended ABSL_GUARDED_BY(mutex) = false;   // and it has returned
  };

  absl::Status StartInPieces(const char* name, CommRequest request, size_t element_bytes);
  absl::Status StartSliced(const char* name, CommRequest request, size_t element_bytes);
  absl::Status EnqueueToken(const char* name);
  absl::Status Enqueue(const char* name, const CommRequest& request);
  absl::Status FinishOldest();
  absl::Status Await(CommOperation& operation);  // until it is done
  absl::Status TimedOut() const;
  HangWatch::Options HangWatchOptions();
  bool Break(Cause cause);  // false: it was broken already
  void EndBackend();        // blocks until it has let go of all memory
  // `failed`: what cannot go on; its operation is not used.
  absl::Status Fail(const Pending& failed, const absl::Status& error);
  absl::Status CheckUsable(const char* name);

  const CollectiveOptions options_;
  const std::shared_ptr<CommBackend> backend_;  // shared with an Abort that hangs
  const CommLimits limits_;
  const GroupPatience patience_;
  const std::shared_ptr<State> state_;
  int64_t sequence_ = 0;         // of the newest operation
  std::deque<Pending> pending_;  // in the order of their start
  float token_ = 0;              // what an operation without values adds up
  bool told_ = false;            // the caller knows why the group is broken
  // The last: their threads use the others.
  HangWatch hang_watch_;
  const std::unique_ptr<RankWatch> watch_;
};

}  // namespace tactus
