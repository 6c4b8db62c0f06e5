// TrainableLm's hand-written gradients against finite differences of its own forward, and against themselves under
// activation checkpointing, chunking, packing and threads.
#include <gtest/gtest.h>

#include <random>

#include "common/model/trainable_lm.h"
#include "common/ops/cpu/parallel.h"
#include "tests/model/golden_models.h"

namespace tactus {
namespace {

ModelConfig TinyConfig(const ModelFamily* family) {
  ModelConfig config = family->base;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_position = 64;
  config.tie_word_embeddings = family != &kLlama;
  return config;
}

std::unique_ptr<DecoderLm> RandomModel(const ModelFamily* family) {
  std::unique_ptr<DecoderLm> model = *DecoderLm::Create(TinyConfig(family), StorageDType::kFloat32);
  std::mt19937_64 generator(3);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  for (const ParameterSpec& spec : model->layout().specs) {
    const bool norm = spec.name.find("norm") != std::string::npos;
    for (int64_t i = 0; i < spec.numel; ++i) {
      model->parameters()[static_cast<size_t>(spec.offset + i)] =
          norm ? 1 + 0.2f * normal(generator) : 0.2f * normal(generator);
    }
  }
  model->PackWeights();
  return model;
}

TrainSequences Batch() {
  TrainSequences batch;
  batch.sequence_starts = {0, 19, 24, 60};
  for (int i = 0; i < 60; ++i) batch.token_ids.push_back(i * i % 50);
  for (const int32_t row : {5, 6, 17, 20, 22, 30, 31, 58}) {
    batch.target_rows.push_back(row);
    batch.targets.push_back(batch.token_ids[static_cast<size_t>(row + 1)]);
  }
  return batch;
}

const std::vector<float> kWeights = {1.0f, -2.0f, 0.5f, 0.0f, 1.5f, -1.0f, 0.7f, 2.0f};

double Loss(TrainableLm& trainable, const TrainSequences& batch) {
  std::vector<float> logprobs(kWeights.size()), none;
  trainable.ForwardOnly(batch, logprobs, none);
  double loss = 0;
  for (size_t i = 0; i < kWeights.size(); ++i) loss += static_cast<double>(kWeights[i]) * logprobs[i];
  return loss;
}

std::vector<float> Gradients(DecoderLm& model, TrainableOptions options, const TrainSequences& batch) {
  TrainableLm trainable(model, options);
  std::vector<float> logprobs(kWeights.size()), none;
  trainable.Forward(batch, logprobs, none);
  trainable.ZeroGradients();
  trainable.Backward(kWeights);
  return {trainable.gradients().begin(), trainable.gradients().end()};
}

class GradientTest : public testing::TestWithParam<const ModelFamily*> {};
INSTANTIATE_TEST_SUITE_P(Families, GradientTest, testing::ValuesIn(Families()),
                         [](const auto& family) { return family.param->model_type; });

// Along random directions of each parameter tensor: float32 forward noise is small against a directional derivative.
TEST_P(GradientTest, MatchesFiniteDifferencesInEveryTensor) {
  const std::unique_ptr<DecoderLm> model = RandomModel(GetParam());
  const TrainSequences batch = Batch();
  const TrainableOptions options{.temperature = 0.8f};
  const std::vector<float> gradients = Gradients(*model, options, batch);
  TrainableLm trainable(*model, options);
  std::mt19937_64 generator(11);
  std::normal_distribution<double> normal;
  for (const ParameterSpec& spec : model->layout().specs) {
    std::vector<double> direction(static_cast<size_t>(spec.numel));
    double expected = 0, norm = 0;
    for (size_t i = 0; i < direction.size(); ++i) {
      // Half random, half along the gradient: the derivative is then well away from zero.
      const double g = gradients[static_cast<size_t>(spec.offset) + i];
      direction[i] = 0.1 * normal(generator) + g;
      norm += direction[i] * direction[i];
    }
    norm = std::sqrt(norm);
    for (size_t i = 0; i < direction.size(); ++i) {
      direction[i] /= norm;
      expected += direction[i] * gradients[static_cast<size_t>(spec.offset) + i];
    }
    const double step = 4e-3;
    const std::vector<float> keep(model->parameters().begin(), model->parameters().end());
    const auto loss_at = [&](double scale) {
      for (size_t i = 0; i < direction.size(); ++i) {
        const size_t at = static_cast<size_t>(spec.offset) + i;
        model->parameters()[at] = static_cast<float>(keep[at] + scale * direction[i]);
      }
      model->PackWeights();
      const double loss = Loss(trainable, batch);
      std::copy(keep.begin(), keep.end(), model->parameters().begin());
      return loss;
    };
    // Fourth-order central difference: the truncation error is below the float32 noise.
    const double measured =
        (8 * (loss_at(step) - loss_at(-step)) - (loss_at(2 * step) - loss_at(-2 * step))) / (12 * step);
    EXPECT_NEAR(measured, expected, 2e-3 * std::abs(expected) + 2e-3) << spec.name;
  }
}

TEST_P(GradientTest, ChecksumsOfTheSameMathAgree) {
  const std::unique_ptr<DecoderLm> model = RandomModel(GetParam());
  const TrainSequences batch = Batch();
  const std::vector<float> plain = Gradients(*model, {}, batch);
  EXPECT_EQ(plain, Gradients(*model, {.activation_checkpointing = true}, batch)) << "recomputed activations differ";
  ops::SetThreads(2);
  EXPECT_EQ(plain, Gradients(*model, {}, batch)) << "depends on the number of threads";
  ops::SetThreads(1);
  const std::vector<float> chunked = Gradients(*model, {.logprob_chunk_tokens = 3}, batch);
  double difference = 0, size = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    difference += (plain[i] - chunked[i]) * static_cast<double>(plain[i] - chunked[i]);
    size += static_cast<double>(plain[i]) * plain[i];
  }
  EXPECT_LT(std::sqrt(difference / size), 1e-6);
}

TEST_P(GradientTest, AddsUpOverCallsAndIgnoresZeroWeights) {
  const std::unique_ptr<DecoderLm> model = RandomModel(GetParam());
  const TrainSequences batch = Batch();
  const std::vector<float> once = Gradients(*model, {}, batch);
  TrainableLm trainable(*model, {});
  std::vector<float> logprobs(kWeights.size()), none;
  for (int i = 0; i < 2; ++i) {
    trainable.Forward(batch, logprobs, none);
    trainable.Backward(kWeights);
  }
  for (size_t i = 0; i < once.size(); ++i)
    ASSERT_NEAR(trainable.gradients()[i], 2 * once[i], 1e-4f + 1e-4f * std::abs(once[i]));
  const std::vector<float> before(trainable.gradients().begin(), trainable.gradients().end());
  trainable.Backward(std::vector<float>(kWeights.size(), 0.0f));
  EXPECT_TRUE(std::equal(before.begin(), before.end(), trainable.gradients().begin()));
}

}  // namespace
}  // namespace tactus
