// A finished group's way from bytes into the ledger: decoded and every field checked, judged, appended to the log, put
// into the ledger, and only then acknowledged. So "acknowledged" means "durable", and a group that the ledger would
// refuse never costs a disk write. Answers to held-out prompts go to their board instead: checked as strictly, neither
// logged nor counted with the ledger's, as a round that a crash ends is begun again.
//
// Process and Snapshot exclude each other, so that a snapshot never misses a group that is in a segment before its own;
// each blocks for the disk, without the ledger's mutex. Thread-safe. Starts no thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/log_limiter.h"
#include "common/data/codec.h"
#include "common/metrics/metric_set.h"
#include "learner/ledger/rollout_ledger.h"
#include "learner/ledger/submission_log.h"
#include "learner/rollout/eval_board.h"

namespace tactus {

// A group as it came from an actor.
struct Submission {
  std::string actor_id;    // whose stream it came on
  uint64_t stream_id = 0;  // that stream
  uint64_t sequence = 0;   // the actor's name for it
  std::vector<std::string>
      pieces;              // its bytes, as the messages held them: from there to disk they are not copied again
  absl::Duration arrived;  // its last byte

  SubmissionLog::Payload bytes() const { return {pieces.begin(), pieces.end()}; }
};

class Ingest {
 public:
  // Called once for each submission, in their order, with the ledger's mutex held. OK: durable, also for a repeat.
  // NotFound: the lease expired. InvalidArgument: the group is malformed or answers no lease of this actor.
  // Unavailable: the log cannot be written; nothing has changed, and the actor may send it again.
  using Acknowledge = std::function<void(const Submission& submission, const absl::Status& status)>;

  struct Options {
    TrajectoryLimits limits;
    std::unique_ptr<SubmissionLog> log;  // null: none; an acknowledged group may be lost with the process
    MetricSet* metrics = nullptr;        // null: nobody asks
    Acknowledge acknowledge;
    int evaluation_samples = 0;  // of a held-out prompt, at most; 0: this run leases none
  };

  // `mu` guards `ledger` and `board`; they, and the metrics, outlive it.
  Ingest(Options options, absl::Mutex* mu, RolloutLedger* ledger, EvalBoard* board);

  void Process(const std::vector<Submission>& batch) ABSL_LOCKS_EXCLUDED(mu_);

  // The ledger, with the first segment of the log that it does not contain. Errors of both.
  absl::StatusOr<LedgerSnapshot> Snapshot() ABSL_LOCKS_EXCLUDED(mu_);

  // Puts into a ledger just restored what an earlier process logged from this segment on. What does not fit the limits
  // is left out with a warning. DataLoss: a file cannot be read.
  absl::Status Replay(uint64_t first_segment) ABSL_LOCKS_EXCLUDED(mu_);

  // Lets the log forget the segments before this one.
  absl::Status Truncate(uint64_t first_needed_segment);

  // Tells the analysis of locks that mu_ is the mutex its user holds.
  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK(mu_) { mu_.AssertHeld(); }

  // Of the malformed groups, those with a NaN or an infinity. With the ledger's mutex held.
  int64_t nonfinite_groups() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return nonfinite_groups_; }

 private:
  struct Judged {
    absl::StatusOr<TrajectoryGroup> group;
    bool evaluation = false;  // by the lease that it names
    bool to_log = false;
  };

  Judged Decode(const Submission& submission) const;
  absl::Status Append(const std::vector<SubmissionLog::Payload>& groups);
  absl::Status Submit(Judged item, const absl::Status& durable) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SubmitEvaluation(Judged item, absl::Duration arrived) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  absl::Mutex process_mu_;  // taken before mu_
  absl::Mutex& mu_;
  RolloutLedger& ledger_ ABSL_GUARDED_BY(mu_);
  EvalBoard& board_ ABSL_GUARDED_BY(mu_);
  int64_t nonfinite_groups_ ABSL_GUARDED_BY(mu_) = 0;
  LogLimiter refusals_log_ ABSL_GUARDED_BY(mu_){/*burst=*/100, /*per_second=*/1};
};

}  // namespace tactus
