// The hand-written gradients of every family on every backend against finite differences of the same forward pass, and
// against themselves under activation checkpointing, chunking, packing and threads, with shared beginnings and without.
#include <map>
#include <random>

#include "common/ops/cpu/parallel.h"
#include "tests/model/rig.h"

namespace tactus {
namespace {

// Small enough for finite differences, with every tensor away from 0.
Model RandomModel(ModelConfig config) {
  Model model{config, MakeParameterLayout(config), {}};
  model.parameters.resize(static_cast<size_t>(model.layout.total_numel));
  std::mt19937_64 generator(3);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  for (const ParameterSpec& spec : model.layout.specs) {
    const bool norm = spec.name.find("norm") != std::string::npos;
    for (int64_t i = 0; i < spec.numel; ++i) {
      model.parameters[static_cast<size_t>(spec.offset + i)] =
          norm ? 1 + 0.2f * normal(generator) : 0.2f * normal(generator);
    }
  }
  return model;
}

// Every family's layer, tied and untied, and heads whose size is not hidden / heads.
std::map<std::string, ModelConfig> TinyConfigs() {
  std::map<std::string, ModelConfig> configs;
  for (const ModelFamily* family : kModelFamilies) {
    ModelConfig& config = configs[family->model_type] = family->base;
    config.vocab_size = 50;
    config.hidden_size = 32;
    config.intermediate_size = 48;
    config.num_layers = 2;
    config.num_heads = 4;
    config.num_kv_heads = 2;
    config.head_dim = 16;
    config.max_position = 64;
    config.tie_word_embeddings = configs.size() % 2 == 0;
  }
  configs["mistral"].num_heads = 3;
  configs["mistral"].num_kv_heads = 1;
  return configs;
}

// Of several pages on the CPU; shorter in the emulation, which is slow. The first three share what they begin with.
template <typename B>
TrainSequences Batch() {
  constexpr bool kLong = Rig<B>::kSameBits;
  TrainSequences batch;
  batch.sequence_starts = kLong ? std::vector<int64_t>{0, 19, 22, 24, 60} : std::vector<int64_t>{0, 4, 6, 10, 25};
  batch.shared_tokens = kLong ? std::vector<int64_t>{0, 18, 18, 0} : std::vector<int64_t>{0, 3, 3, 0};
  for (int i = 0; i < batch.sequence_starts.back(); ++i) batch.token_ids.push_back(i * i % 50);
  for (const int32_t row :
       kLong ? std::vector<int32_t>{5, 6, 17, 20, 22, 30, 31, 58} : std::vector<int32_t>{0, 1, 2, 4, 9, 12, 13, 23}) {
    batch.target_rows.push_back(row);
    batch.targets.push_back(batch.token_ids[static_cast<size_t>(row + 1)]);
  }
  return batch;
}

const std::vector<float> kWeights = {1.0f, -2.0f, 0.5f, 0.0f, 1.5f, -1.0f, 0.7f, 2.0f};

// Of the entropies, where the temperature is 1: one of a target whose log-prob has none, and one of none at all.
const std::vector<float> kEntropyWeights = {0.0f, 0.5f, -1.0f, 1.5f, 0.0f, 1.0f, 2.0f, -0.5f};

TargetGradient Sent(const TrainableOptions& options) {
  TargetGradient sent{.logprobs = kWeights};
  if (options.temperature == 1.0f) sent.entropies = kEntropyWeights;
  return sent;
}

template <typename B>
double Loss(TrainableDecoder<B>& trainable, const TargetGradient& sent, const TrainSequences& batch) {
  std::vector<float> logprobs(kWeights.size()), entropies(kWeights.size());
  trainable.ForwardOnly(batch, logprobs, entropies);
  double loss = 0;
  for (size_t i = 0; i < kWeights.size(); ++i) {
    loss += static_cast<double>(sent.logprobs[i]) * logprobs[i];
    if (!sent.entropies.empty()) loss += static_cast<double>(sent.entropies[i]) * entropies[i];
  }
  return loss;
}

template <typename B>
std::vector<float> Gradients(Rig<B>& rig, size_t size, TrainableOptions options, const TrainSequences& batch) {
  TrainableDecoder<B> trainable(rig.weights(), options);
  std::vector<float> logprobs(kWeights.size()), none, gradients(size);
  trainable.Forward(batch, logprobs, none);
  rig.Backward(trainable, Sent(options), gradients);
  return gradients;
}

template <typename B>
using GradientTest = BackendTest<B>;
TYPED_TEST_SUITE(GradientTest, Backends);

// Along random directions of each parameter tensor: float32 forward noise is small against a directional derivative.
TYPED_TEST(GradientTest, MatchesFiniteDifferencesInEveryTensor) {
  for (const auto& [name, config] : TinyConfigs()) {
    Model model = RandomModel(config);
    Rig<TypeParam> rig(model, StorageDType::kFloat32);
    const TrainSequences batch = Batch<TypeParam>();
    const TrainableOptions options{.temperature = name == "llama" || name == "qwen3" ? 1.0f : 0.8f};
    const std::vector<float> gradients = Gradients(rig, model.parameters.size(), options, batch);
    TrainableDecoder<TypeParam> trainable(rig.weights(), options);
    std::mt19937_64 generator(11);
    std::normal_distribution<double> normal;
    for (const ParameterSpec& spec : model.layout.specs) {
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
      const auto loss_at = [&](double scale) {
        std::vector<float> moved = model.parameters;
        for (size_t i = 0; i < direction.size(); ++i) {
          const size_t at = static_cast<size_t>(spec.offset) + i;
          moved[at] = static_cast<float>(moved[at] + scale * direction[i]);
        }
        rig.SetParameters(moved);
        return Loss(trainable, Sent(options), batch);
      };
      // Fourth-order central difference: the truncation error is below the float32 noise.
      const double measured =
          (8 * (loss_at(step) - loss_at(-step)) - (loss_at(2 * step) - loss_at(-2 * step))) / (12 * step);
      EXPECT_NEAR(measured, expected, 2e-3 * std::abs(expected) + 2e-3) << name << ": " << spec.name;
    }
  }
}

TYPED_TEST(GradientTest, ChecksumsOfTheSameMathAgree) {
  for (const auto& [name, config] : TinyConfigs()) {
    SCOPED_TRACE(name);
    const Model model = RandomModel(config);
    const size_t size = model.parameters.size();
    for (const StorageDType dtype : {StorageDType::kFloat32, StorageDType::kBFloat16}) {
      Rig<TypeParam> rig(model, dtype);
      const TrainSequences batch = Batch<TypeParam>();
      const std::vector<float> plain = Gradients(rig, size, {}, batch);
      // A GPU computes layers again from inputs in bfloat16: TrainableBackendsTest says how far that is from these.
      if (dtype == StorageDType::kFloat32 || std::is_same_v<TypeParam, ops::CpuBackend>) {
        EXPECT_EQ(plain, Gradients(rig, size, {.activation_checkpointing = true}, batch))
            << "recomputed activations differ";
      }
      ops::SetThreads(2);
      EXPECT_EQ(plain, Gradients(rig, size, {}, batch)) << "depends on the number of threads";
      ops::SetThreads(1);
      if (dtype != StorageDType::kFloat32) continue;
      const std::vector<float> chunked = Gradients(rig, size, {.logprob_chunk_tokens = 3}, batch);
      double difference = 0, square = 0;
      for (size_t i = 0; i < plain.size(); ++i) {
        difference += (plain[i] - chunked[i]) * static_cast<double>(plain[i] - chunked[i]);
        square += static_cast<double>(plain[i]) * plain[i];
      }
      EXPECT_LT(std::sqrt(difference / square), 1e-6);
    }
  }
}

// The batch with every sequence whole.
TrainSequences Whole(const TrainSequences& batch) {
  TrainSequences whole;
  whole.sequence_starts = {0};
  size_t target = 0;
  for (const ops::PackedSequence& s :
       ops::SequencesOf({.starts = batch.sequence_starts, .shared = batch.shared_tokens})) {
    const auto tokens = batch.token_ids.begin();
    whole.token_ids.insert(whole.token_ids.end(), tokens + s.head_row, tokens + s.head_row + s.shared);
    const int64_t moved = static_cast<int64_t>(whole.token_ids.size()) - s.first_row;
    whole.token_ids.insert(whole.token_ids.end(), tokens + s.first_row, tokens + s.end_row());
    whole.sequence_starts.push_back(static_cast<int64_t>(whole.token_ids.size()));
    for (; target < batch.targets.size() && batch.target_rows[target] < s.end_row(); ++target) {
      whole.target_rows.push_back(static_cast<int32_t>(batch.target_rows[target] + moved));
      whole.targets.push_back(batch.targets[target]);
    }
  }
  return whole;
}

// |a - b| / |b| of one parameter.
double Distance(const ParameterSpec& spec, const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, square = 0;
  for (int64_t i = spec.offset; i < spec.offset + spec.numel; ++i) {
    const double left = a[static_cast<size_t>(i)], right = b[static_cast<size_t>(i)];
    difference += (left - right) * (left - right);
    square += right * right;
  }
  return std::sqrt(difference / square);
}

// A shared token is computed once: the same log-probs, on the CPU to the bit, and gradients that differ by the order of
// sums; in bfloat16 also by its gradient's being rounded once, not in every sequence.
TYPED_TEST(GradientTest, SharedTokensGiveTheNumbersOfWholeSequences) {
  for (const auto& [name, config] : TinyConfigs()) {
    const Model model = RandomModel(config);
    for (const StorageDType dtype : {StorageDType::kFloat32, StorageDType::kBFloat16}) {
      Rig<TypeParam> rig(model, dtype);
      const TrainSequences shared = Batch<TypeParam>(), whole = Whole(shared);
      ASSERT_LT(shared.token_ids.size(), whole.token_ids.size());
      TrainableDecoder<TypeParam> trainable(rig.weights(), {});
      std::vector<float> logprobs(kWeights.size()), entropy(logprobs), whole_logprobs(logprobs),
          whole_entropy(logprobs);
      trainable.ForwardOnly(shared, logprobs, entropy);
      trainable.ForwardOnly(whole, whole_logprobs, whole_entropy);
      // A GPU's products may round otherwise for another number of rows, in bfloat16 every activation.
      const double tolerance = !std::is_same_v<TypeParam, ops::CudaBackend> ? 0
                               : dtype == StorageDType::kFloat32            ? 2e-5
                                                                            : 0.05;
      for (size_t t = 0; t < logprobs.size(); ++t) {
        EXPECT_NEAR(logprobs[t], whole_logprobs[t], tolerance) << name << " " << t;
        EXPECT_NEAR(entropy[t], whole_entropy[t], tolerance) << name << " " << t;
      }
      const std::vector<float> gradients = Gradients(rig, model.parameters.size(), {}, shared);
      const std::vector<float> whole_gradients = Gradients(rig, model.parameters.size(), {}, whole);
      for (const ParameterSpec& spec : model.layout.specs) {
        EXPECT_LT(Distance(spec, gradients, whole_gradients), dtype == StorageDType::kFloat32 ? 1e-5 : 1e-2)
            << name << ": " << spec.name;
      }
    }
  }
}

TYPED_TEST(GradientTest, AddsUpOverCallsAndIgnoresZeroWeights) {
  for (const auto& [name, config] : TinyConfigs()) {
    SCOPED_TRACE(name);
    const Model model = RandomModel(config);
    Rig<TypeParam> rig(model, StorageDType::kFloat32);
    const TrainSequences batch = Batch<TypeParam>();
    const std::vector<float> once = Gradients(rig, model.parameters.size(), {}, batch);
    TrainableDecoder<TypeParam> trainable(rig.weights(), {});
    std::vector<float> logprobs(kWeights.size()), none, gradients(model.parameters.size());
    std::vector<int64_t> finished;
    for (int i = 0; i < 2; ++i) {
      trainable.Forward(batch, logprobs, none);
      finished = rig.Backward(trainable, Sent({}), gradients);
    }
    for (size_t i = 0; i < once.size(); ++i) ASSERT_NEAR(gradients[i], 2 * once[i], 1e-4f + 1e-4f * std::abs(once[i]));
    EXPECT_TRUE(std::ranges::is_sorted(finished, std::greater<>())) << "places are named from the end on";
    EXPECT_EQ(finished.back(), 0);
    const std::vector<float> before = gradients, none_sent(kWeights.size(), 0.0f);
    EXPECT_EQ(rig.Backward(trainable, {.logprobs = none_sent, .entropies = none_sent}, gradients),
              std::vector<int64_t>{0});
    EXPECT_EQ(before, gradients);
  }
}

}  // namespace
}  // namespace tactus
