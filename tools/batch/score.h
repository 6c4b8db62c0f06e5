// Log-probs of given responses, by the actor's paths or the learner's: what `tactus score` prints, and how it is
// checked that all of them give the same bits. Functions block; an engine, runner or model belongs to one thread.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "actor/engine/engine.h"
#include "actor/engine/model_runner.h"
#include "common/data/types.h"
#include "common/model/folder/hf_folder.h"

namespace tactus {

struct ScoreItem {
  std::vector<TokenId> prompt_ids;    // at least one
  std::vector<TokenId> response_ids;  // [N]
  std::vector<Turn> turns = {};       // of a conversation: what of it is the model's, for those who look at it
};

// Scores a batch of responses: log-probs at temperature 1, nats, [items][N]. Not thread-safe.
// InvalidArgument: an item the model cannot take; names the item by its place in the batch.
class ResponseScorer {
 public:
  virtual ~ResponseScorer() = default;
  virtual absl::StatusOr<std::vector<std::vector<float>>> Score(std::span<const ScoreItem> items) = 0;
};

// Feeds the response tokens one by one as decode rows, options.max_sequences responses at once.
std::unique_ptr<ResponseScorer> DecodeScorer(std::unique_ptr<Engine> engine);

// Feeds prompt and response in pieces of max_step_tokens rows, one sequence at a time.
std::unique_ptr<ResponseScorer> PrefillScorer(std::unique_ptr<ModelRunner> runner, int max_step_tokens);

// The learner's forward pass, `batch` sequences packed end to end.
absl::StatusOr<std::unique_ptr<ResponseScorer>> LearnerScorer(const ModelFolder& folder, StorageDType weights_dtype,
                                                              int batch);

}  // namespace tactus
