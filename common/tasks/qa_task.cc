#include "common/tasks/qa_task.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/tasks/answer_verifier.h"

namespace tactus {
namespace {

struct Item {
  std::string question;
  std::string answer;  // final answer
  std::string where;   // "train.jsonl:3"
};

absl::StatusOr<Item> ReadItem(const JsonField& line) {
  RETURN_IF_ERROR(line.CheckHas({"question", "answer"}));
  Item item;
  JSON_MEMBER(const std::string question, line, "question", String());
  JSON_MEMBER(const std::string answer, line, "answer", StringOrNumber());
  item.question = std::string(absl::StripAsciiWhitespace(question));
  item.answer = FinalAnswer(answer);
  item.where = std::string(line.source());
  if (item.question.empty()) return line.Error("question: expected some text");
  if (item.answer.empty()) return line.Error("answer: expected a final answer, found none");
  return item;
}

absl::StatusOr<std::vector<Item>> ReadItems(absl::string_view field, const std::string& path) {
  if (path.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("task.", field, ": expected the path of a JSONL file for task qa"));
  }
  std::vector<Item> items;
  RETURN_IF_ERROR(ForEachJsonLine(path, [&items](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(items.emplace_back(), ReadItem(line));
    return absl::OkStatus();
  }));
  if (items.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": expected at least one question"));
  return items;
}

class QaTask : public Task {
 public:
  QaTask(PromptStyle style, double format_reward, std::vector<Item> train, std::vector<Item> test)
      : style_(style), verifier_(format_reward), train_(std::move(train)), test_(std::move(test)) {}

  size_t Size(Split split) const override { return Items(split).size(); }

  TaskExample Example(Split split, size_t index) const override {
    const Item& item = Items(split)[index];
    const std::string key = AnswerKey(item.answer);
    if (style_ == PromptStyle::kCompact) {
      return {.system = "", .user = item.question, .answer_key_json = key, .where = item.where};
    }
    return {.system = "You answer questions. You think first, then you answer.",
            .user = absl::StrCat(item.question,
                                 "\n\nThink step by step. Then write the final answer alone between <answer> and "
                                 "</answer>."),
            .answer_key_json = key,
            .where = item.where};
  }

  const Verifier& verifier() const override { return verifier_; }

  absl::StatusOr<std::string> Trace(size_t, uint64_t) const override {
    return absl::UnimplementedError("task.name: qa has no worked answers, expected countdown");
  }

 private:
  const std::vector<Item>& Items(Split split) const { return split == Split::kTrain ? train_ : test_; }

  PromptStyle style_;
  AnswerVerifier verifier_;
  std::vector<Item> train_;
  std::vector<Item> test_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> CreateQaTask(const TaskSettings& settings) {
  std::vector<Item> train;
  if (!settings.test_only) {
    ASSIGN_OR_RETURN(train, ReadItems("train_path", settings.train_path));
  }
  ASSIGN_OR_RETURN(std::vector<Item> test, ReadItems("test_path", settings.test_path));
  std::map<absl::string_view, absl::string_view> train_lines;
  for (const Item& item : train) train_lines.emplace(item.question, item.where);
  for (const Item& item : test) {
    const auto found = train_lines.find(item.question);
    if (found == train_lines.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat("task.test_path: ", item.where, " asks the question of ",
                                                   found->second, ", expected test questions that are not trained on"));
  }
  return std::make_unique<QaTask>(settings.style, settings.format_reward, std::move(train), std::move(test));
}

}  // namespace tactus
