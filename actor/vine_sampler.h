// Has the engine go on from places in finished answers, for credit by VINE (common/rhythm/vine.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "actor/engine/engine.h"
#include "actor/group_scorer.h"
#include "common/rhythm/vine.h"

namespace tactus {

// What a continuation is follows from the weights, the run's seed, the prompt and its place: its draws have a key of
// their own. Owned by the engine's thread; never blocks. Holds what groups that have begun and not ended need: at most
// as many continuations as the configuration allows a group, for each of the actor's leases.
class VineSampler {
 public:
  // The engine must outlive it.
  VineSampler(const VineOptions& options, Engine* engine) : options_(options), engine_(engine) {}

  // A group's answers are all there. of_answer: as the engine was asked for them, request_id being the lease's. How
  // many continuations there will be, at least one.
  int Begin(EngineRequest of_answer, const TrajectoryGroup& group);

  // Hands requests to the engine as long as it takes more. Errors: the engine's.
  absl::Status Feed();

  // The lease whose answer a request goes on from; of another request, its own id.
  uint64_t LeaseOf(uint64_t request_id) const;
  // Takes what the engine sampled for such a request.
  void Keep(const FinishedCompletion& finished);

  // The lease's continuations; what is still to be sampled of them no longer is. None: it has not begun.
  std::optional<std::vector<Continuations>> End(uint64_t lease_id);

 private:
  struct Group {
    EngineRequest of_answer;
    std::vector<std::vector<TokenId>> answers;
    std::vector<Continuations> places;
    uint64_t first_request = 0;  // of the first place; the others' follow
  };
  struct Request {
    uint64_t lease_id = 0;
    size_t place = 0;
  };

  void Add(uint64_t lease_id, Group& group, VinePlace place);

  const VineOptions options_;
  Engine* const engine_;
  std::map<uint64_t, Group> groups_;      // by lease
  std::map<uint64_t, Request> requests_;  // by request, those of groups_
  std::deque<uint64_t> waiting_;          // not yet in the engine; of some the group may have ended
  uint64_t next_request_ = 0;
};

}  // namespace tactus
