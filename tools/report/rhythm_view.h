// From measured responses to what the rhythm page draws of them. Blocking; a function uses the engine it is given
// alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/metrics/run_folder.h"
#include "common/metrics/sample_record.h"
#include "common/model/folder/model_config.h"
#include "common/tokenizer/tokenizer.h"
#include "tools/batch/rhythm_jsonl.h"
#include "tools/report/rhythm_page.h"

namespace tactus {

// Attention kept of one response while it is drawn: beyond this it is drawn without images.
inline constexpr int64_t kKeptAttentionBytes = int64_t{512} << 20;
// Responses that are measured for drawing at once, so that the attention of no more is in memory.
inline constexpr size_t kDrawnAtOnce = 4;

// Where the sampled heads are.
struct SampledHeads {
  std::vector<int32_t> layers;
  int64_t heads_per_layer = 0;
};

// The classes that a run with this credit samples with by the model in `path`: none, unless it calibrates them; then
// the checkpoint that the model is part of has them. InvalidArgument: there is no such checkpoint, or it is another
// run's.
absl::StatusOr<std::optional<HeadClasses>> HeadClassesFor(const std::string& path, const ModelConfig& shape,
                                                          const CreditAssigner& credit);

// Everything but title and verdict. Images and lookers only when the response's meter kept its attention.
RhythmAnswer AnswerOf(const MeasuredResponse& response, const CreditAssigner& credit, const SampledHeads& heads,
                      const Tokenizer& tokenizer);

// Measures the samples again, by the weights of the run's newest checkpoint, and adds to their answers what a sample
// does not carry: images, lookers, and the lines of those that were not audited; each answer's title then names the
// step of the weights. Answers stay as they are, and OK comes back, when the run has no checkpoint or the samples no
// ids. Errors are those of opening the checkpoint's model.
absl::Status AddAttention(const RunFolder& folder, const std::vector<SampleRecord>& samples,
                          std::vector<RhythmAnswer>& answers);

}  // namespace tactus
