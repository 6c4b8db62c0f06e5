// What `tactus rhythm-study` has the engine do: answer prompts, and go on after a replaced token. Blocks; an engine
// belongs to one thread. Errors are the engine's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "actor/engine/engine.h"
#include "tools/batch/generate.h"
#include "tools/batch/score.h"

namespace tactus {

// options.samples answers to every prompt, those of a prompt together. The draws are those of `tactus generate`.
absl::StatusOr<std::vector<ScoreItem>> SampleResponses(Engine& engine, const std::vector<std::vector<TokenId>>& prompts,
                                                       const GenerateOptions& options);

// A place in a response: the tokens before it, and the token that stands there.
struct Place {
  std::vector<TokenId> before;
  TokenId token = 0;
};

inline constexpr TokenId kNoToken = -1;

// For each place, the other one of the two most likely tokens there: the runner-up wherever the response took the most
// likely token, as a greedy one does everywhere. (Of a place that has neither of the two, the one with the lower id.)
// It is found by kRunnerUpDraws draws from the two at a temperature that makes them about as likely; kNoToken when all
// of them gave the token that is there, a chance of about 2^-kRunnerUpDraws.
inline constexpr int kRunnerUpDraws = 16;
absl::StatusOr<std::vector<TokenId>> RunnersUp(Engine& engine, std::span<const Place> places, uint64_t seed);

// For each place, what follows greedily after before and token: at most max_tokens, ended by a stop id.
absl::StatusOr<std::vector<std::vector<TokenId>>> GreedyContinuations(Engine& engine, std::span<const Place> places,
                                                                      int max_tokens,
                                                                      const std::vector<TokenId>& stop_ids);

}  // namespace tactus
