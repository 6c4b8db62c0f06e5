// From trajectories to packed micro-batches: which sequences this rank computes, and in which pieces.
//
// Shapes: S sequences, T tokens, N targets (trained tokens) of one micro-batch. A sequence is a prompt and its
// completion without the last token, which nothing is predicted from; its targets are the completion's tokens, of a
// conversation those of the model's turns.
// Everything keeps the order given (admission order), so the completions of a prompt stay neighbours. Pure:
// thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/model/train_sequences.h"

namespace tactus {

// One sequence to train on; views into the caller's trajectories. The per-token spans are [completion.size()], or all
// empty where there is no behaviour policy (supervised training).
struct SequenceView {
  std::span<const TokenId> prompt;      // at least one token
  std::span<const TokenId> completion;  // at least one token
  int32_t group = 0;                    // equal for the completions of one prompt
  double advantage = 0;
  std::span<const float> behavior_logprobs;
  std::span<const float> credit;
  std::span<const VersionSpan> versions;
  std::span<const Turn> turns = {};  // empty: every token of the completion is the model's

  int64_t tokens() const { return static_cast<int64_t>(prompt.size() + completion.size()) - 1; }
};

// One packed micro-batch. Move-only: it is large, and one step's.
class TrainBatch {
 public:
  struct Fields {
    TrainSequences sequences;              // T tokens, S sequences, N targets
    std::vector<int64_t> target_starts;    // [S + 1] the targets of sequence s are [starts[s], starts[s + 1])
    std::vector<int32_t> groups;           // [S]
    std::vector<double> advantages;        // [S]
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
  size_t num_sequences() const { return fields_.advantages.size(); }
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
// out of order or range, longer than the budget, or with a token outside [0, vocab_size).
absl::Status CheckSequences(std::span<const SequenceView> sequences, int64_t budget_tokens, int64_t vocab_size);

// Cuts [world + 1] that give rank r the sequences [cuts[r], cuts[r + 1]): contiguous, with token sums that differ from
// the even share by at most one sequence at either end.
std::vector<size_t> SplitAcrossRanks(std::span<const SequenceView> sequences, int world);

// Cuts of micro-batches of at most budget_tokens. One ends early, before a group that would not fit whole, when that
// leaves it at least half full. No sequence is longer than the budget.
std::vector<size_t> SplitIntoMicroBatches(std::span<const SequenceView> sequences, int64_t budget_tokens);

// All of `sequences` (one rank's) as micro-batches. The errors of CheckSequences.
absl::StatusOr<std::vector<TrainBatch>> PackSequences(std::span<const SequenceView> sequences, int64_t budget_tokens,
                                                      int64_t vocab_size, PolicyVersion current);

}  // namespace tactus
