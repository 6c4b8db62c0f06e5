// Decides what each engine step computes: continuous batching over a paged key/value cache.
//
// A group is one prompt with G completions. Its life:
//   waiting ──admit──► prefix prefilling ──last prompt row: G first tokens──► prefix ready
//   sequence: ready ──start (fork: shares the prompt's full pages, copies the partial one)──► running ──► finished
//                     ▲────────────── preempted: pages freed, tokens kept ──────────┘
// A preempted sequence forks again and recomputes its own tokens as one prefill piece: nothing is drawn a second time,
// and no row's attention is measured a second time. A measured sequence runs one row past its last token before it
// finishes, or ends its turn. A prefix is held until the group is finished; under pressure one with no running sequence
// is dropped and prefilled again.
//
// A sequence of a conversation waits between its turns. It holds no place among the running ones, and its pages only
// for as long as nobody else needs them: then it gives them back, those that wait the longest first, and recomputes its
// tokens when it goes on, as a preempted one does. A prefix all of whose sequences wait is given back likewise.
//
// Order: groups are served as they came, sequences by index. A unit (a prefix or a running sequence) that needs a page
// may take those of newer units, newest first, never of older ones: so the oldest always advances and nothing starves.
// Each step computes one row for every running sequence, then, up to max_step_tokens rows in all, recomputation and
// prompts.
//
// Pure host code: no clock, no I/O, no model. Not thread-safe. Never blocks. Results of sequences do not depend on
// anything decided here, as long as the model's rows do not depend on their batch neighbours.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/page_pool.h"
#include "actor/engine/request.h"
#include "actor/engine/step_plan.h"

namespace tactus {

struct EngineOptions {
  int max_sequences = 32;          // sequences running at once
  int max_step_tokens = 2048;      // rows of one step; at least max_sequences
  int max_waiting_groups = 64;     // in the queue, not yet admitted
  ops::AttentionProbe probe = {};  // where the rhythm is measured; no layers: requests for it are refused
};

// What the scheduler must know of the model and its cache besides.
struct SchedulerOptions : EngineOptions {
  int64_t max_position = 32768;  // longest prompt + completion, tokens
  int32_t vocab_size = 0;        // ids outside it are refused
  int32_t num_pages = 0;
  int64_t heads_per_layer = 0;  // query heads
};

// Counts since creation; the gauges are of this moment.
struct SchedulerStats {
  int64_t steps = 0;
  int64_t decode_rows = 0;
  int64_t prefill_rows = 0;
  int64_t final_rows = 0;       // read a last token for its attention alone
  int64_t recomputed_rows = 0;  // of preempted sequences and dropped prefixes
  int64_t preemptions = 0;
  int64_t prefix_drops = 0;
  int64_t waiting_drops = 0;  // sequences that gave their pages back while they waited
  int running = 0;
  int waiting_turns = 0;  // sequences that wait for Continue or Conclude
  int waiting_groups = 0;
  int free_pages = 0;
  int num_pages = 0;
};

class Scheduler {
 public:
  // InvalidArgument names the option that cannot work.
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const SchedulerOptions& options);
  ~Scheduler();

  // InvalidArgument: a malformed request, or one that could never fit in the cache or in max_position.
  // ResourceExhausted: the waiting queue is full: step first.  AlreadyExists: request_id is in use.
  absl::Status Add(EngineRequest request);

  // The next step's work; empty when there is nothing to do. The plan belongs to the scheduler. Commit it before the
  // next call of any other method.
  const StepPlan& Plan();

  // Takes the results of the plan's draws, in their order, and appends what finished. `version` sampled them.
  void Commit(std::span<const ops::SampledToken> sampled, PolicyVersion version,
              std::vector<FinishedCompletion>& finished);

  // Drops a request with all its completions. NotFound: there is no such request (any more).
  absl::Status Cancel(uint64_t request_id);

  // Appends tokens of others to a sequence whose turn has ended; its next turn begins behind them. NotFound: no such
  // sequence waits. InvalidArgument: no token, one outside the vocabulary, or no room for a token after them.
  absl::Status Continue(uint64_t request_id, int completion_index, std::span<const TokenId> token_ids);
  // Ends it with the turn that has ended. NotFound: no such sequence waits.
  absl::StatusOr<FinishedCompletion> Conclude(uint64_t request_id, int completion_index);
  // The turns that have ended since the last call, in their order.
  std::vector<EndedTurn> TakeEndedTurns();

