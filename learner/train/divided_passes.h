// The passes of a policy whose gradients, or also weights, are divided among the ranks, on any backend: every rank
// makes each of them, one without rows too. Nothing is divided: the decoder's own passes.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "common/base/status_macros.h"
#include "common/collective/collective.h"
#include "common/model/trainable.h"
#include "learner/train/parameter_feed.h"
#include "learner/train/sharded_gradients.h"

namespace tactus {

template <ops::Backend B>
class DividedPasses {
 public:
  // All outlive this; `feed` and `gradients` are null where weights, or gradients, are whole.
  DividedPasses(TrainableDecoder<B>& trainable, const TrainableOptions& options, ParameterFeed* feed,
                ShardedGradients* gradients, Collective* collective)
      : trainable_(trainable),
        use_(options.activation_checkpointing ? PartUse::kBoth : PartUse::kBackward),
        feed_(feed),
        gradients_(gradients),
        collective_(collective) {}

  bool collective() const { return feed_ != nullptr || gradients_ != nullptr; }
  bool divides_gradients() const { return gradients_ != nullptr; }

  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropies) {
    if (!sequences.token_ids.empty()) {
      trainable_.Forward(sequences, logprobs, entropies);
    } else if (feed_ != nullptr) {
      feed_->PassForward(/*keep=*/true);
    }
    return feed_ != nullptr ? feed_->status() : absl::OkStatus();
  }

  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) {
    if (!sequences.token_ids.empty()) {
      trainable_.ForwardOnly(sequences, logprobs, {});
    } else if (feed_ != nullptr) {
      feed_->PassForward(/*keep=*/false);
    }
    return feed_ != nullptr ? feed_->Rest() : absl::OkStatus();
  }

  // Of divided gradients.
  absl::Status Backward(const TargetGradient& gradient) {
    RETURN_IF_ERROR(gradients_->Begin(*collective_));
    absl::Status reduced;
    const auto finished = [&](int64_t begin) {
      gradients_->Complete(begin);
      // The feed begins the sums itself, before it asks for what comes next.
      if (reduced.ok() && (feed_ == nullptr || begin == 0)) reduced = gradients_->Advance(*collective_);
    };
    if (feed_ != nullptr && gradient.zero()) {
      feed_->PassBackward(use_, finished);
    } else {
      trainable_.Backward(
          gradient, [&](int64_t place) { return gradients_->At(place); }, finished);
    }
    absl::Status status = feed_ != nullptr ? feed_->Rest() : absl::OkStatus();
    status.Update(reduced);
    return status;
  }

 private:
  TrainableDecoder<B>& trainable_;
  const PartUse use_;
  ParameterFeed* const feed_;
  ShardedGradients* const gradients_;
  Collective* const collective_;
};

}  // namespace tactus
