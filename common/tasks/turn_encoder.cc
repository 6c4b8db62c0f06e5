#include "common/tasks/turn_encoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::StatusOr<std::vector<TokenId>> TurnEncoder::Checked(std::vector<TokenId> ids) const {
  if (ids.empty()) return absl::InvalidArgumentError("the environment's words are no token: expected at least one");
  const auto unknown = std::ranges::find_if(ids, [this](TokenId id) { return id >= vocab_size_; });
  if (unknown == ids.end()) return ids;
  return absl::InvalidArgumentError(absl::StrCat("the environment's words hold token ", *unknown,
                                                 ", which the model does not know: its vocab_size is ", vocab_size_));
}

absl::StatusOr<std::vector<TokenId>> TurnEncoder::Messages(const std::vector<ChatMessage>& messages,
                                                           TokenId last) const {
  ASSIGN_OR_RETURN(const std::string text, chat_->RenderBetweenAnswers(messages));
  std::vector<TokenId> ids = tokenizer_->Encode(text, /*add_special_tokens=*/false);
  if (!ids.empty() && ids.front() == last) ids.erase(ids.begin());
  return Checked(std::move(ids));
}

absl::StatusOr<std::vector<TokenId>> TurnEncoder::Text(const std::string& text) const {
  return Checked(tokenizer_->Encode(text, /*add_special_tokens=*/false));
}

}  // namespace tactus
