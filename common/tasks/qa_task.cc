#include "common/tasks/qa_task.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/data/data_rows.h"
#include "common/tasks/answer_verifier.h"
#include "common/tasks/row_splits.h"

namespace tactus {
namespace {

absl::StatusOr<std::string> ReadKey(const JsonField& row, const TaskSettings& settings) {
  if (settings.opaque_keys) {
    std::string key = WithoutField(row, settings.question_field).dump();
    if (key.size() <= kMaxAnswerKeyBytes) return key;
    return row.Error(absl::StrCat("all but the question has ", key.size(), " bytes: expected at most ",
                                  kMaxAnswerKeyBytes, " for the environment"));
  }
  ASSIGN_OR_RETURN(const JsonField field, FieldAt(row, settings.answer_field));
  ASSIGN_OR_RETURN(const std::string answer, field.StringOrNumber());
  const std::string final_answer = FinalAnswer(answer);
  if (final_answer.empty()) return field.Error("expected a final answer, found none");
  return AnswerKey(final_answer);
}

// [["role", "content"], …]
absl::StatusOr<nlohmann::json> ReadMessages(const JsonField& field) {
  nlohmann::json messages = nlohmann::json::array();
  for (size_t i = 0; i < field.value().size(); ++i) {
    const JsonField message = field.Element(i);
    RETURN_IF_ERROR(message.CheckHas({"role", "content"}));
    JSON_MEMBER(const std::string role, message, "role", String());
    JSON_MEMBER(const std::string content, message, "content", String());
    if (role == "system" && i > 0) return message.Expected("a system message in the first place alone");
    messages.push_back(nlohmann::json::array({role, content}));
  }
  if (messages.empty() || messages.back()[0] != "user")
    return field.Expected("messages of which the last is the user's");
  if (absl::StripAsciiWhitespace(messages.back()[1].get_ref<const std::string&>()).empty()) {
    return field.Expected("some text of the user's");
  }
  return messages;
}

// A text, or messages.
absl::StatusOr<nlohmann::json> ReadQuestion(const JsonField& field) {
  if (field.value().is_array()) return ReadMessages(field);
  if (!field.value().is_string()) return field.Expected("a string or a list of messages");
  const absl::string_view text = absl::StripAsciiWhitespace(field.value().get_ref<const std::string&>());
  if (text.empty()) return field.Expected("some text");
  return nlohmann::json(std::string(text));
}

absl::StatusOr<TaskRow> ReadRow(const JsonField& row, const TaskSettings& settings) {
  ASSIGN_OR_RETURN(const JsonField field, FieldAt(row, settings.question_field));
  TaskRow out;
  ASSIGN_OR_RETURN(out.answer_key_json, ReadKey(row, settings));
  ASSIGN_OR_RETURN(const nlohmann::json question, ReadQuestion(field));
  out.question = question.dump();
  out.identity = out.question;
  return out;
}

class QaTask : public Task {
 public:
  QaTask(PromptStyle style, RowSplits rows) : style_(style), rows_(std::move(rows)) {}

  size_t Size(Split split) const override { return rows_.Size(split); }

  absl::StatusOr<TaskExample> Example(Split split, size_t index) const override {
    ASSIGN_OR_RETURN(TaskRow row, rows_.At(split, index));
    TaskExample example{
        .system = "", .user = "", .answer_key_json = std::move(row.answer_key_json), .where = std::move(row.where)};
    const nlohmann::json question = nlohmann::json::parse(row.question, nullptr, /*allow_exceptions=*/false);
    if (question.is_array()) {
      TakeMessages(question, example);
    } else {
      TakeText(question.get<std::string>(), example);
    }
    return example;
  }

  absl::StatusOr<std::string> Trace(size_t, uint64_t) const override {
    return absl::UnimplementedError("task.name: qa has no worked answers, expected countdown");
  }

 private:
  void TakeText(std::string text, TaskExample& example) const {
    example.user = std::move(text);
    if (style_ == PromptStyle::kCompact) return;
    example.system = "You answer questions. You think first, then you answer.";
    absl::StrAppend(&example.user,
                    "\n\nThink step by step. Then write the final answer alone between <answer> and </answer>.");
  }

  static void TakeMessages(const nlohmann::json& messages, TaskExample& example) {
    for (const nlohmann::json& message : messages) {
      example.earlier.push_back({.role = message[0].get<std::string>(), .content = message[1].get<std::string>()});
    }
    example.user = std::move(example.earlier.back().content);
    example.earlier.pop_back();
    if (example.earlier.empty() || example.earlier.front().role != "system") return;
    example.system = std::move(example.earlier.front().content);
    example.earlier.erase(example.earlier.begin());
  }

  PromptStyle style_;
  RowSplits rows_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> CreateQaTask(const TaskSettings& settings) {
  const auto read = [&settings](const JsonField& row) { return ReadRow(row, settings); };
  std::vector<std::string> fields;
  if (!settings.opaque_keys) fields = {settings.question_field, settings.answer_field};
  ASSIGN_OR_RETURN(RowSplits rows,
                   RowSplits::Read(settings, {.row_name = "question", .fields = std::move(fields), .read = read}));
  return std::make_unique<QaTask>(settings.style, std::move(rows));
}

}  // namespace tactus
