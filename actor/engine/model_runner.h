// Executes a step plan on a model: the seam between the scheduler's host code and the tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/step_plan.h"
#include "common/model/hf_folder.h"
#include "common/model/model_config.h"
#include "common/ops/sampling.h"

namespace tactus {

// Owned by one thread. Every method blocks while it computes.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  virtual const ModelConfig& config() const = 0;
  virtual int32_t num_pages() const = 0;

  // Page copies, one forward pass, the logits of the rows drawn from, the draws. out [plan.draws.size()].
  // Internal: the tensor library failed; the runner is not usable afterwards.
  virtual absl::Status Execute(const StepPlan& plan, std::span<ops::SampledToken> out) = 0;

  // Replaces the parameters, in ParameterLayout order; the cache stays as it is. InvalidArgument: the wrong size.
  virtual absl::Status SetWeights(std::span<const float> parameters) = 0;
};

struct ModelRunnerOptions {
  StorageDType weights_dtype = StorageDType::kFloat32;
  bool load_weights = true;  // false: they are 0 until SetWeights
  int64_t kv_cache_mib = 1024;
  int64_t max_pages = 1 << 30;  // more than the caller can use are not allocated
};

// Makes a DecoderLm of the folder's configuration and weights and allocates its cache.
// InvalidArgument: the cache is too small for two pages; names the option.
absl::StatusOr<std::unique_ptr<ModelRunner>> CreateModelRunner(const ModelFolder& folder,
                                                               const ModelRunnerOptions& options);

}  // namespace tactus
