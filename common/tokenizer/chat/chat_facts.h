// What a model folder's files say together about conversations: where an answer ends, and where they disagree.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

struct ChatFacts {
  // Each ends an answer: the ids that the model's own files name, the tokenizer's eos_token, and the token with which
  // the chat template ends what an assistant says. No id twice.
  std::vector<TokenId> stop_ids;
  // What an answer to learn from is ended with: the template's token, else the tokenizer's eos_token, else the first
  // of the model's ids; -1: nobody names one.
  TokenId answer_end = -1;
  // For the user to read: what disagrees, what is missing, and what depends on the day. A sentence each, none ended.
  std::vector<std::string> remarks;
};

// `chat` is null where the folder has no template that can be used. `model_ids` are the eos ids of
// generation_config.json or config.json, `vocab_size` the rows of the embedding: an id behind them cannot end an
// answer. Blocking: reads the tokenizer's small files. Errors are those of ReadTokenizerFiles.
absl::StatusOr<ChatFacts> FindChatFacts(const std::string& folder, const Tokenizer& tokenizer, const ChatTemplate* chat,
                                        std::span<const int32_t> model_ids, int64_t vocab_size);

}  // namespace tactus
