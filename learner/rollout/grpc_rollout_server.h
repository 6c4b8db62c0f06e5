// The learner's side of the rollout stream, as its training loop sees it: prompts in, groups out, versions announced.
// Hosts the ledger and the gRPC server that actors attach to.
//
//   who waits                for what                                  who ends the wait
//   TakeGroups               enough READY groups                       the ingest thread; Finish; the timeout
//   an actor's lease request a WAITING prompt                          AddPrompts, an expired or returned lease;
//                                                                      SetVersion; the request's timeout
//   an actor's submission    decode, disk, ledger                      the ingest thread
//
// Thread-safe. Owns one thread (ingest and timers) besides gRPC's. One mutex guards the ledger; disk writes happen
// outside it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/data/codec.h"
#include "common/metrics/metric_set.h"
#include "common/rollout/channel_security.h"
#include "learner/ledger/ledger_types.h"
#include "learner/rollout/eval_board.h"

namespace grpc {
class Service;
}

namespace tactus {

struct RolloutServerOptions {
  std::string listen;  // host:port; port 0 = any free one
  ChannelSecurity security;
  std::string run_id;
  std::string config_fingerprint;
  TrajectoryLimits limits;
  LedgerOptions ledger;          // completions_per_prompt must equal limits'
  int evaluation_samples = 0;    // answers to a held-out prompt, at most; 0: none is ever leased
  int max_leases_per_actor = 0;  // an actor that holds as many and wants more is ended; 0: nobody is
  MetricSet* metrics = nullptr;  // takes what happens here; null: nobody asks. Outlives the server
  std::string log_folder;  // of the submission log; empty = none: an acknowledged group may be lost with the process
  int relay_fan_out = 0;   // how many actors fetch weights from one; 0: all from the learner
  // After this long without a stream, an actor's leases go back to the queue.
  absl::Duration lost_actor_grace = absl::Seconds(5);
  // Other services to be served on the same port; they must outlive the server.
  std::vector<grpc::Service*> more_services;
};

// Where a resumed run goes on; see RolloutLedger::Restore.
struct RolloutRestore {
  LedgerSnapshot snapshot;
  std::vector<Prompt> prompts;
  uint32_t incarnation = 0;
};

class RolloutServer {
 public:
  // Listens when this returns. With `restore`, groups that the submission log has beyond the snapshot are used again.
  // InvalidArgument: bad options or restore. Unavailable: the address is taken. FailedPrecondition: there is no
  // `restore` and the log folder holds groups of an earlier run. Errors of files and of the log are passed on.
  static absl::StatusOr<std::unique_ptr<RolloutServer>> Start(const RolloutServerOptions& options,
                                                              std::optional<RolloutRestore> restore);
  // Stops serving without a word: actors try to come back, to a restarted learner.
  ~RolloutServer();

  int port() const;
  PolicyVersion version() const;

  // How many prompts may be added now, and adding them in the order of their ids. Errors as RolloutLedger::Add;
  // InvalidArgument also for a prompt beyond the limits. What was added before an error stays.
  int FreeSlots() const;
  absl::Status AddPrompts(std::vector<Prompt> prompts);

  // Blocks until of the `wanted` groups that the step under way lacks `least` can be taken, and takes all that can be
  // (RolloutLedger::Take); says every 10 s in the log what it waits for.
  // DeadlineExceeded, with the same sentence, which counts from the first of the calls in a row that ended so.
  // Cancelled: Finish was called. InvalidArgument: not 1 <= least <= wanted <= (S+1)*P.
  absl::StatusOr<std::vector<TrajectoryGroup>> TakeGroups(int wanted, int least, absl::Duration timeout);
  absl::StatusOr<std::vector<TrajectoryGroup>> TakeGroups(int wanted, absl::Duration timeout) {
    return TakeGroups(wanted, wanted, timeout);
  }
  // What came of the groups that were left out, since it was last asked for (RolloutLedger::TakeLeftOut).
  std::vector<PromptOutcome> TakeLeftOut();
  // The groups taken last, of a step that will not be taken. FailedPrecondition: they are not those.
  absl::Status PutBack(std::vector<TrajectoryGroup> groups);

  // Frees the slots of the `count` groups taken first, as trained.
  absl::Status Release(int count);

  // The learner's weights are now these, though actors can't fetch them yet: what is taken next is for them.
  absl::Status SetTrained(PolicyVersion version);
  // Actors can fetch these: announced on every stream, with the manifest's digest (ManifestDigest) and whom to ask.
  // They are the learner's too, unless it has newer ones already. Of the version that it began with nothing but the
  // digest is news.
  absl::Status SetVersion(PolicyVersion version, const std::string& manifest_digest = "");

  // From now on prompts of this round are leased to the actors that hold its version, before any to train on; one that
  // is open is given up. To be called before SetVersion of that version, which no actor has then. After EndEvaluations
  // it does nothing. InvalidArgument: a prompt beyond the limits, or more samples than the options'.
  absl::Status BeginEvaluation(EvalRound round);
  // Whether no round is open; waits so long for the end of one.
  bool AwaitEvaluation(absl::Duration timeout);
  void GiveUpEvaluation(const std::string& why);
  // The same, and none begins any more: the run is ending.
  void EndEvaluations();
  std::optional<EvalResult> TakeEvaluation();

  // What a checkpoint saves (FailedPrecondition while groups are taken); and, once that checkpoint is complete, leave
  // for the log to forget the segments that no checkpoint needs any more.
  absl::StatusOr<LedgerSnapshot> Snapshot();
  absl::Status TruncateLog(uint64_t first_needed_segment);

  LedgerCounters Counters() const;
  LedgerView View() const;
  int AttachedActors() const;
  int64_t ProtocolViolations() const;  // streams that were ended for what they sent

  // Tells every actor that the run is over and stops serving, after at most 5 s. Idempotent. Blocks.
  void Finish();

 private:
  class Impl;
  explicit RolloutServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
