// The held-out prompts that a policy is measured on. Thread-safe; blocks for as long as the encoding takes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/data/types.h"
#include "common/tasks/prompt_encoder.h"
#include "common/tasks/task.h"

namespace tactus {

// Whoever measures draws by it unless told otherwise, so that `tactus eval` and a run's actors give the same answers.
inline constexpr uint64_t kHeldOutSeed = 1;

// Prompts with how they are answered.
struct HeldOutSet {
  std::string name;                                    // of eval.sets; "": the one of eval's own fields
  std::shared_ptr<const std::vector<Prompt>> prompts;  // at least one; their ids increase
  int samples = 1;                                     // answers to each
  EvaluationSampling sampling = {};
};

// The first `count` rows of the test set, at most all; of one of its sources, where that is given.
std::vector<uint32_t> HeldOutRows(const Task& task, std::optional<size_t> source, size_t count);

// The questions at these rows of the test set, without those that cannot be asked; errors as UsableRows'. A prompt's id
// is its row, by which answers are drawn: they do not depend on what is left out.
absl::StatusOr<std::vector<Prompt>> HeldOutPrompts(const config::TaskOptions& options, const Task& task,
                                                   const PromptEncoder& encoder, const PromptBounds& bounds,
                                                   const std::vector<uint32_t>& rows);

}  // namespace tactus
