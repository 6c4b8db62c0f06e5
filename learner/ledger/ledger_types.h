// What the rollout ledger counts, reports and saves, as plain values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/data/turn_rewards.h"
#include "common/data/types.h"

namespace tactus {

// Why a submitted group was not accepted. The prompt stays open.
enum class RejectReason { kMalformed, kDuplicate, kExpired };
inline constexpr int kRejectReasons = 3;
absl::string_view ReasonName(RejectReason reason);  // as metric label

// Why an accepted group was not trained. The prompt is answered again, except where the whole history was left or
// another prompt takes its place.
enum class DropReason {
  kStale,       // more than S steps old when it would have been trained
  kRolledBack,  // sampled by weights, or for a prompt, that the restored checkpoint does not know
  kNoSignal,    // of equal rewards: another prompt takes its place, and this one is done
};
inline constexpr int kDropReasons = 3;
absl::string_view ReasonName(DropReason reason);

// Groups since the run began (a restore goes back to the checkpoint's counts).
//   received = accepted + rejected{reason};  accepted = trained + queued + dropped{reason}
struct LedgerCounters {
  int64_t received = 0;
  int64_t accepted = 0;
  int64_t trained = 0;
  int64_t queued = 0;  // accepted, not yet trained: waiting for Take or taken
  std::array<int64_t, kRejectReasons> rejected{};
  std::array<int64_t, kDropReasons> dropped{};
  int64_t leases_granted = 0;
  int64_t leases_expired = 0;
  int64_t leases_returned = 0;  // by a lost or restarted actor
  int64_t prompts_dropped = 0;  // each after max_attempts leases without an answer; never counted as groups

  int64_t& operator[](RejectReason reason) { return rejected[static_cast<size_t>(reason)]; }
  int64_t& operator[](DropReason reason) { return dropped[static_cast<size_t>(reason)]; }
  int64_t operator[](RejectReason reason) const { return rejected[static_cast<size_t>(reason)]; }
  int64_t operator[](DropReason reason) const { return dropped[static_cast<size_t>(reason)]; }
  // Whether both identities hold.
  bool Balanced() const;
  friend bool operator==(const LedgerCounters&, const LedgerCounters&) = default;
};

struct LedgerOptions {
  int prompts_per_step = 0;                           // P > 0
  int completions_per_prompt = 0;                     // G > 0
  int max_staleness_steps = 0;                        // S >= 0
  absl::Duration lease_timeout = absl::Seconds(300);  // since the lease or its last renewal
  int max_attempts = 0;                               // leases of a prompt that may end unanswered; 0: any number
  uint64_t seed = 0;                                  // the run's, handed out with every lease
  int max_replaced_groups = 0;                        // R >= 0: of equal rewards, that a step leaves out
  AdvantageLevel advantage_level = AdvantageLevel::kEpisode;  // at which rewards are equal
};

struct LeaseInfo {
  uint64_t lease_id = 0;
  uint64_t prompt_id = 0;
  std::string actor_id;
  absl::Duration leased_at;  // on the caller's clock
};

// A lease that ended without an answer.
struct EndedLease : LeaseInfo {
  int failures = 0;      // of the prompt's leases that ended so, this one included
  bool dropped = false;  // it was one too many
};

// How well a group answers its prompt.
struct PromptOutcome {
  uint64_t prompt_id = 0;
  int right = 0, answers = 0;
  friend bool operator==(const PromptOutcome&, const PromptOutcome&) = default;
};

// How many prompts are in each state, and the lease that has been out longest.
struct LedgerView {
  int free_slots = 0;
  int64_t added = 0;  // prompts so far, in the run
  int open = 0;       // of them in any of the four states below
  int waiting = 0;
  int leased = 0;
  int ready = 0;
  int taken = 0;
  int replaceable = 0;  // ready, of equal rewards and to be left out: each makes room for another prompt
  std::optional<LeaseInfo> oldest_lease;
};

// A group that was accepted but not trained when the snapshot was taken.
struct ReadyGroup {
  TrajectoryGroup group;
  PolicyVersion version;  // what its staleness is counted from
};

// Everything a restart needs. Prompts are named by id: their text comes again from the data, in the same order.
struct LedgerSnapshot {
  PolicyVersion version;
  uint64_t next_prompt_id = 0;
  std::vector<uint64_t> open_prompt_ids;  // every prompt in the ledger, waiting, leased or ready; ascending
  std::vector<int> failures;              // of each of them, leases that ended unanswered; empty: none of any
  std::vector<ReadyGroup> ready;          // ascending by prompt id
  LedgerCounters counters;
  uint64_t log_segment = 0;  // the submission log's first segment that this snapshot does not contain
};

}  // namespace tactus
