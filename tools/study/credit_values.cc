#include "tools/study/credit_values.h"

#include <utility>

#include "actor/engine/continuation.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "tools/batch/run_requests.h"

namespace tactus {
namespace {

// The draws of an answer and of what goes on after so many of its tokens never meet: they differ in what keys them.
constexpr uint64_t kPlacesOfARow = uint64_t{1} << 24;

EngineRequest RequestOf(uint64_t request_id, uint64_t draw_id, const ValueOptions& options) {
  EngineRequest request;
  request.request_id = request_id;
  request.prompt_id = draw_id;
  request.seed = options.seed;
  request.max_tokens = options.max_tokens;
  request.sampling = options.sampling;
  request.stop_ids = options.stop_ids;
  return request;
}

absl::Status JudgeAll(const Tokenizer& tokenizer, Judge& judge, const Prompt& prompt, absl::Duration timeout,
                      std::span<Completion> completions) {
  ASSIGN_OR_RETURN(std::vector<Reward> rewards,
                   ScoreCompletions(judge, tokenizer, prompt, completions, MonotonicNow() + timeout));
  for (size_t i = 0; i < completions.size(); ++i) completions[i].reward = std::move(rewards[i]);
  return absl::OkStatus();
}

PrefixValue ValueOf(std::span<const Completion> completions) {
  PrefixValue value;
  const size_t half = completions.size() / 2;
  for (size_t i = 0; i < completions.size(); ++i) {
    (i < half ? value.first : value.second) += completions[i].reward.total / static_cast<double>(half);
  }
  value.mean = (value.first + value.second) / 2;
  return value;
}

}  // namespace

absl::StatusOr<AnsweredQuestion> AnswerQuestion(Engine& engine, const Tokenizer& tokenizer, Judge& judge, Prompt prompt,
                                                uint64_t row, const ValueOptions& options) {
  AnsweredQuestion question{.row = row, .prompt = std::move(prompt)};
  bool asked = false;
  RETURN_IF_ERROR(RunRequests(
      engine,
      [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
        if (std::exchange(asked, true)) return std::nullopt;
        EngineRequest request = RequestOf(0, row * kPlacesOfARow, options);
        request.prompt_ids = question.prompt.token_ids;
        request.measure_rhythm = engine.sampled_heads() > 0;
        return request;
      },
      [&](FinishedCompletion finished) {
        question.answer = std::move(finished.completion);
        question.meter = std::move(finished.rhythm);
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(JudgeAll(tokenizer, judge, question.prompt, options.judge_timeout, std::span(&question.answer, 1)));
  return question;
}

absl::StatusOr<std::vector<PrefixValue>> PrefixValues(Engine& engine, const Tokenizer& tokenizer, Judge& judge,
                                                      const AnsweredQuestion& question,
                                                      std::span<const int32_t> lengths, const ValueOptions& options) {
  const std::vector<TokenId>& answer = question.answer.token_ids;
  const auto whole = static_cast<int32_t>(answer.size());
  std::vector<PrefixValue> values(lengths.size());
  std::vector<std::vector<Completion>> drawn(lengths.size());
  size_t next = 0;
  RETURN_IF_ERROR(RunRequests(
      engine,
      [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
        while (next < lengths.size() && lengths[next] == whole) ++next;
        if (next == lengths.size()) return std::nullopt;
        const int32_t length = lengths[next];
        EngineRequest request =
            RequestOf(next, question.row * kPlacesOfARow + static_cast<uint64_t>(length) + 1, options);
        request.prompt_ids = question.prompt.token_ids;
        drawn[next++].resize(static_cast<size_t>(options.samples));
        return ContinuationRequest(std::move(request), answer, length, options.samples);
      },
      [&](FinishedCompletion finished) {
        drawn[finished.request_id][static_cast<size_t>(finished.completion_index)] =
            ContinuedAnswer(answer, lengths[finished.request_id], finished.completion);
        return absl::OkStatus();
      }));
  const double own = question.answer.reward.total;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] == whole) {
      values[i] = {own, own, own};
      continue;
    }
    RETURN_IF_ERROR(JudgeAll(tokenizer, judge, question.prompt, options.judge_timeout, drawn[i]));
    values[i] = ValueOf(drawn[i]);
  }
  return values;
}

}  // namespace tactus
