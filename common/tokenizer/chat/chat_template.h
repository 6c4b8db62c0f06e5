// Turns messages into the text a model was trained to see.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tactus {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool", or another that the template prints
  std::string content;
  std::string name = {};          // of the tool that a "tool" message is the result of; where the template prints it
  std::string tool_call_id = {};  // likewise
};

// Immutable, thread-safe.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // The model folder's own template, a Jinja program, as ReadTokenizerFiles finds it: rendered as `transformers` does,
  // within the bounds of jinja/jinja.h. `literal` (model.prompt_template), when not empty, replaces it: {system} and
  // {user} are filled in. Unimplemented: the folder has none. InvalidArgument: its files or its template cannot be
  // read.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> FromModelFolder(const std::string& folder,
                                                                       const std::string& literal);

  // The prompt text with the generation prompt added. InvalidArgument: no message, or the template refuses them.
  virtual absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const = 0;

  // The same with tools that the model may call: a JSON array of objects as the template wants them. InvalidArgument:
  // also where it is none, or the template prints no tools.
  virtual absl::StatusOr<std::string> RenderWithTools(const std::vector<ChatMessage>& messages,
                                                      const std::string& tools_json) const;

  // What it prints between an assistant's answer and the next one, when `messages` are said between the two: the end of
  // the answer, the messages, the generation prompt. InvalidArgument: no message, or the template refuses them, or
  // does not print what the assistant said.
  virtual absl::StatusOr<std::string> RenderBetweenAnswers(const std::vector<ChatMessage>& messages) const = 0;

  // What it prints behind an assistant's answer; empty where it prints nothing, or does not tell.
  virtual std::string AnswerEnd() const { return ""; }
  // Whether it is model.prompt_template, not the folder's own.
  virtual bool literal() const { return false; }
  // Whether it prints the date, so that the same messages do not make the same prompt every day.
  virtual bool tells_time() const { return false; }
};

}  // namespace tactus
