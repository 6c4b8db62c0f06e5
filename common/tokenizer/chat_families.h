// How each family of models writes a conversation; chat_template.cc decides which family a model folder is of.
// Internal to common/tokenizer. Every template here is immutable and thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/tokenizer/chat_template.h"

namespace tactus {

// InvalidArgument: no message, or a role other than system, user and assistant; names its index.
absl::Status CheckChatMessages(const std::vector<ChatMessage>& messages);

// SmolLM2, Qwen2, Qwen2.5: <|im_start|>role\ncontent<|im_end|>\n for each message; `default_system` goes first when the
// first message is no system message. Without it: Qwen3-Instruct-2507 and plain ChatML.
std::unique_ptr<ChatTemplate> MakeChatMlTemplate(std::optional<std::string> default_system);

// The contents one after another and nothing else, generation prompt included: a model trained on bare text.
std::unique_ptr<ChatTemplate> MakePlainTemplate();

// Qwen3 with thinking left to the model.
std::unique_ptr<ChatTemplate> MakeQwen3Template();

// Llama-3 (not 3.1 and later, which tell the date). `bos` is the text of the bos token.
std::unique_ptr<ChatTemplate> MakeLlama3Template(std::string bos);

// Mistral-Nemo: users and assistants take turns, and a system message stands in the last question. It has no generation
// prompt: an answer follows [/INST]. InvalidArgument: roles that do not alternate.
std::unique_ptr<ChatTemplate> MakeMistralNemoTemplate(std::string bos, std::string eos);

// OLMo 2.
std::unique_ptr<ChatTemplate> MakeOlmo2Template(std::string bos, std::string eos);

}  // namespace tactus
