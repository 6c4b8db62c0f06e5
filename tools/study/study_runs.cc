#include "tools/study/study_runs.h"

#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "common/base/status_macros.h"
#include "tools/batch/run_requests.h"

namespace tactus {
namespace {

// Runs `count` requests, numbered from 0.
absl::Status RunNumbered(Engine& engine, size_t count, absl::FunctionRef<EngineRequest(size_t)> make,
                         absl::FunctionRef<void(FinishedCompletion)> done) {
  size_t next = 0;
  return RunRequests(
      engine,
      [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
        if (next == count) return std::nullopt;
        EngineRequest request = make(next);
        request.request_id = request.prompt_id = next++;
        return request;
      },
      [&](FinishedCompletion finished) {
        done(std::move(finished));
        return absl::OkStatus();
      });
}

}  // namespace

absl::StatusOr<std::vector<ScoreItem>> SampleResponses(Engine& engine, const std::vector<std::vector<TokenId>>& prompts,
                                                       const GenerateOptions& options) {
  const auto samples = static_cast<size_t>(options.samples);
  std::vector<ScoreItem> items(prompts.size() * samples);
  RETURN_IF_ERROR(RunNumbered(
      engine, prompts.size(),
      [&](size_t i) {
        EngineRequest request;
        request.seed = options.seed;
        request.prompt_ids = prompts[i];
        request.num_completions = options.samples;
        request.max_tokens = options.max_tokens;
        request.sampling = options.sampling;
        request.stop_ids = options.stop_ids;
        return request;
      },
      [&](FinishedCompletion finished) {
        items[finished.request_id * samples + static_cast<size_t>(finished.completion_index)] = {
            prompts[finished.request_id], std::move(finished.completion.token_ids)};
      }));
  return items;
}

absl::StatusOr<std::vector<TokenId>> RunnersUp(Engine& engine, std::span<const Place> places, uint64_t seed) {
  // Logits of one row differ by some tens, so that at this temperature either token has nearly half the chance.
  constexpr SamplingOptions kEitherOfTwo = {.temperature = 100, .top_p = 1, .top_k = 2};
  std::vector<TokenId> others(places.size(), kNoToken);
  RETURN_IF_ERROR(RunNumbered(
      engine, places.size(),
      [&](size_t i) {
        EngineRequest request;
        request.seed = seed;
        request.prompt_ids = places[i].before;
        request.num_completions = kRunnerUpDraws;
        request.max_tokens = 1;
        request.sampling = kEitherOfTwo;
        return request;
      },
      [&](FinishedCompletion finished) {
        const TokenId drawn = finished.completion.token_ids.front();
        // The same whatever the order in which they finish.
        TokenId& other = others[finished.request_id];
        if (drawn != places[finished.request_id].token && (other == kNoToken || drawn < other)) other = drawn;
      }));
  return others;
}

absl::StatusOr<std::vector<std::vector<TokenId>>> GreedyContinuations(Engine& engine, std::span<const Place> places,
                                                                      int max_tokens,
                                                                      const std::vector<TokenId>& stop_ids) {
  std::vector<std::vector<TokenId>> continuations(places.size());
  RETURN_IF_ERROR(RunNumbered(
      engine, places.size(),
      [&](size_t i) {
        EngineRequest request;
        request.prompt_ids = places[i].before;
        request.prompt_ids.push_back(places[i].token);
        request.max_tokens = max_tokens;
        request.sampling.temperature = 0;
        request.stop_ids = stop_ids;
        return request;
      },
      [&](FinishedCompletion finished) {
        continuations[finished.request_id] = std::move(finished.completion.token_ids);
      }));
  return continuations;
}

}  // namespace tactus
