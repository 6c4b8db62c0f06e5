// What a Scheduler keeps of its groups; for its own files.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "actor/engine/scheduler.h"

namespace tactus {

inline int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// Of a conversation that is given: whether its turns fit its tokens; what is wrong otherwise.
absl::Status CheckForcedTurns(const EngineRequest& request);
// Of a conversation: what the turn under way may have.
int MostTurnTokens(const EngineRequest& request, const Completion& completion);

// Where a unit stands in the order of service; a group's prefix stands before its sequences.
struct Scheduler::Key {
  uint64_t group_order = 0;
  int sequence = -1;
  friend auto operator<=>(const Key&, const Key&) = default;  // NOLINT(modernize-use-nullptr)
};

struct Scheduler::Sequence {
  Group* group = nullptr;
  int index = 0;
  SequenceState state = SequenceState::kReady;
  std::vector<int32_t> pages;   // empty unless running, or parked
  int64_t computed = 0;         // tokens of prompt + completion whose keys and values are in the cache
  int64_t computed_before = 0;  // the most that `computed` has been
  int64_t planned_rows = 0;
  Completion completion;
  bool complete = false;  // has all its tokens, or its turn has; running for the last one's attention
  std::unique_ptr<RhythmMeter> meter;
};

struct Scheduler::Group {
  enum class Prefix : uint8_t { kNone, kPrefilling, kReady };

  EngineRequest request;
  uint64_t order = 0;
  Prefix prefix = Prefix::kNone;
  bool first_tokens_drawn = false;
  std::vector<int32_t> pages;  // the prompt's, held by the group itself
  int64_t computed = 0;        // prompt tokens in the cache
  int64_t planned_rows = 0;
  std::vector<Sequence> sequences;  // [G]
  int running = 0;
  int parked = 0;   // hold pages, and do not run
  int waiting = 0;  // for Continue or Conclude
  int unfinished = 0;

  bool runnable() const { return sequences.empty() || waiting < unfinished; }
  int64_t prompt_tokens() const { return static_cast<int64_t>(request.prompt_ids.size()); }
};

}  // namespace tactus
