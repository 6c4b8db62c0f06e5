// Judges a finished group: text, reward, attention rhythm and credit weights of each completion.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "common/data/types.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/rhythm_meter.h"
#include "common/tasks/task.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// Thread-safe, as its parts are; they must outlive it. Bounded in time by the verifier.
class GroupScorer {
 public:
  GroupScorer(const Tokenizer* tokenizer, const Verifier* verifier, const CreditAssigner* credit)
      : tokenizer_(tokenizer), verifier_(verifier), credit_(credit) {}

  // Fills reward and credit of every completion, and the raw rhythm of those of an audited group. A completion that
  // cannot be decoded earns 0. meters [G]: what the engine measured; null where it did not.
  // InvalidArgument: the prompt's answer key is malformed; names the prompt.
  absl::Status Score(const PromptLease& lease, std::span<const std::unique_ptr<RhythmMeter>> meters,
                     TrajectoryGroup& group) const;

  bool MeasuresAttention() const { return credit_->MeasuresAttention(); }

 private:
  void AssignCredit(const PromptLease& lease, uint32_t index, const RhythmMeter* meter, Completion& completion) const;

  const Tokenizer* tokenizer_;
  const Verifier* verifier_;
  const CreditAssigner* credit_;
};

}  // namespace tactus
