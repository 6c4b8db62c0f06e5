#include "actor/engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/scheduler_impl.h"
#include "common/base/philox.h"

namespace tactus {
namespace {

// The draw's counter keeps 24 bits for the completion index; far fewer are ever useful.
constexpr int kMaxCompletions = 1 << 16;

absl::Status CheckRequest(const EngineRequest& request, const SchedulerOptions& options) {
  const auto check_ids = [&](const std::vector<TokenId>& ids, const char* field) {
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] >= 0 && ids[i] < options.vocab_size) continue;
      return absl::InvalidArgumentError(absl::StrCat("request ", request.request_id, ": ", field, "[", i, "] is ",
                                                     ids[i], ", expected an id in [0, ", options.vocab_size, ")."));
    }
    return absl::OkStatus();
  };
  const auto invalid = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("request ", request.request_id, ": ", parts...));
  };
  if (request.prompt_ids.empty()) return invalid("prompt_ids is empty, expected at least one token.");
  if (absl::Status status = check_ids(request.prompt_ids, "prompt_ids"); !status.ok()) return status;
  if (absl::Status status = check_ids(request.forced_ids, "forced_ids"); !status.ok()) return status;
  if (request.num_completions < 1 || request.num_completions > kMaxCompletions) {
    return invalid("num_completions is ", request.num_completions, ", expected 1 to ", kMaxCompletions, ".");
  }
  const int64_t new_tokens = request.forced_ids.empty() ? request.max_tokens : request.forced_ids.size();
  if (new_tokens < 1) return invalid("max_tokens is ", new_tokens, ", expected at least 1.");
  const int64_t prompt = request.prompt_ids.size();
  if (prompt + new_tokens > options.max_position) {
    return invalid("a prompt of ", prompt, " tokens and up to ", new_tokens, " new ones exceed the model's ",
                   options.max_position, " positions.");
  }
  if (request.measure_rhythm && options.probe.layers.empty()) {
    return invalid("the rhythm is wanted, and the engine has no layers to measure it in.");
  }
  if (request.max_turn_tokens < 0) return invalid("max_turn_tokens is ", request.max_turn_tokens, ".");
  if (absl::Status status = CheckForcedTurns(request); !status.ok()) return invalid(status.message());
  // The newest token is fed back for its attention only, and a prefix keeps its own partial page while sequences run.
  const int64_t pages = PagesFor(prompt + new_tokens - (request.measure_rhythm ? 0 : 1)) + 1;
  if (pages > options.num_pages) {
    return invalid("a prompt of ", prompt, " tokens and up to ", new_tokens, " new ones need ", pages,
                   " cache pages of ", kPageTokens, " tokens, and there are ", options.num_pages,
                   ": raise actor.kv_cache_mib.");
  }
  const SamplingOptions& sampling = request.sampling;
  if (!(sampling.temperature >= 0) || !(sampling.top_p > 0 && sampling.top_p <= 1) || sampling.top_k < 0) {
    return invalid("sampling needs temperature >= 0, 0 < top_p <= 1 and top_k >= 0.");
  }
  return absl::OkStatus();
}

// One more token of the model's: of the turn under way, or the first of a new one.
void CountInTurn(Completion& completion) {
  const int tokens = static_cast<int>(completion.token_ids.size());
  std::vector<Turn>& turns = completion.turns;
  if (turns.empty() || turns.back().start_token + turns.back().num_tokens < tokens) {
    turns.push_back({.start_token = tokens});
  }
  ++turns.back().num_tokens;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Scheduler>> Scheduler::Create(const SchedulerOptions& options) {
  if (options.max_sequences < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("actor.max_sequences is ", options.max_sequences, ", expected at least 1."));
  }
  if (options.max_step_tokens < options.max_sequences) {
    return absl::InvalidArgumentError(absl::StrCat("actor.max_step_tokens is ", options.max_step_tokens,
                                                   ", expected at least actor.max_sequences (", options.max_sequences,
                                                   "): every running sequence computes one token per step."));
  }
  if (options.max_waiting_groups < 1 || options.num_pages < 2 || options.vocab_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the engine needs a waiting queue, a vocabulary and at least 2 cache pages, and got ",
                     options.max_waiting_groups, ", ", options.vocab_size, " and ", options.num_pages,
                     ": raise actor.kv_cache_mib."));
  }
  return std::unique_ptr<Scheduler>(new Scheduler(options));
}

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), pool_(options.num_pages), flow_heads_(std::make_shared<const FlowHeads>(sampled_heads())) {
  running_.reserve(options.max_sequences);
  if (!options_.probe.layers.empty()) plan_.batch.probe = &options_.probe;
}
Scheduler::~Scheduler() = default;

