// A RolloutPort without a network, for unit tests only: calls go straight to a ledger behind a small interface.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/rollout/rollout_port.h"

namespace tactus {

// What the port needs of a learner. Thread-safe; never blocks for long.
class LedgerService {
 public:
  virtual ~LedgerService() = default;
  // ResourceExhausted: nothing is waiting now. FailedPrecondition: `held` is too old.
  virtual absl::StatusOr<std::vector<PromptLease>> TryLease(const std::string& actor_id, int max_leases,
                                                            PolicyVersion held) = 0;
  virtual absl::Status Submit(TrajectoryGroup group) = 0;
  virtual std::optional<PolicyVersion> LatestVersion() const = 0;
  virtual bool RunFinished() const = 0;
};

class InProcessPort final : public RolloutPort {
 public:
  // `service` must outlive the port.
  InProcessPort(LedgerService& service, std::string actor_id) : service_(service), actor_id_(std::move(actor_id)) {}

  absl::StatusOr<std::vector<PromptLease>> Lease(int max_leases, PolicyVersion held, absl::Duration timeout) override {
    const absl::Time deadline = absl::Now() + timeout;
    while (!Closed()) {
      absl::StatusOr<std::vector<PromptLease>> leases = service_.TryLease(actor_id_, max_leases, held);
      if (!absl::IsResourceExhausted(leases.status())) return leases;
      if (service_.RunFinished() || absl::Now() >= deadline) return std::vector<PromptLease>{};
      absl::SleepFor(absl::Milliseconds(1));
    }
    return absl::CancelledError("lease: the port was closed");
  }

  absl::Status Submit(const TrajectoryGroup& group, absl::Duration) override {
    if (Closed()) return absl::CancelledError("submit: the port was closed");
    return service_.Submit(group);
  }

  std::optional<PolicyVersion> LatestVersion() const override { return service_.LatestVersion(); }
  bool Attached() const override { return !Closed(); }
  bool RunFinished() const override { return service_.RunFinished(); }
  void Close() override {
    absl::MutexLock lock(&mu_);
    closed_ = true;
  }

 private:
  bool Closed() const {
    absl::MutexLock lock(&mu_);
    return closed_;
  }

  LedgerService& service_;
  const std::string actor_id_;
  mutable absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace tactus
