#include "learner/train/create_policy.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "learner/train/lm_policy_cpu.h"
#ifdef TACTUS_CUDA
#include "learner/train/lm_policy_cuda.h"
#endif

namespace tactus {
namespace {

absl::Status FillParameters(const ModelFolder& folder, uint64_t seed, std::span<float> parameters) {
  if (HasWeights(folder.path)) return LoadParameters(folder, parameters);
  InitialiseParameters(folder.config, folder.layout, seed, parameters);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainablePolicy>> CreatePolicy(const ModelFolder& folder, const PolicyOptions& options) {
  if (options.device.is_gpu()) {
#ifdef TACTUS_CUDA
    std::vector<float> parameters(static_cast<size_t>(folder.layout.total_numel));
    RETURN_IF_ERROR(FillParameters(folder, options.seed, parameters));
    return MakeLmPolicyCuda(folder.config, options.dtype, parameters, options.trainable, *options.device.gpu,
                            options.sharding);
#else
    return absl::FailedPreconditionError(absl::StrCat("learner.device is \"", options.device.Text(),
                                                      "\", and this build is for CPUs only: expected \"cpu\""));
#endif
  }
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> weights, DecoderWeightsCpu::Create(folder.config, options.dtype));
  RETURN_IF_ERROR(FillParameters(folder, options.seed, weights->flat()));
  weights->Pack();
  return MakeLmPolicyCpu(std::move(weights), options.trainable, options.sharding);
}

}  // namespace tactus
