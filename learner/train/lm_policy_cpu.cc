#include "learner/train/lm_policy_cpu.h"

#include <utility>

#include "common/model/cpu/decoder_cpu.h"
#include "learner/train/parameters_cpu.h"

namespace tactus {
namespace {

class LmPolicyCpu : public TrainablePolicy {
 public:
  LmPolicyCpu(std::unique_ptr<DecoderWeightsCpu> weights, const TrainableOptions& options, const Sharding& sharding)
      : weights_(std::move(weights)),
        trainable_(*weights_, options),
        state_(
            weights_->layout(), weights_->flat(), [this] { weights_->Pack(); }, sharding, weights_->dtype()) {}

  const ParameterLayout& layout() const override { return weights_->layout(); }
  int64_t vocab_size() const override { return weights_->config().vocab_size; }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs) override {
    trainable_.Forward(sequences, logprobs, {});
    return absl::OkStatus();
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    trainable_.ForwardOnly(sequences, logprobs, {});
    return absl::OkStatus();
  }
  absl::Status Backward(std::span<const float> dlogprobs, Collective*) override {
    trainable_.Backward(dlogprobs, state_.gradients().data(), [](int64_t) {});
    return absl::OkStatus();
  }
  TrainableParameters& state() override { return state_; }

 private:
  const std::unique_ptr<DecoderWeightsCpu> weights_;
  TrainableDecoderCpu trainable_;
  ParametersCpu state_;
};

}  // namespace

std::unique_ptr<TrainablePolicy> MakeLmPolicyCpu(std::unique_ptr<DecoderWeightsCpu> weights,
                                                 const TrainableOptions& options, const Sharding& sharding) {
  return std::make_unique<LmPolicyCpu>(std::move(weights), options, sharding);
}

}  // namespace tactus
