#include "learner/train/create_policy.h"

#include <algorithm>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/storage_dtype.h"
#include "common/ops/cpu/sparse_floats.h"
#include "learner/train/lm_policy_cpu.h"
#include "proto/config.pb.h"
#ifdef TACTUS_CUDA
#include "learner/train/lm_policy_cuda.h"
#endif

namespace tactus {
namespace {

// Loads the weights of a policy by parts into `flat`: of each parameter what is this rank's stays.
absl::Status FillShare(const ModelFolder& folder, const PolicyOptions& options, std::span<float> flat,
                       absl::FunctionRef<void(const FlatRange& range)> release) {
  const std::vector<FlatRange> buckets = CutBuckets(folder.layout.total_numel, options.sharding);
  const std::vector<FlatRange> mine = OwnedRanges(buckets, options.sharding.world, options.sharding.rank);
  return FillParameters(folder, options.seed, flat, [&](const ParameterSpec& spec) {
    int64_t begin = spec.offset;  // of what is not this rank's
    const int64_t end = spec.offset + spec.numel;
    for (const FlatRange& kept : mine) {
      if (kept.end <= begin || kept.begin >= end) continue;
      if (begin < kept.begin) release({begin, kept.begin});
      begin = std::min(kept.end, end);
    }
    if (begin < end) release({begin, end});
  });
}

}  // namespace

absl::Status FillParameters(const ModelFolder& folder, uint64_t seed, std::span<float> parameters, ParameterDone done) {
  if (HasWeights(folder.path)) return LoadParameters(folder, parameters, done);
  InitialiseParameters(folder.config, folder.layout, seed, parameters, done);
  return absl::OkStatus();
}

PolicyOptions PolicyOptions::FromProto(const config::RunConfig& run) {
  PolicyOptions options;
  options.dtype = StorageDTypeOf(run.model().dtype());
  options.trainable = {.activation_checkpointing = run.learner().activation_checkpointing(),
                       .logprob_chunk_tokens = run.learner().logprob_chunk_tokens(),
                       .temperature = static_cast<float>(run.rollout().temperature()),
                       .flash_attention = run.gpu().flash_attention()};
  return options;
}

absl::StatusOr<std::unique_ptr<TrainablePolicy>> CreatePolicy(const ModelFolder& folder, const PolicyOptions& options) {
  const DecoderWeightsCpu::Residence residence = ResidenceOf(options.sharding);
  if (options.device.is_gpu()) {
#ifdef TACTUS_CUDA
    ops::SparseFloats parameters(folder.layout.total_numel);
    const std::span<float> flat(parameters.data(), static_cast<size_t>(parameters.size()));
    const auto release = [&](const FlatRange& range) { parameters.Release(range.begin, range.end); };
    RETURN_IF_ERROR(residence == DecoderWeightsCpu::Residence::kWhole ? FillParameters(folder, options.seed, flat)
                                                                      : FillShare(folder, options, flat, release));
    return MakeLmPolicyCuda(folder.config, options.dtype, flat, options.trainable, *options.device.gpu,
                            options.sharding, options.collective);
#else
    return absl::FailedPreconditionError(absl::StrCat("learner.device is \"", options.device.Text(),
                                                      "\", and this build is for CPUs only: expected \"cpu\""));
#endif
  }
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> weights,
                   DecoderWeightsCpu::Create(folder.config, options.dtype, residence));
  if (residence == DecoderWeightsCpu::Residence::kWhole) {
    RETURN_IF_ERROR(FillParameters(folder, options.seed, weights->flat()));
    weights->Pack();
  } else {
    RETURN_IF_ERROR(
        FillShare(folder, options, weights->flat(), [&](const FlatRange& range) { weights->Release(range); }));
  }
  return MakeLmPolicyCpu(std::move(weights), options.trainable, options.sharding, options.collective);
}

}  // namespace tactus
