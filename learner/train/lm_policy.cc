#include "learner/train/lm_policy.h"

#include <utility>

#include "learner/train/host_parameters.h"

namespace tactus {
namespace {

class LmPolicy : public TrainablePolicy {
 public:
  LmPolicy(std::unique_ptr<DecoderLm> model, const TrainableOptions& options)
      : model_(std::move(model)),
        trainable_(*model_, options),
        state_(model_->layout(), model_->parameters(), trainable_.gradients(), [this] { model_->PackWeights(); }) {}

  const ParameterLayout& layout() const override { return model_->layout(); }
  int64_t vocab_size() const override { return model_->config().vocab_size; }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs) override {
    trainable_.Forward(sequences, logprobs, {});
    return absl::OkStatus();
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    trainable_.ForwardOnly(sequences, logprobs, {});
    return absl::OkStatus();
  }
  absl::Status Backward(std::span<const float> dlogprobs, Collective*) override {
    trainable_.Backward(dlogprobs);
    return absl::OkStatus();
  }
  TrainableParameters& state() override { return state_; }

 private:
  const std::unique_ptr<DecoderLm> model_;
  TrainableLm trainable_;
  HostParameters state_;
};

}  // namespace

std::unique_ptr<TrainablePolicy> MakeLmPolicy(std::unique_ptr<DecoderLm> model, const TrainableOptions& options) {
  return std::make_unique<LmPolicy>(std::move(model), options);
}

}  // namespace tactus
