// Conversations: sequences that wait between two turns, and what they hold meanwhile.
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/scheduler.h"
#include "actor/engine/scheduler_impl.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::Status CheckForcedTurns(const EngineRequest& request) {
  const std::vector<int>& turns = request.forced_turn_tokens;
  const bool converses = request.max_turn_tokens > 0, forced = !request.forced_ids.empty();
  if (converses && forced != !turns.empty()) {
    return absl::InvalidArgumentError("the tokens of a conversation are forced turn by turn, or not at all.");
  }
  if (turns.empty()) return absl::OkStatus();
  if (!converses) return absl::InvalidArgumentError("there are forced turns, and max_turn_tokens is 0.");
  int64_t tokens = static_cast<int64_t>(turns.size()) - 1;  // one between two turns, at least
  for (const int turn : turns) {
    if (turn < 1)
      return absl::InvalidArgumentError(absl::StrCat("a forced turn has ", turn, " tokens, expected 1 or more."));
    tokens += turn;
  }
  const auto all = static_cast<int64_t>(request.forced_ids.size());
  if (tokens <= all && request.max_tokens == all) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("forced turns with ", tokens, " tokens and max_tokens = ",
                                                 request.max_tokens, " do not fit ", all, " forced_ids."));
}

int MostTurnTokens(const EngineRequest& request, const Completion& completion) {
  const std::vector<int>& turns = request.forced_turn_tokens;
  if (turns.empty()) return request.max_turn_tokens;
  return completion.turns.size() > turns.size() ? 1 : turns[completion.turns.size() - 1];
}

void Scheduler::EndTurn(Sequence& sequence) {
  Group& group = *sequence.group;
  sequence.complete = false;
  if (sequence.state == SequenceState::kRunning) {
    running_.erase(std::find(running_.begin(), running_.end(), &sequence));
    --group.running;
    parked_.push_back(&sequence);
    ++group.parked;
  }
  sequence.state = SequenceState::kWaiting;
  ++group.waiting;
  ++waiting_turns_;
  const Completion& completion = sequence.completion;
  const Turn& turn = completion.turns.back();
  ended_turns_.push_back({.request_id = group.request.request_id,
                          .completion_index = sequence.index,
                          .number = static_cast<int>(completion.turns.size()),
                          .token_ids = {completion.token_ids.begin() + turn.start_token, completion.token_ids.end()},
                          .reason = completion.finish_reason,
                          .tokens_left = group.request.max_tokens - static_cast<int>(completion.token_ids.size())});
}

std::vector<EndedTurn> Scheduler::TakeEndedTurns() { return std::exchange(ended_turns_, {}); }

Scheduler::Sequence* Scheduler::FindWaiting(uint64_t request_id, int completion_index) {
  for (const auto& group : active_) {
    if (group->request.request_id != request_id) continue;
    if (completion_index < 0 || completion_index >= static_cast<int>(group->sequences.size())) return nullptr;
    Sequence& sequence = group->sequences[completion_index];
    return sequence.state == SequenceState::kWaiting ? &sequence : nullptr;
  }
  return nullptr;
}

absl::Status Scheduler::CheckContinuation(const Sequence& sequence, std::span<const TokenId> token_ids) const {
  const EngineRequest& request = sequence.group->request;
  const auto invalid = [&](const auto&... parts) {
    return absl::InvalidArgumentError(
        absl::StrCat("request ", request.request_id, ", completion ", sequence.index, ": ", parts...));
  };
  if (token_ids.empty()) return invalid("it is continued with no token, expected at least one.");
  for (const TokenId id : token_ids) {
    if (id < 0 || id >= options_.vocab_size) {
      return invalid("it is continued with token ", id, ", expected an id in [0, ", options_.vocab_size, ").");
    }
  }
  const size_t tokens = sequence.completion.token_ids.size() + token_ids.size();
  if (tokens < static_cast<size_t>(request.max_tokens)) return absl::OkStatus();
  return invalid("it is continued with ", token_ids.size(), " tokens to ", tokens, ", and the turn after them has no ",
                 "room in max_tokens = ", request.max_tokens, ".");
}

absl::Status Scheduler::Continue(uint64_t request_id, int completion_index, std::span<const TokenId> token_ids) {
  Sequence* const sequence = FindWaiting(request_id, completion_index);
  if (sequence == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("completion ", completion_index, " of request ", request_id, " waits for nothing."));
  }
  RETURN_IF_ERROR(CheckContinuation(*sequence, token_ids));
  Completion& completion = sequence->completion;
  completion.token_ids.insert(completion.token_ids.end(), token_ids.begin(), token_ids.end());
  completion.logprobs.resize(completion.token_ids.size(), 0);
  completion.entropy.resize(completion.token_ids.size(), 0);
  if (sequence->meter != nullptr) sequence->meter->Skip(static_cast<int64_t>(token_ids.size()));
  sequence->state = SequenceState::kReady;
  --sequence->group->waiting;
  --waiting_turns_;
  blocked_ = false;
  return absl::OkStatus();
}

absl::StatusOr<FinishedCompletion> Scheduler::Conclude(uint64_t request_id, int completion_index) {
  Sequence* const sequence = FindWaiting(request_id, completion_index);
  if (sequence == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("completion ", completion_index, " of request ", request_id, " waits for nothing."));
  }
  std::vector<FinishedCompletion> finished;
  Finish(*sequence, finished);
  RemoveFinishedGroups();
  blocked_ = false;
  return std::move(finished.front());
}

// ---- pages of those that wait ---------------------------------------------------------------------------------------

void Scheduler::Unpark(Sequence& sequence) {
  parked_.erase(std::find(parked_.begin(), parked_.end(), &sequence));
  --sequence.group->parked;
}

bool Scheduler::DropWaiting() {
  if (!parked_.empty()) {
    Sequence& sequence = *parked_.front();
    Unpark(sequence);
    pool_.ReleaseAll(sequence.pages);
    sequence.computed = 0;
    ++stats_.waiting_drops;
    return true;
  }
  const auto waits = std::find_if(active_.rbegin(), active_.rend(), [](const auto& group) {
    return group->prefix == Group::Prefix::kReady && !group->runnable();
  });
  if (waits == active_.rend()) return false;
  DropPrefix(**waits);
  return true;
}

bool Scheduler::MakeRoom(int64_t pages) {
  while (pool_.free_pages() < pages) {
    if (!DropWaiting()) return false;
  }
  return true;
}

// Goes on with the pages it kept. False: there is no room for it now; others may have what it keeps.
bool Scheduler::Resume(Sequence& sequence) {
  Group& group = *sequence.group;
  Unpark(sequence);
  const int64_t tokens = group.prompt_tokens() + static_cast<int64_t>(sequence.completion.token_ids.size());
  const int64_t more = PagesFor(tokens) - static_cast<int64_t>(sequence.pages.size());
  if ((!running_.empty() && !HasRoom(more)) || !Reserve(KeyOf(sequence), sequence.computed + 1, sequence.pages)) {
    parked_.push_back(&sequence);
    ++group.parked;
    return false;
  }
  ++group.running;
  Run(sequence);
  return true;
}

}  // namespace tactus
