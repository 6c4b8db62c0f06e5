#include "learner/train/lm_policy_cuda.h"

#include <memory>
#include <utility>

#include "common/base/status_macros.h"
#include "common/model/cuda/decoder_cuda.h"
#include "learner/train/divided_passes.h"
#include "learner/train/parameter_feed_cuda.h"
#include "learner/train/parameters_cuda.h"

namespace tactus {
namespace {

class LmPolicyCuda : public TrainablePolicy {
 public:
  LmPolicyCuda(const ModelConfig& config, StorageDType dtype, const TrainableOptions& options, int gpu,
               const Sharding& sharding, Collective* collective)
      : state_(config, dtype, gpu, sharding, options.flash_attention),
        trainable_(state_.weights(), options),
        feed_(state_.by_parts()
                  ? std::make_unique<ParameterFeedCuda>(state_.weights(), gpu, state_.owned(), state_.buckets(),
                                                        sharding, *collective, state_.divided_gradients())
                  : nullptr),
        passes_(trainable_, options, feed_.get(), state_.divided_gradients(), collective) {}

  const ParameterLayout& layout() const override { return state_.layout(); }
  int64_t vocab_size() const override { return state_.weights().config().vocab_size; }
  PassCost pass_cost() const override { return PassCostOf(state_.weights().config()); }
  bool collective_passes() const override { return passes_.collective(); }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs,
                       std::span<float> entropies) override {
    return state_.OnQueue([&] { return passes_.Forward(sequences, logprobs, entropies); });
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    return state_.OnQueue([&] { return passes_.ForwardOnly(sequences, logprobs); });
  }
  absl::Status Backward(const TargetGradient& gradient, Collective* reduce_over) override {
    return state_.OnQueue([&] {
      if (passes_.divides_gradients()) return passes_.Backward(gradient);
      absl::Status status;
      trainable_.Backward(gradient, state_.gradients(), [&](int64_t begin) {
        if (reduce_over != nullptr && status.ok()) status = state_.StartReducing(begin, *reduce_over);
      });
      return status;
    });
  }
  ParametersCuda& state() override { return state_; }

 private:
  ParametersCuda state_;
  TrainableDecoderCuda trainable_;
  const std::unique_ptr<ParameterFeedCuda> feed_;
  DividedPasses<ops::CudaBackend> passes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TrainablePolicy>> MakeLmPolicyCuda(const ModelConfig& config, StorageDType dtype,
                                                                  std::span<const float> parameters,
                                                                  const TrainableOptions& options, int gpu,
                                                                  const Sharding& sharding, Collective* collective) {
  RETURN_IF_ERROR(CheckDecoderShapeCuda(config));
  std::unique_ptr<LmPolicyCuda> policy;
  RETURN_IF_ERROR(ParametersCuda::Guarded([&] {
    policy = std::make_unique<LmPolicyCuda>(config, dtype, options, gpu, sharding, collective);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(policy->state().Start(parameters));
  return policy;
}

}  // namespace tactus