Scheduler::Key Scheduler::KeyOf(const Group& group) const { return {group.order, -1}; }
Scheduler::Key Scheduler::KeyOf(const Sequence& sequence) const { return {sequence.group->order, sequence.index}; }

absl::Status Scheduler::Add(EngineRequest request) {
  if (absl::Status status = CheckRequest(request, options_); !status.ok()) return status;
  if (full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the engine's queue holds its ", options_.max_waiting_groups, " requests; step it first."));
  }
  const auto same = [&](const auto& group) { return group->request.request_id == request.request_id; };
  if (std::any_of(waiting_.begin(), waiting_.end(), same) || std::any_of(active_.begin(), active_.end(), same)) {
    return absl::AlreadyExistsError(absl::StrCat("request ", request.request_id, " is in the engine already."));
  }
  auto group = std::make_unique<Group>();
  group->request = std::move(request);
  group->order = next_order_++;
  waiting_.push_back(std::move(group));
  blocked_ = false;
  return absl::OkStatus();
}

// ---- pages ----------------------------------------------------------------------------------------------------------

bool Scheduler::Reserve(const Key& key, int64_t tokens, std::vector<int32_t>& pages) {
  while (static_cast<int64_t>(pages.size()) < PagesFor(tokens)) {
    const int32_t page = pool_.Allocate();
    if (page != PagePool::kNoPage) {
      pages.push_back(page);
    } else if (!DropWaiting() && !ReclaimFromNewest(key)) {
      return false;
    }
  }
  return true;
}

// Preempts the newest running sequence, or drops the newest prefix that no sequence is running from, if newer than
// `key`.
bool Scheduler::ReclaimFromNewest(const Key& key) {
  const auto droppable = std::find_if(active_.rbegin(), active_.rend(), [](const auto& group) {
    return group->prefix != Group::Prefix::kNone && group->running == 0 && group->parked == 0;
  });
  const bool has_prefix = droppable != active_.rend();
  Sequence* newest = running_.empty() ? nullptr : running_.back();
  if (newest != nullptr && (!has_prefix || KeyOf(*newest) > KeyOf(**droppable))) {
    if (KeyOf(*newest) <= key) return false;
    Preempt(*newest);
    return true;
  }
  if (!has_prefix || KeyOf(**droppable) <= key) return false;
  DropPrefix(**droppable);
  return true;
}

void Scheduler::Preempt(Sequence& sequence) {
  pool_.ReleaseAll(sequence.pages);
  sequence.computed = 0;
  sequence.state = SequenceState::kReady;
  --sequence.group->running;
  running_.erase(std::find(running_.begin(), running_.end(), &sequence));
  ++stats_.preemptions;
}

void Scheduler::DropPrefix(Group& group) {
  pool_.ReleaseAll(group.pages);
  group.computed = 0;
  group.prefix = Group::Prefix::kNone;
  ++stats_.prefix_drops;
}

// ---- planning -------------------------------------------------------------------------------------------------------

const StepPlan& Scheduler::Plan() {
  plan_.Clear();
  draw_sequences_.clear();
  ReservePagesOfRunning();
  StartReadySequences();
  bool prefixes_wait = false;
  for (const auto& group : active_) {
    if (group->prefix != Group::Prefix::kNone || !group->runnable() || AdmitPrefix(*group)) continue;
    prefixes_wait = true;
    break;
  }
  if (!prefixes_wait) AdmitGroups();
  AssignRows();
  EmitRuns();
  blocked_ = plan_.empty();
  return plan_;
}

// Oldest first, so that what a sequence takes from newer ones is settled before their own turn.
void Scheduler::ReservePagesOfRunning() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (!Reserve(KeyOf(sequence), sequence.computed + 1, sequence.pages))
      Preempt(sequence);  // the newest: the loop ends here
  }
}

void Scheduler::StartReadySequences() {
  for (const auto& group : active_) {
    if (group->prefix != Group::Prefix::kReady || group->running == group->unfinished) continue;
    for (Sequence& sequence : group->sequences) {
      if (sequence.state != SequenceState::kReady) continue;
      if (static_cast<int>(running_.size()) >= options_.max_sequences) return;
      if (!sequence.pages.empty()) {
        if (!Resume(sequence)) return;
        continue;
      }
      const int64_t tokens = group->prompt_tokens() + static_cast<int64_t>(sequence.completion.token_ids.size());
      const int64_t own_pages = PagesFor(tokens) - group->prompt_tokens() / kPageTokens;
      // With nothing running there is nobody to wait for: start by taking pages from newer prefixes.
      if (!running_.empty() && !HasRoom(own_pages)) return;
      Fork(sequence);
    }
  }
}

