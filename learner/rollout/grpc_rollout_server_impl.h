// State and threads of RolloutServer; see grpc_rollout_server.h. For its two .cc files only.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/cond_var.h"
#include "common/base/log_limiter.h"
#include "learner/ledger/rollout_ledger.h"
#include "learner/ledger/submission_log.h"
#include "learner/rollout/actor_table.h"
#include "learner/rollout/eval_board.h"
#include "learner/rollout/grpc_rollout_server.h"
#include "learner/rollout/grpc_rollout_stream.h"
#include "learner/rollout/ingest.h"
#include "learner/rollout/ledger_metrics.h"
#include "learner/rollout/relay_tree.h"
#include "proto/rollout_service.grpc.pb.h"

namespace tactus {

class RolloutServer::Impl final : public RolloutStreamOwner, public wire::RolloutService::CallbackService {
 public:
  Impl(const RolloutServerOptions& options, std::unique_ptr<SubmissionLog> log);
  ~Impl() override;

  absl::Status Restore(RolloutRestore restore);
  absl::Status Serve();
  // Ends all streams, with the news that the run is over or as broken ones. Only the first call does anything.
  void Stop(bool run_finished);

  // RolloutServer's methods of the same names.
  absl::Status AddPrompts(std::vector<Prompt> prompts);
  absl::StatusOr<std::vector<TrajectoryGroup>> TakeGroups(int wanted, int least, absl::Duration timeout);
  absl::Status PutBack(std::vector<TrajectoryGroup> groups) {
    absl::MutexLock lock(&mu_);
    return ledger_.PutBack(std::move(groups));
  }
  std::vector<PromptOutcome> TakeLeftOut() {
    absl::MutexLock lock(&mu_);
    return ledger_.TakeLeftOut();
  }
  absl::Status Release(int count);
  absl::Status SetTrained(PolicyVersion version) {
    absl::MutexLock lock(&mu_);
    return ledger_.SetTrained(version);
  }
  absl::Status SetVersion(PolicyVersion version, const std::string& manifest_digest);
  absl::Status BeginEvaluation(EvalRound round);
  bool AwaitEvaluation(absl::Duration timeout);
  void GiveUpEvaluation(const std::string& why, bool for_good);
  std::optional<EvalResult> TakeEvaluation() {
    absl::MutexLock lock(&mu_);
    return board_.TakeResult();
  }
  absl::StatusOr<LedgerSnapshot> Snapshot() { return ingest_.Snapshot(); }
  absl::Status TruncateLog(uint64_t first_needed_segment) { return ingest_.Truncate(first_needed_segment); }
  int AttachedActors() const {
    absl::MutexLock lock(&mu_);
    return actors_.attached();
  }
  int port() const { return port_; }
  int64_t violations() const {
    absl::MutexLock lock(&mu_);
    return violations_;
  }
  // Reads something of the ledger.
  template <typename Read>
  auto With(Read read) const {
    absl::MutexLock lock(&mu_);
    return read(ledger_);
  }

  grpc::ServerBidiReactor<wire::ActorMessage, wire::LearnerMessage>* Attach(
      grpc::CallbackServerContext* context) override;

  absl::Mutex& mu() override { return mu_; }
  absl::Status OnHello(RolloutStream& stream, const wire::Hello& hello) override;
  absl::Status OnLeaseRequest(RolloutStream& stream, const wire::LeaseRequest& request) override;
  void OnHeartbeat(RolloutStream& stream, const wire::Heartbeat& heartbeat) override;
  void OnGroup(RolloutStream& stream, uint64_t sequence, std::vector<std::string> pieces) override;
  void OnViolation(RolloutStream& stream, const absl::Status& status) override;
  void OnClosed(RolloutStream& stream) override;

 private:
  // On the monotonic clock, as all times here.
  static absl::Duration Now() { return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()); }
  void RunIngest();
  void Acknowledge(const Submission& submission, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Tick(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Answers the lease requests that can be answered, oldest first.
  void PumpLeases(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Reply(const LeaseRequest& request, const absl::StatusOr<std::vector<PromptLease>>& leases)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckHello(const wire::Hello& hello) const;
  // The way of an actor to the published version, as all are attached now.
  wire::WeightPath PathOf(const std::string& actor_id, const RelayTree& tree) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  RelayTree Relays() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What a request is answered with: held-out prompts first, of which an actor takes as many as have the answers of
  // `most` prompts to train on. ResourceExhausted: nothing yet.
  absl::StatusOr<std::vector<PromptLease>> Grant(const LeaseRequest& request, int most, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of these leases the actor works on, those that are not its any more.
  std::vector<uint64_t> Renew(const std::string& actor_id, const std::vector<uint64_t>& lease_ids, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // At most how many leases more the actor of a request may have; nullopt: it has too many, and was ended for it.
  std::optional<int> LeasesLeft(const LeaseRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountRefused(absl::string_view reason) const;
  void RefuseRole(absl::string_view why) ABSL_LOCKS_EXCLUDED(mu_);
  std::string WaitSentence(int count, absl::Duration since) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  RolloutStream* FindStream(uint64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const RolloutServerOptions options_;
  const size_t max_group_bytes_;
  const int leases_per_reply_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::thread ingest_thread_;

  absl::Mutex finish_mu_;  // one Stop at a time; taken before all others

  mutable absl::Mutex mu_;
  CondVar changed_;  // ledger, submissions, streams or finishing
  RolloutLedger ledger_ ABSL_GUARDED_BY(mu_);
  EvalBoard board_ ABSL_GUARDED_BY(mu_);
  bool evaluations_ended_ ABSL_GUARDED_BY(mu_) = false;
  LedgerMetrics ledger_metrics_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, RolloutStream*> streams_ ABSL_GUARDED_BY(mu_);
  ActorTable actors_ ABSL_GUARDED_BY(mu_);
  std::string manifest_digest_ ABSL_GUARDED_BY(mu_);          // of the published version, once it is known
  std::vector<Submission> submissions_ ABSL_GUARDED_BY(mu_);  // bounded by the streams' credits
  uint64_t next_stream_id_ ABSL_GUARDED_BY(mu_) = 1;
  int64_t violations_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<absl::Duration> awaited_since_ ABSL_GUARDED_BY(mu_);  // groups, by calls that ran out of time
  LogLimiter refusals_log_ ABSL_GUARDED_BY(mu_){/*burst=*/100, /*per_second=*/1};
  LogLimiter attach_log_ ABSL_GUARDED_BY(mu_){/*burst=*/10'000, /*per_second=*/10};
  bool finishing_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;

  Ingest ingest_;  // takes mu_ by itself
};

}  // namespace tactus
