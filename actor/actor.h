// The actor's loop: leases prompts, samples and scores their completions, submits the groups, follows the weights.
//
//   thread    does                                       waits for                       who ends the wait
//   engine    swaps weights, adds leases, steps          a lease, weights                lease, weights thread
//   lease     RolloutPort::Lease while slots are free    room; a newer version           engine, submit thread
//   weights   WeightSource::Fetch, stages one set        the staged set's swap           engine thread
//   submit    scores and submits one group at a time     a finished group, its rewards   engine thread; the judge
//
// For credit by VINE a group whose answers are there stays in the engine until continuations of them are.
//
// In a run of conversations the engine thread hands turns to the server and replies to the engine between two steps,
// and waits for no server while anything else can be sampled.
//
// There are as many submit threads as calls of the judge are of use at once, one for a verifier.
//
// Every wait is cut into slices of at most a second and logged when it lasts. At most `max_leases` groups exist here,
// or as many answers to held-out prompts as these have. Leases are renewed by the engine thread between two steps, so
// an answer may take as long as it needs, and the prompts of an actor that stands still are answered elsewhere. An
// actor keeps no state worth saving: so are those of a killed one.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "actor/actor_stats.h"
#include "actor/conversations.h"
#include "actor/engine/engine.h"
#include "actor/group_scorer.h"
#include "actor/head_class_history.h"
#include "actor/vine_sampler.h"
#include "actor/weight_source.h"
#include "common/base/back_off.h"
#include "common/base/cond_var.h"
#include "common/data/types.h"
#include "common/rollout/rollout_port.h"

namespace tactus {

struct ActorSettings {
  std::string actor_id;
  int max_leases = 8;  // groups in this actor at once
  int completions_per_prompt = 8;
  int max_completion_tokens = 256;
  SamplingOptions sampling;
  std::vector<TokenId> stop_ids;                       // the model's eos ids and the run's own
  absl::Duration drain_grace = absl::Seconds(30);      // to finish what is running after *stop
  absl::Duration drain_detached = absl::Seconds(5);    // of it without a stream: the learner gives the leases back then
  absl::Duration learner_timeout = absl::Minutes(10);  // without any answer from the learner: give up
  // Once it is true: lease no more, finish and submit what is running while that is of use, end Run. Outlives the
  // actor; null: nobody asks. A signal handler may set it, so it wakes nobody and is looked at.
  const std::atomic<bool>* stop = nullptr;
};

class Actor {
 public:
  // `port`, `weights`, the scorer's parts and those of conversations, without which there are none, must outlive the
  // actor. `engine` must take `max_leases` waiting groups.
  Actor(ActorSettings settings, std::unique_ptr<Engine> engine, RolloutPort* port, WeightSource* weights,
        GroupScorer scorer, const std::optional<ConversationParts>& conversations = std::nullopt);
  ~Actor();

  // Blocks. OK: the run is finished, or a stop was asked for and everything was handed in or its grace is over.
  // Unavailable: the learner was out of reach for too long. Otherwise what made going on senseless.
  absl::Status Run();

  ActorStats stats() const;  // thread-safe

  int completions_per_prompt() const { return settings_.completions_per_prompt; }

  // Why new work cannot be done now, in one line; empty when it can. Thread-safe, does not block.
  std::string NotReady() const;

 private:
  struct OpenGroup {
    PromptLease lease;
    TrajectoryGroup group;
    std::vector<MeasuredAttention> attention;  // [G]
    std::vector<Continuations> continuations;  // of its answers, once those and these are there
    int unfinished = 0;                        // answers; then continuations
    int restarts = 0;                          // after a conversation that failed
    PolicyVersion started;                     // in the engine: no token is of an older version
    absl::Time began, sampled;                 // the engine took it; its last completion was finished
    absl::Time judged_until;                   // finished: without a reward then, it is dropped
  };
  struct Wait;   // what is awaited, since when
  struct Drain;  // since a stop was asked for