void Scheduler::Fork(Sequence& sequence) {
  Group& group = *sequence.group;
  const int64_t prompt = group.prompt_tokens();
  const int64_t full_pages = prompt / kPageTokens;
  ++group.running;  // from here on the prefix cannot be dropped
  for (int64_t i = 0; i < full_pages; ++i) {
    pool_.Share(group.pages[i]);
    sequence.pages.push_back(group.pages[i]);
  }
  if (!Reserve(KeyOf(sequence), prompt + 1, sequence.pages)) {
    pool_.ReleaseAll(sequence.pages);
    --group.running;
    return;
  }
  if (prompt % kPageTokens != 0) plan_.copies.push_back({group.pages[full_pages], sequence.pages[full_pages]});
  sequence.computed = prompt;
  Run(sequence);
}

void Scheduler::Run(Sequence& sequence) {
  sequence.state = SequenceState::kRunning;
  const auto newer = [&](const Sequence* other) { return KeyOf(*other) > KeyOf(sequence); };
  running_.insert(std::find_if(running_.begin(), running_.end(), newer), &sequence);
}

bool Scheduler::AdmitPrefix(Group& group) {
  const auto first = std::find_if(active_.begin(), active_.end(), [](const auto& one) { return one->runnable(); });
  const bool must_advance = running_.empty() && &group == first->get();
  const int64_t headroom = std::min(unfinished_sequences_ - waiting_turns_, options_.max_sequences);
  if (!must_advance && !MakeRoom(PagesFor(group.prompt_tokens()) + headroom)) return false;
  if (!Reserve(KeyOf(group), group.prompt_tokens(), group.pages)) {
    pool_.ReleaseAll(group.pages);
    return false;
  }
  group.prefix = Group::Prefix::kPrefilling;
  return true;
}

// A new prompt is prefilled once the active groups cannot fill every slot.
void Scheduler::AdmitGroups() {
  while (!waiting_.empty() && unfinished_sequences_ - waiting_turns_ < options_.max_sequences) {
    active_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    Group& group = *active_.back();
    if (!AdmitPrefix(group)) {
      waiting_.push_front(std::move(active_.back()));
      active_.pop_back();
      return;
    }
    const int count = group.request.num_completions;
    group.sequences.resize(count);
    for (int i = 0; i < count; ++i) {
      group.sequences[i].group = &group;
      group.sequences[i].index = i;
      if (!group.request.measure_rhythm) continue;
      group.sequences[i].meter =
          std::make_unique<RhythmMeter>(group.prompt_tokens(), sampled_heads(),
                                        RhythmMeter::Options{.keep_attention = group.request.keep_attention,
                                                             .ignore_first_token = options_.probe.ignore_first_token,
                                                             .flow_row_entries = options_.probe.flow_row_entries});
    }
    group.unfinished = count;
    unfinished_sequences_ += count;
  }
}

void Scheduler::AssignRows() {
  int64_t budget = options_.max_step_tokens;
  const auto remaining = [](const Sequence& sequence) {
    return sequence.group->prompt_tokens() + static_cast<int64_t>(sequence.completion.token_ids.size()) -
           sequence.computed;
  };
  for (Sequence* sequence : running_) {
    sequence->planned_rows = remaining(*sequence) == 1 ? 1 : 0;
    budget -= sequence->planned_rows;
  }
  for (Sequence* sequence : running_) {
    if (sequence->planned_rows > 0) continue;
    int64_t rows = std::min(remaining(*sequence), budget);
    while (static_cast<int64_t>(sequence->pages.size()) < PagesFor(sequence->computed + rows)) {
      const int32_t page = pool_.Allocate();  // only what is free: this step's other sequences keep theirs
      if (page == PagePool::kNoPage && DropWaiting()) continue;
      if (page == PagePool::kNoPage) break;
      sequence->pages.push_back(page);
    }
    rows = std::min(rows, static_cast<int64_t>(sequence->pages.size()) * kPageTokens - sequence->computed);
    sequence->planned_rows = rows;
    budget -= rows;
  }
  for (const auto& group : active_) {
    group->planned_rows = 0;
    if (group->prefix != Group::Prefix::kPrefilling) continue;
    group->planned_rows = std::min(group->prompt_tokens() - group->computed, budget);
    budget -= group->planned_rows;
  }
}

