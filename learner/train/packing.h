// From trajectories to packed micro-batches: the sequences of a batch as arrays, and which rank computes which of them
// in which pieces.
//
// Shapes: S sequences, T tokens, N targets (trained tokens) of one micro-batch. A sequence is a prompt and its
// completion without the last token, which nothing is predicted from; its targets are the completion's tokens, of a
// conversation those of the model's turns.
// Everything keeps the order given (admission order), so the completions of a prompt stay neighbours. Neighbours in a
// micro-batch have their prompt once, but for its last token: each has that one itself, since its first token is
// predicted from it (docs/adr/0028).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/model/train_sequences.h"
#include "learner/train/pass_cost.h"

namespace tactus {

// One sequence to train on; views into the caller's trajectories. The per-token spans are [completion.size()], or all
// empty where there is no behaviour policy (supervised training).
struct SequenceView {
  std::span<const TokenId> prompt;      // at least one token
  std::span<const TokenId> completion;  // at least one token
  int32_t group = 0;                    // equal for the completions of one prompt
  std::vector<double> advantages;       // [turns], or [1] of all tokens; empty in supervised training
  std::span<const float> behavior_logprobs;
  std::span<const float> credit;
  std::span<const VersionSpan> versions;
  std::span<const Turn> turns = {};  // empty: every token of the completion is the model's

  int64_t tokens() const { return static_cast<int64_t>(prompt.size() + completion.size()) - 1; }
};

// Rows that `view` takes in a micro-batch behind `before`, null where it is the first: without those of a prompt that
// is there already.
int64_t RowsBehind(const SequenceView* before, const SequenceView& view);

// One packed micro-batch. Move-only: it is large, and one step's.
class TrainBatch {
 public:
  struct Fields {
    TrainSequences sequences;              // T tokens, S sequences, N targets
    std::vector<int64_t> target_starts;    // [S + 1] the targets of sequence s are [starts[s], starts[s + 1])
    std::vector<int32_t> groups;           // [S]
    std::vector<double> advantages;        // [N], or empty
    std::vector<float> behavior_logprobs;  // [N], or empty
    std::vector<float> credit;             // [N], or empty
    std::vector<uint8_t> on_policy;        // [N] 1 where the current version sampled the token, or empty
  };

  // InvalidArgument when a shape is not as above, a start or row is out of order or range, or a token is not in
  // [0, vocab_size).
  static absl::StatusOr<TrainBatch> Create(Fields fields, int64_t vocab_size);

  // Of no sequences: what a rank without work goes through the others' pass with.
  static TrainBatch Empty();

  TrainBatch(TrainBatch&&) = default;
  TrainBatch& operator=(TrainBatch&&) = default;
  TrainBatch(const TrainBatch&) = delete;
  TrainBatch& operator=(const TrainBatch&) = delete;

  const Fields& fields() const { return fields_; }
  size_t num_sequences() const { return fields_.groups.size(); }
  size_t num_targets() const { return fields_.sequences.targets.size(); }
  size_t num_tokens() const { return fields_.sequences.token_ids.size(); }
  // The part of a per-target array that belongs to sequence s; empty of an empty array.
  template <typename T>
  std::span<T> Targets(std::span<T> per_target, size_t s) const {
    if (per_target.empty()) return {};
    const size_t begin = static_cast<size_t>(fields_.target_starts[s]);
    return per_target.subspan(begin, static_cast<size_t>(fields_.target_starts[s + 1]) - begin);
  }

 private:
  explicit TrainBatch(Fields fields) : fields_(std::move(fields)) {}
  Fields fields_;
};

// InvalidArgument: a sequence without a prompt or completion token, with per-token spans of other lengths, with turns
// out of order or range or other advantages than those, longer than the budget, or with a token outside [0,
// vocab_size).
absl::Status CheckSequences(std::span<const SequenceView> sequences, int64_t budget_tokens, int64_t vocab_size);

// All of `sequences` as one micro-batch. The errors of CheckSequences, but for the budget. Pure: thread-safe.
absl::StatusOr<TrainBatch> PackSequences(std::span<const SequenceView> sequences, int64_t vocab_size,
                                         PolicyVersion current);

// Which rank computes which sequences of an optimizer step, in which micro-batches. Groups are added in order, and what
// becomes of one depends on those before it and on how many there will be, never on when it is added: so the plan is
// the same on all ranks, whether the groups are there at once or come one by one while what is planned is computed.
//
// A group goes to the rank that has the least to do so far, the first of equals: rows, and the keys that they look at.
// Of the last `world` groups each sequence does, so that the shares end up even. A micro-batch holds at most
// budget_tokens, of neighbours with one prompt that once; it ends early before a group (the rank's part of it) that
// fits into one whole but no more into this one. So two in a row hold more than the budget together, and only a part
// that is larger than it is torn. Owned by one thread. Never blocks.
class MicroBatchPlan {
 public:
  MicroBatchPlan(int world, int64_t budget_tokens, size_t num_groups, const PassCost& cost = {});

  // The next group's sequences, perhaps none, each within the budget; at most num_groups are added. What the views show
  // is the caller's.
  void Add(std::span<const SequenceView> group);
  bool complete() const { return groups_left_ == 0; }

  // How many rounds stand: the micro-batches [0, rounds()) of every rank are as they will be. Of a complete plan as
  // many as the rank with the most has; others may have less.
  size_t rounds() const;
  size_t batches(int rank) const { return shares_[static_cast<size_t>(rank)].batches.size(); }
  // Places of the micro-batch's sequences in the order in which they were added; none beyond the rank's last.
  std::span<const size_t> places(int rank, size_t round) const;
  const SequenceView& sequence(size_t place) const { return sequences_[place]; }

 private:
  struct Share {
    double cost = 0;                           // but for prompts again in parts that are torn
    int64_t open_tokens = 0;                   // rows of the last of `batches`
    std::vector<std::vector<size_t>> batches;  // of places
  };
  Share& Least();
  const SequenceView* Last(const std::vector<size_t>& places) const {
    return places.empty() ? nullptr : &sequences_[places.back()];
  }
  // A group's sequences that are the share's.
  void Append(std::span<const size_t> part, Share& share) const;

  const int64_t budget_tokens_;
  const PassCost cost_;
  size_t groups_left_;
  std::vector<SequenceView> sequences_;
  std::vector<Share> shares_;  // by rank
};

}  // namespace tactus
