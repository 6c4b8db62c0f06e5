// Executes a step plan on a model: the seam between the scheduler's host code and the tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/step_plan.h"
#include "common/device/device_spec.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/folder/model_config.h"
#include "common/ops/token_types.h"
#include "common/weights/shared_weights.h"

namespace tactus {

// Owned by one thread, but for Stage*, which one other thread may call while the owner does anything but
// UseStagedWeights. Every method blocks while it computes.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  virtual const ModelConfig& config() const = 0;
  virtual int32_t num_pages() const = 0;

  // Page copies, one forward pass, the logits of the rows drawn from, the draws. out [plan.draws.size()].
  // Internal: the tensor library failed; the runner is not usable afterwards.
  virtual absl::Status Execute(const StepPlan& plan, std::span<ops::SampledToken> out) = 0;

  // Whether taps may ask for mass_sum and for the rows of some heads alone (ops::AttentionTap).
  virtual bool FillsEveryTap() const { return true; }

  // Replaces the parameters, in ParameterLayout order; the cache stays as it is. InvalidArgument: the wrong size.
  virtual absl::Status SetWeights(std::span<const float> parameters) = 0;

  // The same in two halves, so that the owner need not wait while a set is made ready. Here: the set is kept, and all
  // of the work is the second half's.
  // InvalidArgument: the wrong size.
  virtual absl::Status StageWeights(std::vector<float> parameters);
  // Copies a learner's set from GPU memory. Aborted: there is a newer one meanwhile. Anything else: it can't be read
  // from here, now or later; have the parameters sent.
  virtual absl::Status StageSharedWeights(const SharedWeights& weights);
  // Between two calls of Execute. FailedPrecondition: nothing is staged.
  virtual absl::Status UseStagedWeights();

 private:
  std::vector<float> staged_;
};

// Ways of a GPU's runner that have a plainer one beside them (config: GpuOptions).
struct GpuWays {
  bool graphs = true;
  bool flash_attention = true;
};

struct ModelRunnerOptions {
  StorageDType weights_dtype = StorageDType::kFloat32;
  bool load_weights = true;  // false: they are 0 until SetWeights
  int64_t kv_cache_mib = 1024;
  int64_t max_pages = 1 << 30;  // more than the caller can use are not allocated
  Device device = {};
  GpuWays gpu_ways = {};
  // What a GPU's buffers are made for; larger steps work, and cost a new allocation. No layers: nothing is measured.
  int64_t max_sequences = 32, max_step_tokens = 2048, max_sequence_tokens = 0;
  ops::AttentionProbe probe = {};
};

// For implementations. InvalidArgument: `size` parameters are not the `own` of the model.
absl::Status CheckWeightsSize(size_t size, int64_t own);
// How many pages the cache has. InvalidArgument: it is too small for two; names the option.
absl::StatusOr<int64_t> PagesOf(const ModelConfig& config, const ModelRunnerOptions& options);

}  // namespace tactus
