// Judges a finished group: text, reward and credit weights of each completion.
#pragma once

#include "absl/status/status.h"
#include "actor/credit.h"
#include "common/data/types.h"
#include "common/tasks/task.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// Thread-safe, as its parts are; they must outlive it. Bounded in time by the verifier.
class GroupScorer {
 public:
  GroupScorer(const Tokenizer* tokenizer, const Verifier* verifier, const CreditAssigner* credit)
      : tokenizer_(tokenizer), verifier_(verifier), credit_(credit) {}

  // Fills reward and credit of every completion. A completion that cannot be decoded earns 0.
  // InvalidArgument: the prompt's answer key is malformed; names the prompt.
  absl::Status Score(const PromptLease& lease, TrajectoryGroup& group) const;

 private:
  const Tokenizer* tokenizer_;
  const Verifier* verifier_;
  const CreditAssigner* credit_;
};

}  // namespace tactus
