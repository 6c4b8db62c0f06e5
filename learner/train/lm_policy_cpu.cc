#include "learner/train/lm_policy_cpu.h"

#include <utility>

#include "common/model/cpu/decoder_cpu.h"
#include "learner/train/divided_passes.h"
#include "learner/train/parameter_feed_cpu.h"
#include "learner/train/parameters_cpu.h"

namespace tactus {
namespace {

class LmPolicyCpu : public TrainablePolicy {
 public:
  LmPolicyCpu(std::unique_ptr<DecoderWeightsCpu> weights, const TrainableOptions& options, const Sharding& sharding,
              Collective* collective)
      : weights_(std::move(weights)),
        trainable_(*weights_, options),
        state_(
            weights_->layout(), weights_->flat(), [this] { WeightsChanged(); }, sharding, weights_->dtype()),
        feed_(ResidenceOf(sharding) == DecoderWeightsCpu::Residence::kWhole
                  ? nullptr
                  : std::make_unique<ParameterFeedCpu>(*weights_, state_.buckets(), sharding, *collective,
                                                       state_.divided_gradients())),
        passes_(trainable_, options, feed_.get(), state_.divided_gradients(), collective) {}

  const ParameterLayout& layout() const override { return weights_->layout(); }
  int64_t vocab_size() const override { return weights_->config().vocab_size; }
  PassCost pass_cost() const override { return PassCostOf(weights_->config()); }
  bool collective_passes() const override { return passes_.collective(); }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs,
                       std::span<float> entropies) override {
    return passes_.Forward(sequences, logprobs, entropies);
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    return passes_.ForwardOnly(sequences, logprobs);
  }
  absl::Status Backward(const TargetGradient& gradient, Collective*) override {
    if (passes_.divides_gradients()) return passes_.Backward(gradient);
    trainable_.Backward(gradient, state_.gradients().data(), [](int64_t) {});
    return absl::OkStatus();
  }
  TrainableParameters& state() override { return state_; }

 private:
  void WeightsChanged() {
    if (feed_ == nullptr) weights_->Pack();  // the feed brings new ones to the next pass
  }

  const std::unique_ptr<DecoderWeightsCpu> weights_;
  TrainableDecoderCpu trainable_;
  ParametersCpu state_;
  const std::unique_ptr<ParameterFeedCpu> feed_;
  DividedPasses<ops::CpuBackend> passes_;
};

}  // namespace

DecoderWeightsCpu::Residence ResidenceOf(const Sharding& sharding) {
  return sharding.shard == Shard::kParameters && sharding.world > 1 ? DecoderWeightsCpu::Residence::kByParts
                                                                    : DecoderWeightsCpu::Residence::kWhole;
}

std::unique_ptr<TrainablePolicy> MakeLmPolicyCpu(std::unique_ptr<DecoderWeightsCpu> weights,
                                                 const TrainableOptions& options, const Sharding& sharding,
                                                 Collective* collective) {
  return std::make_unique<LmPolicyCpu>(std::move(weights), options, sharding, collective);
}

}  // namespace tactus
