#include "common/tasks/qa_task.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/tasks/answer_verifier.h"

namespace tactus {
namespace {

struct Item {
  std::string question;
  std::string key;    // an answer key
  std::string where;  // "train.jsonl:3"
};

absl::StatusOr<std::string> ReadKey(const JsonField& line, bool opaque) {
  if (opaque) {
    nlohmann::json rest = line.value();
    rest.erase("question");
    std::string key = rest.dump();
    if (key.size() <= kMaxAnswerKeyBytes) return key;
    return line.Error(absl::StrCat("all but the question has ", key.size(), " bytes: expected at most ",
                                   kMaxAnswerKeyBytes, " for the environment"));
  }
  JSON_MEMBER(const std::string answer, line, "answer", StringOrNumber());
  const std::string final_answer = FinalAnswer(answer);
  if (final_answer.empty()) return line.Error("answer: expected a final answer, found none");
  return AnswerKey(final_answer);
}

absl::StatusOr<Item> ReadItem(const JsonField& line, bool opaque_keys) {
  RETURN_IF_ERROR(opaque_keys ? line.CheckHas({"question"}) : line.CheckHas({"question", "answer"}));
  Item item;
  JSON_MEMBER(const std::string question, line, "question", String());
  ASSIGN_OR_RETURN(item.key, ReadKey(line, opaque_keys));
  item.question = std::string(absl::StripAsciiWhitespace(question));
  item.where = std::string(line.source());
  if (item.question.empty()) return line.Error("question: expected some text");
  return item;
}

absl::StatusOr<std::vector<Item>> ReadItems(absl::string_view field, const std::string& path, bool opaque_keys) {
  if (path.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("task.", field, ": expected the path of a JSONL file for task qa"));
  }
  std::vector<Item> items;
  RETURN_IF_ERROR(ForEachJsonLine(path, [&items, opaque_keys](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(items.emplace_back(), ReadItem(line, opaque_keys));
    return absl::OkStatus();
  }));
  if (items.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": expected at least one question"));
  return items;
}

class QaTask : public Task {
 public:
  QaTask(PromptStyle style, std::vector<Item> train, std::vector<Item> test)
      : style_(style), train_(std::move(train)), test_(std::move(test)) {}

  size_t Size(Split split) const override { return Items(split).size(); }

  TaskExample Example(Split split, size_t index) const override {
    const Item& item = Items(split)[index];
    if (style_ == PromptStyle::kCompact) {
      return {.system = "", .user = item.question, .answer_key_json = item.key, .where = item.where};
    }
    return {.system = "You answer questions. You think first, then you answer.",
            .user = absl::StrCat(item.question,
                                 "\n\nThink step by step. Then write the final answer alone between <answer> and "
                                 "</answer>."),
            .answer_key_json = item.key,
            .where = item.where};
  }

  absl::StatusOr<std::string> Trace(size_t, uint64_t) const override {
    return absl::UnimplementedError("task.name: qa has no worked answers, expected countdown");
  }

 private:
  const std::vector<Item>& Items(Split split) const { return split == Split::kTrain ? train_ : test_; }

  PromptStyle style_;
  std::vector<Item> train_;
  std::vector<Item> test_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> CreateQaTask(const TaskSettings& settings) {
  std::vector<Item> train;
  if (!settings.test_only) {
    ASSIGN_OR_RETURN(train, ReadItems("train_path", settings.train_path, settings.opaque_keys));
  }
  ASSIGN_OR_RETURN(std::vector<Item> test, ReadItems("test_path", settings.test_path, settings.opaque_keys));
  std::map<absl::string_view, absl::string_view> train_lines;
  for (const Item& item : train) train_lines.emplace(item.question, item.where);
  for (const Item& item : test) {
    const auto found = train_lines.find(item.question);
    if (found == train_lines.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat("task.test_path: ", item.where, " asks the question of ",
                                                   found->second, ", expected test questions that are not trained on"));
  }
  return std::make_unique<QaTask>(settings.style, std::move(train), std::move(test));
}

}  // namespace tactus
