// What an environment says between two turns of a conversation, as token ids: nothing that was sampled is tokenised
// again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// Immutable, thread-safe. The tokenizer and the template must outlive it.
class TurnEncoder {
 public:
  TurnEncoder(const Tokenizer* tokenizer, const ChatTemplate* chat, int64_t vocab_size)
      : tokenizer_(tokenizer), chat_(chat), vocab_size_(vocab_size) {}

  // What stands between a turn that ended with the token `last` and the model's next one, by its chat template. A token
  // with which the template ends a turn is left out where it is `last`, which the model has said itself.
  // InvalidArgument: the template refuses the messages, or there is no token, or one that the model does not know.
  absl::StatusOr<std::vector<TokenId>> Messages(const std::vector<ChatMessage>& messages, TokenId last) const;
  // The text as it stands, special tokens by their texts. InvalidArgument: as above.
  absl::StatusOr<std::vector<TokenId>> Text(const std::string& text) const;

 private:
  absl::StatusOr<std::vector<TokenId>> Checked(std::vector<TokenId> ids) const;

  const Tokenizer* tokenizer_;
  const ChatTemplate* chat_;
  int64_t vocab_size_;
};

}  // namespace tactus
