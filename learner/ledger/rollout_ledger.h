// Admits prompts, leases them to actors and holds finished groups until trained. A pure state machine: does no I/O,
// reads no clock, starts no thread; the caller passes `now` from any monotonic clock.
//
// One prompt's way:  Add -> WAITING -> Lease -> LEASED -> Submit -> READY -> Take -> TAKEN -> Release -> gone.
// Back to WAITING: LEASED whose lease expired or whose actor is lost; READY that became too old. WAITING is served in
// admission order, so a prompt that comes back is the next one out. Back to READY: TAKEN for a step that was not taken.
// A lease lasts for as long as its actor renews it. One that ends without an answer is a failed attempt: after
// max_attempts of them the prompt is dropped, which frees its slot for the next prompt. Before its last attempt it is
// not yet known to be at fault, since an actor's end ends all its leases: prompts on their last try go to different
// actors, or one after the other, so that one of them never costs the others theirs.
// A prompt whose lease is older than lease_timeout, though renewed, is leased a second time when another actor asks and
// none is waiting: the first complete answer wins, and the other lease has ended.
//
// A slot is charged by Add and freed only by Release, or with a dropped prompt: at most (S+1)*P groups exist anywhere
// in the system, and R more while groups of equal rewards are replaced. No work is thrown away for its age. Steps take
// P groups, the oldest first, so what was begun with weights of step u is in time if, at step w, no more than
// P*(u+S-w+1) groups are open (leased, ready or being trained) with weights as old. Lease keeps to that, and to weights
// at most max(0, S-1) steps behind the newest that actors can have; Take keeps to it for the step that is gathered, and
// keeps its places for leased groups where younger ones would take the place of more than can be trained later. With
// S = 0, Take gives exactly the oldest prompts in admission order: batch and order do not depend on how many actors
// there were, in which order they answered, in how many portions they were taken, or whether one was lost. A dropped
// prompt is waited for until it is dropped, and then the batch is as if it had never been there. Groups of equal
// rewards carry no signal: a step leaves out the first R of them, counts them, and takes further prompts instead. With
// S = 0 these are the first R in admission order. Room for another prompt is there as soon as such a group is known,
// for whichever they are, the step will reach as many prompts further; so here, too, the batch depends on nothing but
// the answers.
//
// Lease, Renew, Submit, Expire and ReturnLeases cost what they change, times a logarithm, whatever else the ledger
// holds; Take, View and Snapshot look at everything.
// Not thread-safe; RolloutServer guards it with one mutex. Never blocks. Owns its groups until Take.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "learner/ledger/ledger_types.h"

namespace tactus {

class RolloutLedger {
 public:
  explicit RolloutLedger(const LedgerOptions& options);

  // Prompts come in the order of their ids, from where a restore left off; some may be passed over.
  // InvalidArgument: an earlier id. ResourceExhausted: no free slot.
  absl::Status Add(Prompt prompt);

  // One to `max_leases` prompts. FailedPrecondition: `held` is of another incarnation, or so old that an answer could
  // not be trained in time: fetch weights first.
  // ResourceExhausted: there is no prompt to lease, or only some that are not for this actor: on their last try, of
  // which it has one already, or with it. InvalidArgument: max_leases < 1.
  absl::StatusOr<std::vector<PromptLease>> Lease(const std::string& actor_id, int max_leases, PolicyVersion held,
                                                 absl::Duration now);
  // What Lease goes by: whether there is a prompt to lease, waiting or with a straggler, and the oldest weights of the
  // one incarnation that it grants for.
  bool PromptsWait(absl::Duration now) const { return !waiting_.empty() || StragglersWait(now); }
  PolicyVersion OldestLeasable() const;

  // What Submit would say, without counting or changing anything: so that a group can be made durable before it counts.
  struct Verdict {
    absl::Status status;                   // for the actor
    std::optional<RejectReason> rejected;  // nullopt = would be accepted
  };
  Verdict Judge(const TrajectoryGroup& group) const;

  // Takes a finished group. OK also for a repeat of an accepted lease id, which changes nothing.
  // NotFound: the lease expired: drop the group. InvalidArgument: the group does not answer its lease, which stays out.
  // The group's own values are the codec's business.
  absl::Status Submit(TrajectoryGroup group);
  void CountMalformed();  // a submission that could not even be decoded

  // Of the `wanted` groups (1 to (S+1)*P) that the step under way lacks, those that may go: at least `least` (1 to
  // `wanted`), or none. In admission order, with S = 0 without gaps. Groups more than S steps old are dropped and their
  // prompts wait again; those of equal rewards, up to R a step, are dropped for good.
  std::vector<TrajectoryGroup> Take(int wanted, int least);
  std::vector<TrajectoryGroup> Take(int wanted) { return Take(wanted, wanted); }
  // What came of those, since it was last asked for: at most R a step.
  std::vector<PromptOutcome> TakeLeftOut() { return std::exchange(left_out_, {}); }
  // The other way, for a step that will not be taken: of the groups taken last, in the order in which they were.
  // FailedPrecondition: they are not those; nothing has changed.
  absl::Status PutBack(std::vector<TrajectoryGroup> groups);

  // Frees the slots of the `count` groups taken first, as trained. FailedPrecondition: fewer are taken.
  absl::Status Release(int count);

  // The actor works on these leases: their time begins anew. Returns those that are not out to it and were not
  // answered: there is no use in working on them.
  std::vector<uint64_t> Renew(const std::string& actor_id, std::span<const uint64_t> lease_ids, absl::Duration now);

