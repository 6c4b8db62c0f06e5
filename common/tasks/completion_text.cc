#include "common/tasks/completion_text.h"

namespace tactus {

absl::StatusOr<std::string> CompletionText(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                           FinishReason finish_reason) {
  if (finish_reason == FinishReason::kStop && !ids.empty()) ids = ids.first(ids.size() - 1);
  return tokenizer.Decode(ids, /*skip_special_tokens=*/false);
}

}  // namespace tactus
