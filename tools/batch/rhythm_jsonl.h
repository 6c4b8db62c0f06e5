// The work of `tactus rhythm`: the attention rhythm of given responses, fed token by token through the engine's decode
// path, JSON lines in and out.
//
// In:  response_jsonl.h.
// Out: {"id", "layers", "local_heads", "global_heads", "span", "waad", "delta", "fai", "flow", "flow_answer",
//      "flow_discarded", "logprobs", "entropy", "gamma"}, in the order of the input; heads are [layer, head], gamma has
//      a list for each strategy that needs no seed, as it is before any shuffle. The flow is there where the probe
//      keeps rows for it: each token's throughput, [first, one past the last] token of the answer, and the share of
//      attention that was not kept. Lists have a value for each token; for those of a conversation that are not the
//      model's it is 0, but in flow.
#pragma once

#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "actor/engine/engine.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/flow.h"
#include "common/tokenizer/tokenizer.h"
#include "tools/batch/score.h"

namespace tactus {

// One response and everything measured about it. meter is null for an empty response.
struct MeasuredResponse {
  ScoreItem item;
  Completion completion;
  Rhythm rhythm;  // of the model's tokens alone, as they follow each other
  Flow flow;      // of no token where the probe keeps no rows for it
  std::unique_ptr<RhythmMeter> meter;
};

// Weights of every strategy that needs no seed, by its name in the configuration.
struct NamedWeights {
  std::string strategy;
  std::vector<float> weights;  // [N]; 0 for tokens that are not the model's
};
std::vector<NamedWeights> AllWeights(const CreditParams& params, const MeasuredResponse& response);

// Feeds the responses through the engine, which must have been made with credit's probe. [items.size()], in order.
// Blocks. `head_classes` are calibrated ones, and the flow's heads; null: every response has its own, and the flow is
// by all heads. `tokenizer` finds the answers where flow ends; null: they are the last tokens. The meters of responses
// whose attention takes at most keep_attention_bytes keep it whole.
absl::StatusOr<std::vector<MeasuredResponse>> MeasureResponses(Engine& engine, const CreditAssigner& credit,
                                                               std::vector<ScoreItem> items,
                                                               const HeadClasses* head_classes,
                                                               int64_t keep_attention_bytes,
                                                               const Tokenizer* tokenizer = nullptr);

struct RhythmJsonlOptions {
  size_t lines_at_once = 32;
  std::vector<int32_t> layers;  // the engine's probe's
  int64_t keep_attention_bytes = 0;
  std::optional<HeadClasses> head_classes = {};  // as for MeasureResponses
  const Tokenizer* tokenizer = nullptr;          // likewise
};

// Blocks. `seen` gets every response with its id as JSON, in order; it may be moved from. InvalidArgument:
// a bad line, by number, after those before it were written. DataLoss: `out` failed.
absl::Status RhythmJsonl(Engine& engine, const CreditAssigner& credit, const RhythmJsonlOptions& options,
                         std::istream& in, absl::string_view input_name, std::ostream& out,
                         absl::FunctionRef<void(const std::string& id_json, MeasuredResponse& response)> seen);

}  // namespace tactus
