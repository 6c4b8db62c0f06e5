// A learner for tests of the actor's loop: leases, and what was submitted. Thread-safe by its own mutex.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/rollout/rollout_port.h"

namespace tactus {

inline constexpr int64_t kVocab = 50;
inline constexpr int kCompletions = 3;
inline constexpr int kMaxTokens = 12;
inline constexpr PolicyVersion kFirst{1, 0};
inline constexpr PolicyVersion kSecond{1, 1};

inline PromptLease MakeLease(uint64_t lease_id) {
  PromptLease lease;
  lease.lease_id = lease_id;
  lease.prompt.id = lease_id * 5;
  for (uint64_t i = 0; i < 3 + lease_id % 20; ++i) lease.prompt.token_ids.push_back((lease_id + i) % kVocab);
  lease.prompt.answer_key_json = absl::StrCat("{\"key\":", lease_id, "}");
  lease.completions_wanted = kCompletions;
  lease.seed = 77;
  lease.timeout_s = 60;
  return lease;
}

// A learner without a learner: gives out leases 1 … n, then says that the run is finished once all are answered.
class FakePort : public RolloutPort {
 public:
  explicit FakePort(int leases) {
    for (int i = 1; i <= leases; ++i) waiting.push_back(MakeLease(i));
  }

  absl::StatusOr<std::vector<PromptLease>> Lease(int max_leases, PolicyVersion held, absl::Duration timeout) override {
    absl::MutexLock lock(&mutex);
    if (closed) return absl::CancelledError("closed");
    if (!lease_error.ok()) return lease_error;
    if (held < required) return absl::FailedPreconditionError("held version is too old");
    EXPECT_GE(max_leases, 1);
    const auto ready = [this] { return closed || !waiting.empty(); };
    mutex.AwaitWithTimeout(absl::Condition(&ready), std::min(timeout, absl::Milliseconds(20)));
    std::vector<PromptLease> out;
    for (; !waiting.empty() && static_cast<int>(out.size()) < max_leases; waiting.pop_front()) {
      out.push_back(waiting.front());
    }
    open += static_cast<int>(out.size());
    max_open = std::max(max_open, open);
    return out;
  }

  absl::Status Submit(const TrajectoryGroup& group, absl::Duration) override {
    absl::MutexLock lock(&mutex);
    if (closed) return absl::CancelledError("closed");
    if (!submit_errors.empty()) {
      absl::Status status = submit_errors.front();
      submit_errors.pop_front();
      if (!absl::IsUnavailable(status)) --open;
      return status;
    }
    --open;
    groups[group.lease_id] = group;
    if (after_submit) after_submit(group);
    return absl::OkStatus();
  }

  std::vector<uint64_t> Renew(std::span<const uint64_t> lease_ids) override {
    absl::MutexLock lock(&mutex);
    std::vector<uint64_t> over;
    for (const uint64_t id : lease_ids) {
      ++renewals[id];
      if (ended.count(id) > 0) over.push_back(id);
    }
    open -= static_cast<int>(over.size());
    return over;
  }

  absl::StatusOr<std::optional<PolicyVersion>> AwaitVersion(std::optional<PolicyVersion>, absl::Duration) override {
    return kFirst;
  }
  bool Attached() const override {
    absl::MutexLock lock(&mutex);
    return attached;
  }
  bool RunFinished() const override {
    absl::MutexLock lock(&mutex);
    return finish_when_empty && waiting.empty() && open == 0;
  }
  void Close() override {
    absl::MutexLock lock(&mutex);
    closed = true;
  }

  mutable absl::Mutex mutex;
  std::deque<PromptLease> waiting;
  std::deque<absl::Status> submit_errors;
  absl::Status lease_error;
  PolicyVersion required;
  std::map<uint64_t, TrajectoryGroup> groups;
  std::function<void(const TrajectoryGroup&)> after_submit;
  std::map<uint64_t, int> renewals;  // by lease id
  std::set<uint64_t> ended;          // leases that nobody wants an answer to any more
  bool finish_when_empty = true;
  bool closed = false;
  bool attached = true;
  int open = 0, max_open = 0;
};

}  // namespace tactus