void Scheduler::EmitRuns() {
  for (Sequence* sequence : running_) {
    if (sequence->planned_rows > 0) EmitSequence(*sequence);
  }
  for (const auto& group : active_) {
    if (group->planned_rows > 0) EmitPrefix(*group);
  }
  if (!plan_.empty()) ++stats_.steps;
}

void Scheduler::EmitSequence(Sequence& sequence) {
  const auto& tokens = sequence.completion.token_ids;
  std::vector<TokenId>& rows = plan_.batch.token_ids;
  const int64_t first_row = rows.size();
  const int64_t from = sequence.computed - sequence.group->prompt_tokens(), to = from + sequence.planned_rows;
  rows.insert(rows.end(), tokens.begin() + from, tokens.begin() + to);
  plan_.batch.runs.push_back({first_row, sequence.planned_rows, sequence.computed, sequence.pages});
  const bool newest = to == static_cast<int64_t>(tokens.size());
  if (plan_.batch.probe != nullptr) {
    const bool measure = newest && sequence.meter != nullptr && sequence.meter->next_token() == to - 1;
    plan_.batch.taps.push_back(measure ? sequence.meter->Tap(flow_heads_) : ops::AttentionTap{});
  }
  if (newest && !sequence.complete) EmitDraw(first_row + sequence.planned_rows - 1, sequence);
  if (newest) ++(sequence.complete ? stats_.final_rows : stats_.decode_rows);
  const int64_t again = std::clamp<int64_t>(sequence.computed_before - sequence.computed, 0, sequence.planned_rows);
  stats_.recomputed_rows += again;
  stats_.prefill_rows += sequence.planned_rows - again - (newest ? 1 : 0);
}

void Scheduler::EmitPrefix(Group& group) {
  const auto& tokens = group.request.prompt_ids;
  std::vector<TokenId>& rows = plan_.batch.token_ids;
  const int64_t first_row = rows.size();
  rows.insert(rows.end(), tokens.begin() + group.computed, tokens.begin() + group.computed + group.planned_rows);
  plan_.batch.runs.push_back({first_row, group.planned_rows, group.computed, group.pages});
  if (plan_.batch.probe != nullptr) plan_.batch.taps.emplace_back();
  (group.first_tokens_drawn ? stats_.recomputed_rows : stats_.prefill_rows) += group.planned_rows;
  if (group.first_tokens_drawn || group.computed + group.planned_rows < group.prompt_tokens()) return;
  for (Sequence& sequence : group.sequences) EmitDraw(first_row + group.planned_rows - 1, sequence);
}

void Scheduler::EmitDraw(int64_t row, Sequence& sequence) {
  const EngineRequest& request = sequence.group->request;
  const uint32_t token_index = static_cast<uint32_t>(sequence.completion.token_ids.size());
  RowDraw draw;
  draw.row = static_cast<int32_t>(row);
  draw.params.temperature = request.sampling.temperature;
  draw.params.top_p = request.sampling.top_p;
  draw.params.top_k = request.sampling.top_k;
  if (request.forced_ids.empty()) {
    draw.params.uniform =
        UniformDouble(TokenDraw(request.seed, request.prompt_id, sequence.index, token_index, DrawPurpose::kSampling));
  } else {
    draw.target = request.forced_ids[token_index];
  }
  plan_.draws.push_back(draw);
  draw_sequences_.push_back(&sequence);
}

// ---- results --------------------------------------------------------------------------------------------------------

void Scheduler::Commit(std::span<const ops::SampledToken> sampled, PolicyVersion version,
                       std::vector<FinishedCompletion>& finished) {
  assert(sampled.size() == draw_sequences_.size());
  CommitRunning(finished);
  for (const auto& group : active_) {
    if (group->prefix != Group::Prefix::kPrefilling) continue;
    group->computed += group->planned_rows;
    if (group->computed < group->prompt_tokens()) continue;
    group->prefix = Group::Prefix::kReady;
    group->first_tokens_drawn = true;
  }
  for (size_t i = 0; i < sampled.size(); ++i) Append(*draw_sequences_[i], sampled[i], version, finished);
  RemoveFinishedGroups();
}

void Scheduler::CommitRunning(std::vector<FinishedCompletion>& finished) {
  std::vector<Sequence*> done;
  for (Sequence* sequence : running_) {
    sequence->computed += sequence->planned_rows;
    sequence->computed_before = std::max(sequence->computed_before, sequence->computed);
    const int64_t tokens = static_cast<int64_t>(sequence->completion.token_ids.size());
    if (sequence->meter == nullptr || sequence->computed < sequence->group->prompt_tokens() + tokens) continue;
    if (sequence->meter->next_token() < tokens) sequence->meter->Advance();
    if (sequence->complete) done.push_back(sequence);
  }
  for (Sequence* sequence : done) EndOrFinish(*sequence, finished);
}

