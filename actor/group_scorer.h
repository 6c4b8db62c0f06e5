// Judges a finished group: text, reward, attention rhythm and credit weights of each completion.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/rhythm_meter.h"
#include "common/rhythm/vine.h"
#include "common/tasks/judge.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// What belongs to one completion beside itself.
struct MeasuredAttention {
  std::unique_ptr<RhythmMeter> meter;        // null unless attention is measured
  std::shared_ptr<const HeadClasses> heads;  // calibrated; null: the completion's own
};

// Whole answers that begin as one of the group's does, up to a place in it, and go on anew.
struct Continuations {
  VinePlace place;
  std::vector<Completion> completions;  // [K] tokens and finish reason; the rewards are the scorer's
};

// Thread-safe, as its parts are; they must outlive it.
class GroupScorer {
 public:
  // judge null: completions come with their rewards, of conversations.
  GroupScorer(const Tokenizer* tokenizer, Judge* judge, const CreditAssigner* credit)
      : tokenizer_(tokenizer), judge_(judge), credit_(credit) {}

  // Fills reward and credit of every completion, which is 1 in the answers to a held-out prompt; else the spans of its
  // heads when classes are calibrated, and spans and raw rhythm in an audited group. attention [G]; continuations: from
  // all places that credit->vine() asks for, whose rewards are filled too. Errors, and how long it blocks, as
  // Judge::Score; they name the prompt.
  absl::Status Score(const PromptLease& lease, std::span<const MeasuredAttention> attention,
                     std::span<Continuations> continuations, absl::Time deadline, TrajectoryGroup& group) const;

  bool MeasuresAttention() const { return credit_->MeasuresAttention(); }
  const std::optional<VineOptions>& vine() const { return credit_->vine(); }
  // As Judge's.
  int calls_at_once() const { return judge_ == nullptr ? 1 : judge_->calls_at_once(); }
  std::string Trouble() const { return judge_ == nullptr ? "" : judge_->Trouble(); }
  void Close() const {
    if (judge_ != nullptr) judge_->Close();
  }

 private:
  absl::Status Judged(const PromptLease& lease, absl::Time deadline, std::span<Completion> completions) const;
  void AssignCredit(const PromptLease& lease, uint32_t index, const MeasuredAttention& attention,
                    std::span<const double> worth, Completion& completion) const;

  const Tokenizer* tokenizer_;
  Judge* judge_;
  const CreditAssigner* credit_;
};

}  // namespace tactus