  // Leases whose deadline has passed, or of a lost actor (except those it still works on), end as failed attempts:
  // their prompts go back to WAITING, or are dropped.
  std::vector<EndedLease> Expire(absl::Duration now);
  std::vector<EndedLease> ReturnLeases(const std::string& actor_id, std::span<const uint64_t> keep);

  // The learner's weights are now these, though actors can't have them yet: what is taken next is for them.
  // InvalidArgument unless newer.
  absl::Status SetTrained(PolicyVersion version);
  // Actors can have these, and are leased to for them, and so may have to fetch them first. They are the learner's too,
  // unless it has newer ones already. InvalidArgument unless newer than the last that actors could have.
  absl::Status SetVersion(PolicyVersion version);
  PolicyVersion version() const { return version_; }      // the learner's
  PolicyVersion published() const { return published_; }  // the newest that actors can have

  // FailedPrecondition while groups are taken: release them first.
  absl::StatusOr<LedgerSnapshot> Snapshot() const;

  // Into a ledger that was never used. `prompts` are those of snapshot.open_prompt_ids, in that order; leased ones wait
  // again. `incarnation` must be above every one used before, whether or not a checkpoint knows it: lease ids and
  // versions are unique through it. InvalidArgument: snapshot and prompts or options do not fit; nothing has changed.
  absl::Status Restore(const LedgerSnapshot& snapshot, std::vector<Prompt> prompts, uint32_t incarnation);

  // A group acknowledged by an earlier incarnation after its last snapshot. Used again if its prompt is open, or will
  // be added, and its weights belong to the restored history; counted as dropped otherwise.
  void Replay(TrajectoryGroup group);

  const LedgerCounters& counters() const { return counters_; }
  LedgerView View() const;
  int LeasesOf(const std::string& actor_id) const;
  int slots() const { return slots_; }
  int completions_per_prompt() const { return options_.completions_per_prompt; }
  int64_t ReadyBytes() const;  // memory of the groups that are held for Take, about

 private:
  enum class State { kWaiting, kLeased, kReady, kTaken };
  struct Out : LeaseInfo {
    absl::Duration deadline;
    PolicyVersion version;  // of the weights it was granted for
  };
  struct Entry {
    Prompt prompt;
    State state = State::kWaiting;
    std::vector<Out> out;    // while leased: one, or two
    PolicyVersion version;   // while leased, ready or taken: what staleness is counted from
    TrajectoryGroup group;   // while ready
    int failures = 0;        // attempts that ended without an answer
    bool no_signal = false;  // while ready: its rewards are equal
  };

  // The one way an entry comes from one state to another: Leave, then its leases and version may change, then Enter.
  void Leave(Entry& entry);
  void Enter(Entry& entry, State state);
  void Wait(Entry& entry);
  bool StragglersWait(absl::Duration now) const;
  PromptLease Grant(Entry& entry, const std::string& actor_id, PolicyVersion held, absl::Duration now);
  static std::vector<Out>::iterator Find(Entry& entry, uint64_t lease_id);
  EndedLease Fail(uint64_t lease_id);  // its prompt may be gone afterwards
  bool LastTry(const Entry& entry) const;
  void MakeReady(Entry& entry, TrajectoryGroup group, PolicyVersion version);
  void RememberAnswered(uint64_t lease_id);
  void DropStale();
  void DropWithoutSignal(uint64_t prompt_id);
  // How many of the ready groups the step that is gathered will leave out.
  int Replaceable() const;
  int Room() const;  // for prompts, those that are there included
  // How many more groups may be begun with weights of step `held`; see above.
  int64_t RoomFor(uint64_t held) const;
  std::vector<Entry*> ChooseInOrder(size_t wanted, size_t least);
  std::vector<Entry*> ChooseOldestVersion(size_t wanted, size_t least);
  // How many of `ready`, the oldest first, may take the step's `places`.
  size_t MayGo(std::span<Entry* const> ready, size_t places) const;

  // Constant after construction.
  const LedgerOptions options_;
  const int slots_;
  const int most_;  // slots that there ever are: R more

  PolicyVersion version_;
  PolicyVersion published_;  // not newer
  uint64_t next_prompt_id_ = 0;
  uint64_t next_lease_ = 1;                                   // low bits of the next lease id
  std::map<uint64_t, Entry> entries_;                         // by prompt id = admission order; at most most_
  std::set<uint64_t> waiting_;                                // those of them that are WAITING
  std::unordered_map<uint64_t, uint64_t> leases_;             // lease id -> prompt id
  std::map<std::string, std::set<uint64_t>> by_actor_;        // prompt ids leased to each; none is empty
  std::set<std::pair<absl::Duration, uint64_t>> deadlines_;   // of leases, by when
  std::set<std::pair<absl::Duration, uint64_t>> stragglers_;  // prompts that are leased once, by since when
  std::map<PolicyVersion, int64_t> open_;  // how many are LEASED or READY, by their version; none is 0
  std::deque<uint64_t> taken_;             // prompt ids in the order taken
  uint64_t taken_at_ = 0;                  // the step that the newest of them were taken for
  int replaced_ = 0;                       // groups left out for the step that is gathered
  std::vector<PromptOutcome> left_out_;
  std::deque<uint64_t> answered_order_;                // the newest accepted lease ids; bounded
  std::unordered_set<uint64_t> answered_;              // the same, for look-up
  std::map<uint64_t, TrajectoryGroup> not_yet_added_;  // replayed, by prompt id >= next_prompt_id_; at most most_
  LedgerCounters counters_;
};

}  // namespace tactus