  // Rows that are read from the next step on are kept for the flow as means over these of the sampled heads; all of
  // them at first. Without meaning where the probe keeps none.
  void UseFlowHeads(std::shared_ptr<const FlowHeads> heads) { flow_heads_ = std::move(heads); }

  int64_t sampled_heads() const {
    return static_cast<int64_t>(options_.probe.layers.size()) * options_.heads_per_layer;
  }
  // Nothing to compute, until the next call of another method.
  bool idle() const { return blocked_ || (waiting_.empty() && active_.empty()); }
  int waiting_turns() const { return waiting_turns_; }
  int max_sequences() const { return options_.max_sequences; }
  bool full() const { return static_cast<int>(waiting_.size()) >= options_.max_waiting_groups; }
  SchedulerStats stats() const;

 private:
  enum class SequenceState : uint8_t { kReady, kRunning, kWaiting, kFinished };
  struct Group;
  struct Sequence;
  struct Key;

  explicit Scheduler(const SchedulerOptions& options);

  Key KeyOf(const Group& group) const;
  Key KeyOf(const Sequence& sequence) const;
  // Grows a page table to cover `tokens`; takes pages of newer units when none are free. False: not enough.
  bool Reserve(const Key& key, int64_t tokens, std::vector<int32_t>& pages);
  bool ReclaimFromNewest(const Key& key);
  void Preempt(Sequence& sequence);
  void DropPrefix(Group& group);
  // Gives back what the sequence that has waited longest holds, else a prefix that only waits. False: there is none.
  bool DropWaiting();
  void Unpark(Sequence& sequence);
  // Whether so many pages are free, those of waiting sequences given back.
  bool MakeRoom(int64_t pages);
  // The same with one more for every running sequence, so that the start is not undone at once.
  bool HasRoom(int64_t pages) { return MakeRoom(pages + static_cast<int64_t>(running_.size())); }

  void ReservePagesOfRunning();
  void StartReadySequences();
  void Fork(Sequence& sequence);
  bool Resume(Sequence& sequence);
  void Run(Sequence& sequence);
  bool AdmitPrefix(Group& group);
  void AdmitGroups();
  void AssignRows();
  void EmitRuns();
  void EmitSequence(Sequence& sequence);
  void EmitPrefix(Group& group);
  void EmitDraw(int64_t row, Sequence& sequence);

  void CommitRunning(std::vector<FinishedCompletion>& finished);
  void Append(Sequence& sequence, const ops::SampledToken& sampled, PolicyVersion version,
              std::vector<FinishedCompletion>& finished);
  // What has all its tokens, and all their rows, ends its turn or for good.
  void EndOrFinish(Sequence& sequence, std::vector<FinishedCompletion>& finished);
  void EndTurn(Sequence& sequence);
  // Null: it does not wait.
  Sequence* FindWaiting(uint64_t request_id, int completion_index);
  absl::Status CheckContinuation(const Sequence& sequence, std::span<const TokenId> token_ids) const;
  void Finish(Sequence& sequence, std::vector<FinishedCompletion>& finished);
  void RemoveFinishedGroups();

  const SchedulerOptions options_;
  PagePool pool_;
  std::shared_ptr<const FlowHeads> flow_heads_;  // never null
  uint64_t next_order_ = 0;
  std::deque<std::unique_ptr<Group>> waiting_;
  std::deque<std::unique_ptr<Group>> active_;  // in order of arrival
  std::vector<Sequence*> running_;             // sorted by key
  std::vector<Sequence*> parked_;              // have ended a turn and hold pages; the longest first
  int unfinished_sequences_ = 0;               // of active groups
  int waiting_turns_ = 0;                      // of those
  bool blocked_ = false;                       // the last plan was empty
  std::vector<EndedTurn> ended_turns_;
  StepPlan plan_;
  std::vector<Sequence*> draw_sequences_;  // whose each draw is
  SchedulerStats stats_;
};

}  // namespace tactus
