// Who says what the answers to a prompt are worth: a verifier here, or a user's server (common/environment).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/tasks/task.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// What was asked. Views: of the caller's.
struct Question {
  std::string text;  // as the model read it
  std::span<const TokenId> token_ids;
  absl::string_view answer_key;
  uint32_t source = 0;  // as Prompt's
};

struct Answer {
  std::string text;                    // without the stop token
  std::span<const TokenId> token_ids;  // with it
  bool truncated = false;              // at the limit of tokens
  bool undecodable = false;            // an id is no token, so there is no text
};

Question QuestionOf(const Tokenizer& tokenizer, const Prompt& prompt);
Answer AnswerOf(const Tokenizer& tokenizer, const Completion& completion);

// Thread-safe.
class Judge {
 public:
  virtual ~Judge() = default;

  // The reward of each answer, in their order. Blocks for as long as it takes, until `deadline` (of MonotonicNow) at
  // most. InvalidArgument: the answer key is malformed, which will not pass. Unavailable: there is no verdict to be had
  // before the deadline. Cancelled: closed.
  virtual absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                                    absl::Time deadline) = 0;

  // How many calls of Score are of use at once.
  virtual int calls_at_once() const { return 1; }
  // Why there are no verdicts at this moment, in one line; empty when there are. Never blocks.
  virtual std::string Trouble() const { return ""; }
  // Ends every blocked call with Cancelled. Idempotent.
  virtual void Close() {}
};

// The reward of each of the completions of `prompt`, in their order. Blocks, and errors, as Judge::Score.
absl::StatusOr<std::vector<Reward>> ScoreCompletions(Judge& judge, const Tokenizer& tokenizer, const Prompt& prompt,
                                                     std::span<const Completion> completions, absl::Time deadline);

// By a task's verifier. An answer that is no text earns 0 and kUndecodableReason. Never blocks.
class VerifierJudge final : public Judge {
 public:
  explicit VerifierJudge(std::unique_ptr<Verifier> verifier) : verifier_(std::move(verifier)) {}
  absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                            absl::Time deadline) override;

 private:
  const std::unique_ptr<Verifier> verifier_;
};

// By each question's source, by the judge that it has. InvalidArgument also: there is no such source.
class SourcesJudge final : public Judge {
 public:
  // One for each source, of which several may share one.
  explicit SourcesJudge(std::vector<std::shared_ptr<Judge>> judges) : judges_(std::move(judges)) {}
  absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                            absl::Time deadline) override;
  // The most that one of them can use.
  int calls_at_once() const override;
  // The first that there is.
  std::string Trouble() const override;
  void Close() override;

 private:
  const std::vector<std::shared_ptr<Judge>> judges_;
};

}  // namespace tactus
