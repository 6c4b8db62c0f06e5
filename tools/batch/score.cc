#include "tools/batch/score.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "tools/batch/run_requests.h"

namespace tactus {
namespace {

class DecodeScorerImpl : public ResponseScorer {
 public:
  explicit DecodeScorerImpl(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

  absl::StatusOr<std::vector<std::vector<float>>> Score(std::span<const ScoreItem> items) override {
    std::vector<std::vector<float>> logprobs(items.size());
    size_t item = 0;
    const auto next = [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
      while (item < items.size() && items[item].response_ids.empty()) ++item;
      if (item == items.size()) return std::nullopt;
      EngineRequest request;
      request.request_id = item;
      request.prompt_ids = items[item].prompt_ids;
      request.forced_ids = items[item].response_ids;
      ++item;
      return request;
    };
    RETURN_IF_ERROR(RunRequests(*engine_, next, [&](FinishedCompletion finished) {
      logprobs[finished.request_id] = std::move(finished.completion.logprobs);
      return absl::OkStatus();
    }));
    return logprobs;
  }

 private:
  std::unique_ptr<Engine> engine_;
};

class PrefillScorerImpl : public ResponseScorer {
 public:
  PrefillScorerImpl(std::unique_ptr<ModelRunner> runner, int max_step_tokens)
      : runner_(std::move(runner)), max_step_tokens_(std::max(1, max_step_tokens)) {}

  absl::StatusOr<std::vector<std::vector<float>>> Score(std::span<const ScoreItem> items) override {
    std::vector<std::vector<float>> logprobs(items.size());
    for (size_t i = 0; i < items.size(); ++i) {
      RETURN_IF_ERROR(Check(items[i], i));
      ASSIGN_OR_RETURN(logprobs[i], ScoreOne(items[i]));
    }
    return logprobs;
  }

 private:
  absl::Status Check(const ScoreItem& item, size_t index) const {
    const int64_t tokens = static_cast<int64_t>(item.prompt_ids.size() + item.response_ids.size());
    if (item.prompt_ids.empty())
      return absl::InvalidArgumentError(absl::StrCat("item ", index, ": prompt_ids is empty."));
    if (tokens > runner_->config().max_position || tokens > int64_t{runner_->num_pages()} * kPageTokens) {
      return absl::InvalidArgumentError(absl::StrCat("item ", index, ": its ", tokens, " tokens exceed the model's ",
                                                     runner_->config().max_position, " positions or the cache's ",
                                                     int64_t{runner_->num_pages()} * kPageTokens, " tokens."));
    }
    const auto known = [&](TokenId id) { return id >= 0 && id < runner_->config().vocab_size; };
    if (!std::all_of(item.prompt_ids.begin(), item.prompt_ids.end(), known) ||
        !std::all_of(item.response_ids.begin(), item.response_ids.end(), known)) {
      return absl::InvalidArgumentError(
          absl::StrCat("item ", index, ": an id is not in [0, ", runner_->config().vocab_size, ")."));
    }
    return absl::OkStatus();
  }

  // The row that reads token p gives the log-prob of token p + 1.
  absl::StatusOr<std::vector<float>> ScoreOne(const ScoreItem& item) {
    std::vector<TokenId> tokens = item.prompt_ids;
    tokens.insert(tokens.end(), item.response_ids.begin(), item.response_ids.end());
    const int64_t prompt = static_cast<int64_t>(item.prompt_ids.size());
    const int64_t rows = static_cast<int64_t>(tokens.size()) - 1;  // nothing follows the last token
    pages_.resize(tokens.size() / kPageTokens + 1);
    std::iota(pages_.begin(), pages_.end(), 0);
    pages_.resize(std::min<size_t>(pages_.size(), runner_->num_pages()));
    std::vector<float> logprobs;
    for (int64_t first = 0; first < rows; first += max_step_tokens_) {
      const int64_t count = std::min<int64_t>(max_step_tokens_, rows - first);
      plan_.Clear();
      plan_.batch.token_ids.assign(tokens.begin() + first, tokens.begin() + first + count);
      plan_.batch.runs.push_back({0, count, first, pages_});
      for (int64_t row = std::max<int64_t>(0, prompt - 1 - first); row < count; ++row) {
        plan_.draws.push_back({.row = static_cast<int32_t>(row), .params = {}, .target = tokens[first + row + 1]});
      }
      sampled_.resize(plan_.draws.size());
      RETURN_IF_ERROR(runner_->Execute(plan_, sampled_));
      for (const ops::SampledToken& token : sampled_) logprobs.push_back(token.logprob);
    }
    return logprobs;
  }

  std::unique_ptr<ModelRunner> runner_;
  const int max_step_tokens_;
  StepPlan plan_;
  std::vector<int32_t> pages_;
  std::vector<ops::SampledToken> sampled_;
};

}  // namespace

std::unique_ptr<ResponseScorer> DecodeScorer(std::unique_ptr<Engine> engine) {
  return std::make_unique<DecodeScorerImpl>(std::move(engine));
}

std::unique_ptr<ResponseScorer> PrefillScorer(std::unique_ptr<ModelRunner> runner, int max_step_tokens) {
  return std::make_unique<PrefillScorerImpl>(std::move(runner), max_step_tokens);
}

}  // namespace tactus
