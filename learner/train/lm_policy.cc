#include "learner/train/lm_policy.h"

#include <utility>

namespace tactus {
namespace {

class LmPolicy : public TrainablePolicy {
 public:
  LmPolicy(std::unique_ptr<DecoderLm> model, const TrainableOptions& options)
      : model_(std::move(model)), trainable_(*model_, options) {}

  const ParameterLayout& layout() const override { return model_->layout(); }
  int64_t vocab_size() const override { return model_->config().vocab_size; }
  std::span<float> parameters() override { return model_->parameters(); }
  void ParametersChanged() override { model_->PackWeights(); }
  void Forward(const TrainSequences& sequences, std::span<float> logprobs) override {
    trainable_.Forward(sequences, logprobs, {});
  }
  void ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    trainable_.ForwardOnly(sequences, logprobs, {});
  }
  void Backward(std::span<const float> dlogprobs) override { trainable_.Backward(dlogprobs); }
  std::span<float> gradients() override { return trainable_.gradients(); }
  void ZeroGradients() override { trainable_.ZeroGradients(); }

 private:
  const std::unique_ptr<DecoderLm> model_;
  TrainableLm trainable_;
};

}  // namespace

std::unique_ptr<TrainablePolicy> MakeLmPolicy(std::unique_ptr<DecoderLm> model, const TrainableOptions& options) {
  return std::make_unique<LmPolicy>(std::move(model), options);
}

}  // namespace tactus