  // Engine thread.
  absl::Status StartThreads(std::vector<std::thread>& threads);
  absl::Status EngineLoop();
  bool Done(Drain& drain);
  absl::Status SwapStagedWeights();
  absl::Status StartLeasedGroups();
  EngineRequest RequestOf(const PromptLease& lease) const;
  // Tells the learner what is worked on, and drops what has ended. Not what waits for a submit thread that stands
  // still.
  void RenewLeases();
  void DropGroup(uint64_t lease_id);
  // Out of the engine, with its conversations forgotten. None: it was not there.
  std::optional<OpenGroup> TakeFromEngine(uint64_t lease_id);
  void Converse();
  // A conversation of the group has failed: it is begun again from its prompt, or dropped after the second time.
  void RestartOrDrop(uint64_t lease_id, const absl::Status& why);
  void Collect(std::span<FinishedCompletion> finished);
  void KeepAnswer(OpenGroup& open, FinishedCompletion one) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WaitForWork(Wait& wait);

  // The other threads.
  void LeaseLoop();
  bool HandleLeases(absl::StatusOr<std::vector<PromptLease>> leases, PolicyVersion held, BackOff& pauses);
  void WeightsLoop();
  // Hands a set's numbers to the engine, beside those it samples with.
  absl::Status Stage(NewWeights& weights);
  void SubmitLoop();
  void ScoreAndSubmit(OpenGroup& open);
  absl::Status SubmitWithRetry(OpenGroup& open);

  int LeaseRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseGroup(const PromptLease& lease, int unfinished_completions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetFatal(absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);
  void HeardLearner() ABSL_LOCKS_EXCLUDED(mutex_);
  // Sleeps before the next try; ends the run when the learner has been silent for too long.
  void Pause(const absl::Status& status, const char* what, BackOff& pauses) ABSL_LOCKS_EXCLUDED(mutex_);
  bool stop_requested() const { return settings_.stop != nullptr && *settings_.stop; }
  bool closing() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Constant after construction.
  const ActorSettings settings_;
  RolloutPort* const port_;
  WeightSource* const weights_;
  const GroupScorer scorer_;

  // Owned by the engine thread.
  std::unique_ptr<Engine> engine_;      // its Stage*: the weights thread's, while staged_ is empty
  std::map<uint64_t, OpenGroup> open_;  // by lease id: in the engine
  HeadClassHistory head_classes_;       // of the versions since the oldest of them started
  absl::Time renewed_ = absl::InfinitePast();
  std::optional<Conversations> conversations_;
  std::optional<VineSampler> vine_;

  mutable absl::Mutex mutex_;
  CondVar changed_;  // what mutex_ guards: closing_, fatal_, the queues, staged_, or room for leases
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;  // everybody out, at once
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
  std::deque<OpenGroup> leased_ ABSL_GUARDED_BY(mutex_);    // not yet in the engine
  std::deque<OpenGroup> finished_ ABSL_GUARDED_BY(mutex_);  // not yet submitted
  struct Submitting {
    PromptLease lease;
    absl::Time progress;  // its thread's last sign of life
    bool ended = false;
  };
  std::map<uint64_t, Submitting> submitting_ ABSL_GUARDED_BY(mutex_);          // or being scored; by lease id
  absl::Time submit_progress_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // of whichever submit thread
  int open_groups_ ABSL_GUARDED_BY(mutex_) = 0;             // leased, in the engine, finished or being submitted
  int open_answers_ ABSL_GUARDED_BY(mutex_) = 0;            // of those groups, whether sampled or not
  int unfinished_completions_ ABSL_GUARDED_BY(mutex_) = 0;  // of leased groups and those in the engine
  int waiting_turns_ ABSL_GUARDED_BY(mutex_) = 0;           // of those
  bool replies_wait_ ABSL_GUARDED_BY(mutex_) = false;       // an environment has said something
  std::optional<PolicyVersion> held_ ABSL_GUARDED_BY(mutex_);
  std::optional<NewWeights> staged_ ABSL_GUARDED_BY(mutex_);  // without its numbers: the engine has them
  bool version_too_old_ ABSL_GUARDED_BY(mutex_) = false;      // the learner refused a lease to `held_`
  absl::Time last_contact_ ABSL_GUARDED_BY(mutex_);
  int refused_in_row_ ABSL_GUARDED_BY(mutex_) = 0;
  ActorStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tactus
