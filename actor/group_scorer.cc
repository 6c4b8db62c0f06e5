#include "actor/group_scorer.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/completion_text.h"

namespace tactus {

absl::Status GroupScorer::Score(const PromptLease& lease, TrajectoryGroup& group) const {
  for (size_t i = 0; i < group.completions.size(); ++i) {
    Completion& completion = group.completions[i];
    const absl::StatusOr<std::string> text =
        CompletionText(*tokenizer_, completion.token_ids, completion.finish_reason);
    if (text.ok()) {
      absl::StatusOr<Reward> reward = verifier_->Score(lease.prompt.answer_key_json, *text);
      if (!reward.ok()) {
        return absl::Status(reward.status().code(),
                            absl::StrCat("prompt ", lease.prompt.id, ": ", reward.status().message()));
      }
      completion.reward = *std::move(reward);
    } else {
      completion.reward = Reward{.reason = "undecodable"};
    }
    completion.credit = credit_->Weights({.seed = lease.seed,
                                          .prompt_id = lease.prompt.id,
                                          .completion_index = static_cast<uint32_t>(i),
                                          .entropy = completion.entropy});
  }
  return absl::OkStatus();
}

}  // namespace tactus
