#include "learner/train/lm_policy_cpu.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/status_macros.h"
#include "common/model/cpu/decoder_cpu.h"
#include "learner/train/parameter_feed_cpu.h"
#include "learner/train/parameters_cpu.h"

namespace tactus {
namespace {

class LmPolicyCpu : public TrainablePolicy {
 public:
  LmPolicyCpu(std::unique_ptr<DecoderWeightsCpu> weights, const TrainableOptions& options, const Sharding& sharding,
              Collective* collective)
      : weights_(std::move(weights)),
        use_(options.activation_checkpointing ? PartUse::kBoth : PartUse::kBackward),
        collective_(collective),
        trainable_(*weights_, options),
        state_(
            weights_->layout(), weights_->flat(), [this] { WeightsChanged(); }, sharding, weights_->dtype()) {
    if (ResidenceOf(sharding) == DecoderWeightsCpu::Residence::kWhole) return;
    feed_.emplace(*weights_, state_.buckets(), sharding, *collective, state_.divided_gradients());
  }

  const ParameterLayout& layout() const override { return weights_->layout(); }
  int64_t vocab_size() const override { return weights_->config().vocab_size; }
  bool collective_passes() const override { return feed_.has_value() || state_.divided_gradients() != nullptr; }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs,
                       std::span<float> entropies) override {
    if (!sequences.token_ids.empty()) {
      trainable_.Forward(sequences, logprobs, entropies);
    } else if (feed_.has_value()) {
      feed_->PassForward(/*keep=*/true);
    }
    return feed_.has_value() ? feed_->status() : absl::OkStatus();
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    if (!sequences.token_ids.empty()) {
      trainable_.ForwardOnly(sequences, logprobs, {});
    } else if (feed_.has_value()) {
      feed_->PassForward(/*keep=*/false);
    }
    return feed_.has_value() ? feed_->Rest() : absl::OkStatus();
  }
  absl::Status Backward(const TargetGradient& gradient, Collective*) override {
    ShardedGradientsCpu* const divided = state_.divided_gradients();
    if (divided == nullptr) {
      trainable_.Backward(gradient, state_.gradients().data(), [](int64_t) {});
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(divided->Begin(*collective_));
    absl::Status reduced;
    const auto finished = [&](int64_t begin) {
      divided->Complete(begin);
      // The feed begins the sums itself, before it asks for what comes next.
      if (reduced.ok() && (!feed_.has_value() || begin == 0)) reduced = divided->Advance(*collective_);
    };
    if (feed_.has_value() && gradient.zero()) {
      feed_->PassBackward(use_, finished);
    } else {
      trainable_.Backward(gradient, divided->window(), finished);
    }
    absl::Status status = feed_.has_value() ? feed_->Rest() : absl::OkStatus();
    status.Update(reduced);
    return status;
  }
  TrainableParameters& state() override { return state_; }

 private:
  void WeightsChanged() {
    if (!feed_.has_value()) weights_->Pack();  // the feed brings new ones to the next pass
  }

  const std::unique_ptr<DecoderWeightsCpu> weights_;
  const PartUse use_;
  Collective* const collective_;
  TrainableDecoderCpu trainable_;
  ParametersCpu state_;
  std::optional<ParameterFeedCpu> feed_;
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
