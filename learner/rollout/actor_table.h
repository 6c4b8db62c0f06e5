// Which actors there are, and which of their lease requests wait for a prompt. A pure state machine, like the ledger it
// stands beside: does no I/O, reads no clock, starts no thread; the caller passes `now` from any monotonic clock.
//
// An actor's way:    Attach -> attached -> Detach -> lost -> Attach again, or TakeForgotten once its grace is over.
// A request's way:   Add -> waiting -> TakeDue; or gone with its stream.
//
// A look that finds nothing to do costs the same however many actors and requests there are (TakeDue, TakeForgotten);
// everything else costs their logarithm.
//
// Not thread-safe; RolloutServer guards it with the ledger's mutex. Never blocks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/data/types.h"

namespace tactus {

// An actor that may be given weights by others, and may give them.
struct RelayPeer {
  std::string actor_id;
  std::string address;  // HOST:PORT; empty: it gives none
  std::string zone;
};

struct LeaseRequest {
  std::string actor_id;
  uint64_t stream_id = 0;
  uint64_t request_id = 0;  // the actor's name for it
  int max_leases = 0;
  PolicyVersion held;
  absl::Duration deadline;  // until when it may wait
};

class ActorTable {
 public:
  static constexpr int kMaxRequestsPerActor = 16;

  // A lost actor has `lost_grace` to come back.
  explicit ActorTable(absl::Duration lost_grace) : lost_grace_(lost_grace) {}

  // The actor is at this stream now. Returns the stream whose place it takes: its requests are gone, and it is for the
  // caller to end.
  std::optional<uint64_t> Attach(const std::string& actor_id, uint64_t stream_id);

  // Where an attached actor gives weights to others.
  void SetRelay(const std::string& actor_id, std::string address, std::string zone);
  // All attached actors, in the order in which they first came.
  std::vector<RelayPeer> Relays() const;

  // The stream has ended, and its requests with it. Whether the actor is lost thereby: it is not when another stream
  // has taken this one's place.
  bool Detach(const std::string& actor_id, uint64_t stream_id, absl::Duration now);

  // The actors whose grace is over. They are forgotten; their leases are for the caller to return.
  std::vector<std::string> TakeForgotten(absl::Duration now);

  // A request of an attached actor, on its stream. FailedPrecondition: it is attached by another stream, or not at all.
  // InvalidArgument: kMaxRequestsPerActor of them wait already.
  absl::Status Add(LeaseRequest request);

  // The next request that need not wait, out of the table: first those for weights that get no lease any more (older
  // than `oldest_leasable` or of another incarnation), then, while `prompts_wait`, the one that has waited longest,
  // then those whose time is over. To be called until there is none after anything that may have changed the answer.
  std::optional<LeaseRequest> TakeDue(bool prompts_wait, PolicyVersion oldest_leasable, absl::Duration now);

  int attached() const { return static_cast<int>(actors_.size() - lost_.size()); }

 private:
  struct Actor {
    std::optional<uint64_t> stream_id;  // while attached
    absl::Duration lost_at;             // while lost
    std::set<uint64_t> requests;        // by number; at most kMaxRequestsPerActor
    uint64_t order = 0;                 // of those who came
    std::string relay_address, zone;
  };

  LeaseRequest Take(uint64_t number);
  void DropRequests(Actor& actor);

  const absl::Duration lost_grace_;
  std::map<std::string, Actor> actors_;
  std::set<std::pair<absl::Duration, std::string>> lost_;  // the lost ones, by when

  uint64_t next_order_ = 0;
  uint64_t next_number_ = 0;
  std::map<uint64_t, LeaseRequest> requests_;  // by number = in the order they came
  std::set<std::pair<PolicyVersion, uint64_t>> by_held_;
  std::set<std::pair<absl::Duration, uint64_t>> by_deadline_;
};

}  // namespace tactus
