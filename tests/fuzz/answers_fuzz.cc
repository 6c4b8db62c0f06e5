// What a model writes, as the verifiers read it: marks, numbers, expressions.
#include <string>

#include "common/config/run_config.h"
#include "common/tasks/answer_text.h"
#include "common/tasks/expression.h"
#include "common/tasks/number_text.h"
#include "common/tasks/task.h"
#include "proto/config.pb.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {
namespace {

const Task& CountdownTask() {
  static const auto* const task = [] {
    config::TaskOptions options;
    options.set_name("countdown");
    absl::StatusOr<std::unique_ptr<Task>> made = CreateTask(options);
    Require(made.ok(), "the task can be made");
    return made->release();
  }();
  return *task;
}

}  // namespace

void FuzzAnswers(absl::string_view input) {
  for (const auto find : {LastAnswerTag, LastBoxed, LastHashes, LastMarkedAnswer}) {
    const std::optional<MarkedText> mark = find(input);
    Require(!mark || mark->end <= input.size(), "a mark lies in the text");
  }
  (void)ParseNumber(input);
  (void)ParseExpression(input);
  static const std::string key = CountdownTask().Example(Split::kTrain, 0).value().answer_key_json;
  static const Verifier& verifier = *CreateVerifier("countdown", 0.05).value().release();
  const absl::StatusOr<Reward> reward = verifier.Score(key, input);
  Require(reward.ok() && reward->total >= 0 && reward->total <= 2, "any text gets a reward in its bounds");
}

}  // namespace tactus::fuzz
