#include "common/tasks/judge.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tasks/completion_text.h"

namespace tactus {

Question QuestionOf(const Tokenizer& tokenizer, const Prompt& prompt) {
  return {.text = DecodeLossy(tokenizer, prompt.token_ids, /*skip_special_tokens=*/false),
          .token_ids = prompt.token_ids,
          .answer_key = prompt.answer_key_json,
          .source = prompt.source};
}

Answer AnswerOf(const Tokenizer& tokenizer, const Completion& completion) {
  absl::StatusOr<std::string> text = CompletionText(tokenizer, completion.token_ids, completion.finish_reason);
  const bool undecodable = !text.ok();
  return {.text = undecodable ? "" : *std::move(text),
          .token_ids = completion.token_ids,
          .truncated = completion.finish_reason == FinishReason::kLength,
          .undecodable = undecodable};
}

absl::StatusOr<std::vector<Reward>> ScoreCompletions(Judge& judge, const Tokenizer& tokenizer, const Prompt& prompt,
                                                     std::span<const Completion> completions, absl::Time deadline) {
  std::vector<Answer> answers;
  answers.reserve(completions.size());
  for (const Completion& completion : completions) answers.push_back(AnswerOf(tokenizer, completion));
  return judge.Score(QuestionOf(tokenizer, prompt), answers, deadline);
}

absl::StatusOr<std::vector<Reward>> VerifierJudge::Score(const Question& question, std::span<const Answer> answers,
                                                         absl::Time) {
  std::vector<Reward> rewards;
  rewards.reserve(answers.size());
  for (const Answer& answer : answers) {
    Reward& reward = rewards.emplace_back(Reward{.reason = kUndecodableReason});
    if (answer.undecodable) continue;
    ASSIGN_OR_RETURN(reward, verifier_->Score(question.answer_key, answer.text));
  }
  return rewards;
}

absl::StatusOr<std::vector<Reward>> SourcesJudge::Score(const Question& question, std::span<const Answer> answers,
                                                        absl::Time deadline) {
  if (question.source < judges_.size()) return judges_[question.source]->Score(question, answers, deadline);
  return absl::InvalidArgumentError(absl::StrCat("the prompt is of source ", question.source, ": expected less than ",
                                                 judges_.size(), ", the number of task.sources"));
}

int SourcesJudge::calls_at_once() const {
  int most = 1;
  for (const std::shared_ptr<Judge>& judge : judges_) most = std::max(most, judge->calls_at_once());
  return most;
}

std::string SourcesJudge::Trouble() const {
  for (const std::shared_ptr<Judge>& judge : judges_) {
    if (std::string trouble = judge->Trouble(); !trouble.empty()) return trouble;
  }
  return "";
}

void SourcesJudge::Close() {
  for (const std::shared_ptr<Judge>& judge : judges_) judge->Close();
}

}  // namespace tactus
