#include "actor/conversations.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tasks/judge.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

// Fewer leave no room for a token of the environment's and one of the model's after it.
constexpr int kLeastTokensLeft = 2;

absl::Status CheckReward(const Reward& reward) {
  if (std::fabs(reward.total) <= kMaxEnvironmentReward) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the environment's rewards of all turns add up to ", reward.total,
                                          "; expected a number from -", kMaxEnvironmentReward, " to ",
                                          kMaxEnvironmentReward));
}

}  // namespace

ConversationParts ConversationParts::FromProto(const config::RolloutOptions& rollout, Episodes* episodes,
                                               const TurnEncoder* encoder, const Tokenizer* tokenizer) {
  const int longest = rollout.max_completion_tokens(), turn = rollout.max_turn_tokens();
  return {.episodes = episodes,
          .encoder = encoder,
          .tokenizer = tokenizer,
          .max_turns = rollout.max_turns(),
          .max_turn_tokens = turn == 0 ? longest : std::min(turn, longest)};
}

void Conversations::Begin(const PromptLease& lease, int max_tokens) {
  EpisodeOpening opening{.question = QuestionOf(*parts_.tokenizer, lease.prompt),
                         .run_seed = lease.seed,
                         .prompt_number = lease.prompt.id,
                         .max_turns = parts_.max_turns,
                         .max_tokens = max_tokens,
                         .max_turn_tokens = parts_.max_turn_tokens,
                         .reply_timeout = parts_.episodes->reply_timeout()};
  for (int i = 0; i < lease.completions_wanted; ++i) {
    const EpisodeId id{lease.lease_id, i};
    opening.completion = i;
    states_[id] = {};
    parts_.episodes->Begin(id, opening, absl::Seconds(lease.timeout_s));
  }
}

void Conversations::End(uint64_t lease_id) {
  const auto first = states_.lower_bound({lease_id, 0}), end = states_.lower_bound({lease_id + 1, 0});
  for (auto one = first; one != end; ++one) parts_.episodes->Forget(one->first);
  states_.erase(first, end);
}

Conversations::Outcome Conversations::Exchange() {
  for (const EndedTurn& turn : engine_->TakeEndedTurns()) Send(turn);
  Outcome outcome;
  for (const Episodes::Event& event : parts_.episodes->Poll()) {
    const auto state = states_.find(event.id);
    if (state == states_.end()) continue;  // of a lease that an event before it has ended
    absl::Status status = event.reply.status();
    if (status.ok()) status = Take(event.id, state->second, *event.reply, outcome.finished);
    if (status.ok()) continue;
    outcome.failed.emplace_back(event.id.lease_id, std::move(status));
    End(event.id.lease_id);
  }
  // A lease that fails after one of its answers was finished here is of no use whole.
  for (const auto& [lease_id, status] : outcome.failed) {
    std::erase_if(outcome.finished, [id = lease_id](const FinishedCompletion& one) { return one.request_id == id; });
  }
  return outcome;
}

void Conversations::Send(const EndedTurn& turn) {
  const EpisodeId id{turn.request_id, turn.completion_index};
  const auto found = states_.find(id);
  if (found == states_.end()) return;
  State& state = found->second;
  state.rewards.push_back(0);
  state.last_token = turn.reason == FinishReason::kStop ? turn.token_ids.back() : -1;
  state.tokens_left = turn.tokens_left;
  Completion said;
  said.token_ids = turn.token_ids;
  said.finish_reason = turn.reason;
  const EpisodeLimit last = turn.number >= parts_.max_turns       ? EpisodeLimit::kTurns
                            : turn.tokens_left < kLeastTokensLeft ? EpisodeLimit::kTokens
                                                                  : EpisodeLimit::kNone;
  parts_.episodes->Say(id, {.number = turn.number,
                            .answer = AnswerOf(*parts_.tokenizer, said),
                            .last = last,
                            .tokens_left = turn.tokens_left});
}

absl::Status Conversations::Take(EpisodeId id, State& state, const EpisodeReply& reply,
                                 std::vector<FinishedCompletion>& finished) {
  state.rewards.back() += reply.reward;
  if (!reply.done) return GoOn(id, state, reply);
  ASSIGN_OR_RETURN(FinishedCompletion one, engine_->Conclude(id.lease_id, id.completion));
  Completion& completion = one.completion;
  Reward& reward = completion.reward;
  for (size_t i = 0; i < completion.turns.size(); ++i) {
    completion.turns[i].reward = state.rewards[i];
    reward.total += state.rewards[i];
  }
  RETURN_IF_ERROR(CheckReward(reward));
  reward.correct = reply.correct ? 1 : 0;
  reward.format = reward.total - reward.correct;
  reward.reason = reply.reason;
  if (state.no_room) completion.finish_reason = FinishReason::kLength;
  states_.erase(id);
  finished.push_back(std::move(one));
  return absl::OkStatus();
}

absl::Status Conversations::GoOn(EpisodeId id, State& state, const EpisodeReply& reply) {
  absl::StatusOr<std::vector<TokenId>> ids = reply.text.empty()
                                                 ? parts_.encoder->Messages(reply.messages, state.last_token)
                                                 : parts_.encoder->Text(reply.text);
  if (!ids.ok()) {
    return absl::DataLossError(absl::StrCat("the environment's reply cannot be used: ", ids.status().message()));
  }
  if (ids->size() < static_cast<size_t>(state.tokens_left)) return engine_->Continue(id.lease_id, id.completion, *ids);
  state.no_room = true;
  parts_.episodes->Stop(id, EpisodeLimit::kTokens);
  return absl::OkStatus();
}

}  // namespace tactus
