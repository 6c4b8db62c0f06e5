// The smallest policy: the logits of the next token are a row of a table, chosen by the token before. Its log-probs and
// gradients are two lines each, so the Trainer's tests can compute everything again by hand.
#pragma once

#include <cmath>
#include <vector>

#include "learner/train/parameters_cpu.h"
#include "learner/train/trainable_policy.h"

namespace tactus {

class BigramPolicy : public TrainablePolicy {
 public:
  explicit BigramPolicy(int64_t vocab)
      : vocab_(vocab),
        layout_({.specs = {{"table", {vocab, vocab}, 0, vocab * vocab}}, .total_numel = vocab * vocab}),
        table_(static_cast<size_t>(vocab * vocab)),
        state_(layout_, table_, [this] { ++changes; }) {
    for (size_t i = 0; i < table_.size(); ++i) table_[i] = static_cast<float>(std::sin(1.0 + 3.0 * double(i)));
  }

  const ParameterLayout& layout() const override { return layout_; }
  int64_t vocab_size() const override { return vocab_; }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs,
                       std::span<float> entropies) override {
    kept_ = sequences;
    ++forwards;
    LogProbs(sequences, logprobs);
    for (size_t i = 0; i < entropies.size(); ++i) entropies[i] = static_cast<float>(Entropy(table_, Row(sequences, i)));
    return absl::OkStatus();
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    ++forward_onlys;
    LogProbs(sequences, logprobs);
    return absl::OkStatus();
  }
  absl::Status Backward(const TargetGradient& gradient, Collective*) override {
    for (size_t i = 0; i < gradient.logprobs.size(); ++i) {
      const size_t from = Row(kept_, i);
      for (size_t j = 0; j < size(); ++j) {
        const double one = static_cast<TokenId>(j) == kept_.targets[i] ? 1 : 0;
        const double log_p = LogProb(table_, from, static_cast<TokenId>(j)), p = std::exp(log_p);
        double slope = gradient.logprobs[i] * (one - p);
        if (!gradient.entropies.empty()) slope -= gradient.entropies[i] * p * (log_p + Entropy(table_, from));
        gradients()[from * size() + j] += static_cast<float>(slope);
      }
    }
    return absl::OkStatus();
  }
  TrainableParameters& state() override { return state_; }
  std::span<float> parameters() { return table_; }
  std::span<float> gradients() { return state_.gradients(); }

  // log p(token | from) under any table of these shapes, in double.
  template <typename T>
  double LogProb(const std::vector<T>& table, size_t from, TokenId token) const {
    double sum = 0;
    for (size_t j = 0; j < size(); ++j) sum += std::exp(double{table[from * size() + j]});
    return table[from * size() + static_cast<size_t>(token)] - std::log(sum);
  }

  // Of what follows `from`, nats.
  template <typename T>
  double Entropy(const std::vector<T>& table, size_t from) const {
    double entropy = 0;
    for (size_t j = 0; j < size(); ++j) {
      const double log_p = LogProb(table, from, static_cast<TokenId>(j));
      entropy -= std::exp(log_p) * log_p;
    }
    return entropy;
  }

  int forwards = 0, forward_onlys = 0, changes = 0;

 private:
  size_t size() const { return static_cast<size_t>(vocab_); }
  static size_t Row(const TrainSequences& sequences, size_t target) {
    return static_cast<size_t>(sequences.token_ids[static_cast<size_t>(sequences.target_rows[target])]);
  }
  void LogProbs(const TrainSequences& sequences, std::span<float> logprobs) const {
    for (size_t i = 0; i < logprobs.size(); ++i) {
      logprobs[i] = static_cast<float>(LogProb(table_, Row(sequences, i), sequences.targets[i]));
    }
  }

  const int64_t vocab_;
  const ParameterLayout layout_;
  std::vector<float> table_;
  ParametersCpu state_;
  TrainSequences kept_;
};

}  // namespace tactus
