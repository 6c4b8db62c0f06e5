// Leads an actor's conversations: what the model says goes to the user's server, what that answers goes on in the
// engine.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "actor/engine/engine.h"
#include "common/config/config_fwd.h"
#include "common/data/types.h"
#include "common/environment/grpc_episodes.h"
#include "common/tasks/turn_encoder.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

struct ConversationParts {
  Episodes* episodes = nullptr;
  const TurnEncoder* encoder = nullptr;
  const Tokenizer* tokenizer = nullptr;
  int max_turns = 1;
  int max_turn_tokens = 1;  // at most the whole answer's

  // The run's bounds, and these, which must outlive what is made of it.
  static ConversationParts FromProto(const config::RolloutOptions& rollout, Episodes* episodes,
                                     const TurnEncoder* encoder, const Tokenizer* tokenizer);
};

// Owned by the engine's thread; never blocks. What it is made of must outlive it.
class Conversations {
 public:
  Conversations(const ConversationParts& parts, Engine* engine) : parts_(parts), engine_(engine) {}

  // The lease's answers are conversations; its request is in the engine, with max_turn_tokens.
  void Begin(const PromptLease& lease, int max_tokens);

  struct Outcome {
    std::vector<FinishedCompletion> finished;               // with rewards
    std::vector<std::pair<uint64_t, absl::Status>> failed;  // leases with an episode that failed: of no use any more
  };
  // Hands on what either side has said since the last call.
  Outcome Exchange();

  // The lease is over: its episodes are forgotten. Its request is the caller's to cancel.
  void End(uint64_t lease_id);

  int max_turn_tokens() const { return parts_.max_turn_tokens; }
  Episodes& episodes() const { return *parts_.episodes; }

 private:
  struct State {
    std::vector<double> rewards;  // of each turn that has ended
    TokenId last_token = -1;      // of the turn that has ended; -1: it was cut off
    int tokens_left = 0;
    bool no_room = false;  // ended since the environment's words did not fit
  };

  void Send(const EndedTurn& turn);
  // Takes a reply. Fills `finished` where it was the last one.
  absl::Status Take(EpisodeId id, State& state, const EpisodeReply& reply, std::vector<FinishedCompletion>& finished);
  absl::Status GoOn(EpisodeId id, State& state, const EpisodeReply& reply);

  const ConversationParts parts_;
  Engine* const engine_;
  std::map<EpisodeId, State> states_;
};

}  // namespace tactus
