// Leases held-out prompts to the actors while they train, and collects what they answer. A pure state machine, like the
// ledger it stands beside: does no I/O, reads no clock, starts no thread; the caller passes `now` from any monotonic
// clock.
//
// A round measures one version on one or several sets: each of their prompts is answered once, wholly by that version,
// by an actor that holds it. One prompt's way:  Begin -> waiting -> Lease -> leased -> Submit -> answered; back to
// waiting when its lease expires or its actor is lost. A prompt that fails `max_attempts` times ends the round, as no
// number is better than one over the prompts that happened to be answered.
//
// Nothing here touches the ledger: no slot, no counter, no log. A lease id has kEvaluationLease, so that each of the
// two knows its own.
//
// Not thread-safe; RolloutServer guards it with the ledger's mutex. Never blocks.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/tasks/held_out_prompts.h"
#include "learner/ledger/ledger_types.h"

namespace tactus {

struct EvalRound {
  PolicyVersion version;
  std::vector<HeldOutSet> sets;  // at least one
  uint64_t seed = 0;             // keys the draws with the prompt's id
};

struct EvalAnswers {
  std::string set;                       // its name
  std::vector<TrajectoryGroup> answers;  // one for each prompt, in their order; without values per token
};

struct EvalResult {
  PolicyVersion version;
  std::string given_up = {};           // why; empty: it is complete
  std::vector<EvalAnswers> sets = {};  // those that are complete, in the round's order
  absl::Duration took = absl::ZeroDuration();
};

class EvalBoard {
 public:
  struct Options {
    absl::Duration lease_timeout = absl::Seconds(300);  // since the lease or its last renewal
    int max_attempts = 0;                               // leases of a prompt that may end unanswered; 0: any number
  };
  explicit EvalBoard(const Options& options) : options_(options) {}

  // One that is open is given up.
  void Begin(EvalRound round, absl::Duration now);
  void GiveUp(const std::string& why, absl::Duration now);
  bool open() const { return round_.has_value(); }
  // Whether the open round, if there is one, is of this version: who holds it may be of use until the round is over.
  bool Measures(PolicyVersion version) const { return open() && round_->version == version; }
  bool PromptsWait() const { return !waiting_.empty(); }

  // Up to `max_leases` prompts for an actor that holds the round's version; otherwise, and when none waits, none.
  std::vector<PromptLease> Lease(const std::string& actor_id, int max_leases, PolicyVersion held, absl::Duration now);

  // As the ledger's, of leases of this kind.
  std::vector<uint64_t> Renew(const std::string& actor_id, std::span<const uint64_t> lease_ids, absl::Duration now);
  std::vector<LeaseInfo> Expire(absl::Duration now);
  std::vector<LeaseInfo> ReturnLeases(const std::string& actor_id, std::span<const uint64_t> keep, absl::Duration now);
  int LeasesOf(const std::string& actor_id) const;
  int AnswersAwaitedOf(const std::string& actor_id) const;  // to the prompts of these leases

  // Takes the answers to a prompt. OK also for a repeat of what was accepted in this round. NotFound: the lease has
  // ended, or its round. InvalidArgument: the group does not answer its lease, which stays out. The group's own values
  // are the codec's business.
  absl::Status Submit(TrajectoryGroup group, absl::Duration now);

  // Of each round once, when it is over, in their order.
  std::optional<EvalResult> TakeResult();

 private:
  struct Out : LeaseInfo {
    absl::Duration deadline;
    size_t place = 0;
  };
  // A prompt of the round.
  struct Place {
    size_t set = 0, row = 0;  // the set, and where in its prompts
    int failures = 0;
    std::optional<TrajectoryGroup> answer;
  };
  const HeldOutSet& SetOf(const Place& place) const { return round_->sets[place.set]; }
  const Prompt& PromptOf(const Place& place) const { return (*SetOf(place).prompts)[place.row]; }
  absl::Status Check(const TrajectoryGroup& group, const Out& out) const;
  LeaseInfo Fail(uint64_t lease_id);
  void GiveUpHopeless(absl::Duration now);
  void End(std::string given_up, absl::Duration now);

  const Options options_;
  std::optional<EvalRound> round_;
  absl::Duration begun_at_;
  std::vector<Place> places_;    // set by set, in the sets' order
  std::set<size_t> waiting_;     // places
  std::map<uint64_t, Out> out_;  // by lease id
  std::set<uint64_t> accepted_;  // lease ids, one of each place that is answered
  uint64_t next_lease_ = 1;      // low bits of the next lease id: never begun anew in a process
  std::deque<EvalResult> results_;
};

}  // namespace tactus