void Scheduler::Append(Sequence& sequence, const ops::SampledToken& sampled, PolicyVersion version,
                       std::vector<FinishedCompletion>& finished) {
  const EngineRequest& request = sequence.group->request;
  const bool forced = !request.forced_ids.empty();
  const size_t max_tokens = forced ? request.forced_ids.size() : request.max_tokens;
  Completion& completion = sequence.completion;
  if (completion.token_ids.empty()) {
    completion.token_ids.reserve(max_tokens);
    completion.logprobs.reserve(max_tokens);
    completion.entropy.reserve(max_tokens);
  }
  if (completion.versions.empty() || completion.versions.back().version != version) {
    completion.versions.push_back({static_cast<int>(completion.token_ids.size()), version});
  }
  const bool converses = request.max_turn_tokens > 0;
  if (converses) CountInTurn(completion);
  const TokenId token = forced ? request.forced_ids[completion.token_ids.size()] : sampled.token;
  completion.token_ids.push_back(token);
  completion.logprobs.push_back(sampled.logprob);
  completion.entropy.push_back(sampled.entropy);
  const auto& stops = request.stop_ids;
  const bool stop = !forced && std::find(stops.begin(), stops.end(), token) != stops.end();
  const bool full = completion.token_ids.size() >= max_tokens ||
                    (converses && completion.turns.back().num_tokens >= MostTurnTokens(request, completion));
  if (!stop && !full) return;
  completion.finish_reason = stop ? FinishReason::kStop : FinishReason::kLength;  // the last turn's is the completion's
  sequence.complete = true;
  if (sequence.meter == nullptr) EndOrFinish(sequence, finished);  // otherwise its last token's row comes first
}

void Scheduler::EndOrFinish(Sequence& sequence, std::vector<FinishedCompletion>& finished) {
  if (sequence.group->request.max_turn_tokens > 0) return EndTurn(sequence);
  Finish(sequence, finished);
}

void Scheduler::Finish(Sequence& sequence, std::vector<FinishedCompletion>& finished) {
  Group& group = *sequence.group;
  if (sequence.state == SequenceState::kRunning) {
    pool_.ReleaseAll(sequence.pages);
    running_.erase(std::find(running_.begin(), running_.end(), &sequence));
    --group.running;
  }
  if (sequence.state == SequenceState::kWaiting) {
    if (!sequence.pages.empty()) Unpark(sequence);
    pool_.ReleaseAll(sequence.pages);
    --group.waiting;
    --waiting_turns_;
  }
  sequence.state = SequenceState::kFinished;
  --group.unfinished;
  --unfinished_sequences_;
  finished.push_back(
      {group.request.request_id, sequence.index, std::move(sequence.completion), std::move(sequence.meter)});
}

void Scheduler::RemoveFinishedGroups() {
  std::erase_if(active_, [&](const std::unique_ptr<Group>& group) {
    if (group->unfinished > 0) return false;
    pool_.ReleaseAll(group->pages);
    return true;
  });
}

absl::Status Scheduler::Cancel(uint64_t request_id) {
  const auto same = [&](const auto& group) { return group->request.request_id == request_id; };
  blocked_ = false;
  if (std::erase_if(waiting_, same) > 0) return absl::OkStatus();
  const auto found = std::find_if(active_.begin(), active_.end(), same);
  if (found == active_.end()) {
    return absl::NotFoundError(absl::StrCat("request ", request_id, " is not in the engine."));
  }
  Group& group = **found;
  const auto of_group = [&](const Sequence* sequence) { return sequence->group == &group; };
  std::erase_if(running_, of_group);
  std::erase_if(parked_, of_group);
  std::erase_if(ended_turns_, [&](const EndedTurn& turn) { return turn.request_id == request_id; });
  for (Sequence& sequence : group.sequences) pool_.ReleaseAll(sequence.pages);
  unfinished_sequences_ -= group.unfinished;
  waiting_turns_ -= group.waiting;
  group.unfinished = 0;
  RemoveFinishedGroups();
  return absl::OkStatus();
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats = stats_;
  stats.running = static_cast<int>(running_.size());
  stats.waiting_groups = static_cast<int>(waiting_.size());
  stats.waiting_turns = waiting_turns_;
  stats.free_pages = pool_.free_pages();
  stats.num_pages = pool_.num_pages();
  return stats;
}

}  // namespace tactus
