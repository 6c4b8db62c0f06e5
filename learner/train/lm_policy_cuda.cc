#include "learner/train/lm_policy_cuda.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/model/cuda/decoder_cuda.h"
#include "learner/train/parameters_cuda.h"

namespace tactus {
namespace {

class LmPolicyCuda : public TrainablePolicy {
 public:
  LmPolicyCuda(const ModelConfig& config, StorageDType dtype, const TrainableOptions& options, int gpu,
               const Sharding& sharding)
      : vocab_(config.vocab_size),
        state_(config, dtype, gpu, sharding, options.flash_attention),
        trainable_(state_.weights(), options) {}

  const ParameterLayout& layout() const override { return state_.layout(); }
  int64_t vocab_size() const override { return vocab_; }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs,
                       std::span<float> entropies) override {
    return state_.OnQueue([&] {
      trainable_.Forward(sequences, logprobs, entropies);
      return absl::OkStatus();
    });
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    return state_.OnQueue([&] {
      trainable_.ForwardOnly(sequences, logprobs, {});
      return absl::OkStatus();
    });
  }
  absl::Status Backward(const TargetGradient& gradient, Collective* reduce_over) override {
    return state_.OnQueue([&] {
      absl::Status status;
      trainable_.Backward(gradient, state_.gradients(), [&](int64_t begin) {
        if (reduce_over != nullptr && status.ok()) status = state_.StartReducing(begin, *reduce_over);
      });
      return status;
    });
  }
  ParametersCuda& state() override { return state_; }

 private:
  const int64_t vocab_;
  ParametersCuda state_;
  TrainableDecoderCuda trainable_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TrainablePolicy>> MakeLmPolicyCuda(const ModelConfig& config, StorageDType dtype,
                                                                  std::span<const float> parameters,
                                                                  const TrainableOptions& options, int gpu,
                                                                  const Sharding& sharding) {
  RETURN_IF_ERROR(CheckDecoderShapeCuda(config));
  std::unique_ptr<LmPolicyCuda> policy;
  RETURN_IF_ERROR(ParametersCuda::Guarded([&] {
    policy = std::make_unique<LmPolicyCuda>(config, dtype, options, gpu, sharding);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(policy->state().Start(parameters));
  return policy;
}

}  // namespace tactus
