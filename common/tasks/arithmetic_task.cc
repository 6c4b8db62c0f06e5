#include "common/tasks/arithmetic_task.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tasks/answer_verifier.h"
#include "common/tasks/draw_stream.h"

namespace tactus {
namespace {

// Far below the number of different questions, so that drawing one more always ends soon.
constexpr int kMaxTestQuestions = 100'000;

struct Question {
  int64_t a = 0;
  char op = '+';
  int64_t b = 0;

  int64_t Answer() const { return op == '+' ? a + b : op == '-' ? a - b : a * b; }
  auto Identity() const { return std::tuple(op, std::max(a, b), std::min(a, b)); }
};

using Taken = std::set<std::tuple<char, int64_t, int64_t>>;

Question DrawQuestion(DrawStream& draws) {
  Question question;
  question.op = "+-*"[draws.Below(3)];
  const int64_t largest = question.op == '*' ? 99 : 999;
  question.a = draws.Between(0, largest);
  question.b = draws.Between(0, largest);
  if (question.op == '-' && question.a < question.b) std::swap(question.a, question.b);
  return question;
}

std::vector<Question> DrawSplit(uint64_t seed, DataKind kind, int size, bool different, Taken& taken) {
  std::vector<Question> questions;
  while (questions.size() < static_cast<size_t>(size)) {
    DrawStream draws(seed, kind, questions.size());
    Question question = DrawQuestion(draws);
    while (taken.count(question.Identity()) != 0) question = DrawQuestion(draws);
    if (different) taken.insert(question.Identity());
    questions.push_back(question);
  }
  return questions;
}

class ArithmeticTask : public Task {
 public:
  ArithmeticTask(PromptStyle style, std::vector<Question> train, std::vector<Question> test)
      : style_(style), train_(std::move(train)), test_(std::move(test)) {}

  size_t Size(Split split) const override { return Questions(split).size(); }

  absl::StatusOr<TaskExample> Example(Split split, size_t index) const override {
    const Question& q = Questions(split)[index];
    const absl::string_view op(&q.op, 1);
    TaskExample example{.system = "",
                        .user = absl::StrCat(q.a, op, q.b, "="),
                        .answer_key_json = AnswerKey(absl::StrCat(q.Answer())),
                        .where = absl::StrCat("arithmetic question ", index),
                        .identity = absl::StrCat(std::max(q.a, q.b), op, std::min(q.a, q.b))};
    if (style_ == PromptStyle::kCompact) return example;
    example.system = "You are careful with numbers. You think first, then you answer.";
    example.user = absl::StrCat("What is ", q.a, " ", op, " ", q.b,
                                "? Think step by step. Then write the number alone between <answer> and </answer>, "
                                "like this: <answer>12</answer>");
    return example;
  }

  absl::StatusOr<std::string> Trace(size_t, uint64_t) const override {
    return absl::UnimplementedError("task.name: arithmetic has no worked answers, expected countdown");
  }

 private:
  const std::vector<Question>& Questions(Split split) const { return split == Split::kTrain ? train_ : test_; }

  PromptStyle style_;
  std::vector<Question> train_;
  std::vector<Question> test_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> CreateArithmeticTask(const TaskSettings& settings) {
  if (settings.test_size > kMaxTestQuestions) {
    return absl::InvalidArgumentError(absl::StrCat("task.test_size is ", settings.test_size, ": expected at most ",
                                                   kMaxTestQuestions, " of task arithmetic."));
  }
  const uint64_t seed = settings.data_seed;
  Taken taken;
  std::vector<Question> test = DrawSplit(seed, DataKind::kTest, settings.test_size, /*different=*/true, taken);
  std::vector<Question> train = DrawSplit(seed, DataKind::kTrain, settings.train_size, /*different=*/false, taken);
  return std::make_unique<ArithmeticTask>(settings.style, std::move(train), std::move(test));
}

}  // namespace tactus
