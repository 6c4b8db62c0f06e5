// Training on a GPU against the CPU, whose gradients are held against finite differences: log-probs and gradients of
// every family, packed, cut and checkpointed in every way. On a GPU in the preset `cuda`, emulated elsewhere.
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "common/model/cpu/decoder_cpu.h"
#include "common/model/cuda/decoder_cuda.h"
#include "tests/model/golden_models.h"
#include "tests/ops/cuda/device_array.h"

namespace tactus {
namespace {

using ops::cuda::DeviceArray;

// Every reference model in the type it is stored in, and every family in bfloat16.
std::vector<GoldenModel> Cases() {
  std::vector<GoldenModel> cases = GoldenModels();
  for (const std::string& name : FamilyModels()) cases.push_back({name, StorageDType::kBFloat16});
  return cases;
}

// A golden model on the CPU and, with the same parameters, on the device.
struct Pair {
  explicit Pair(const GoldenModel& of) {
    const auto opened = OpenModelFolder(GoldenModelPath(of.name));
    EXPECT_TRUE(opened.ok()) << opened.status();
    host = *DecoderWeightsCpu::FromFolder(*opened, of.dtype);
    const std::span<const float> values = host->flat();
    const at::Tensor flat = device::DeviceEmpty(0, {static_cast<int64_t>(values.size())}, ops::TorchTypeOf(of.dtype));
    const at::Tensor from = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
    std::copy(values.begin(), values.end(), from.data_ptr<float>());
    flat.copy_(from);
    weights.emplace(host->config(), flat, 0);
    weights->NormsChanged();
  }
  int64_t vocab() const { return host->config().vocab_size; }
  size_t size() const { return static_cast<size_t>(host->layout().total_numel); }

  std::unique_ptr<DecoderWeightsCpu> host;
  mutable std::optional<DecoderWeightsCuda> weights;  // a trainable may prepare them
};

// Sequences of ragged lengths, with targets that leave gaps and a token that occurs often.
TrainSequences Batch(int64_t vocab, const std::vector<int64_t>& lengths, int seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  TrainSequences batch;
  batch.sequence_starts = {0};
  for (const int64_t length : lengths) {
    const int64_t start = batch.sequence_starts.back();
    for (int64_t i = 0; i < length; ++i) {
      batch.token_ids.push_back(random() % 4 == 0 ? 7 : static_cast<TokenId>(random() % static_cast<uint64_t>(vocab)));
      if (random() % 3 == 0) continue;
      batch.target_rows.push_back(static_cast<int32_t>(start + i));
      batch.targets.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(vocab)));
    }
    batch.sequence_starts.push_back(start + length);
  }
  return batch;
}

// The same of sequences of which each but the first shares `shared` tokens with it.
TrainSequences Family(int64_t vocab, const std::vector<int64_t>& lengths, int64_t shared, int seed) {
  TrainSequences batch = Batch(vocab, lengths, seed);
  batch.shared_tokens.assign(lengths.size(), shared);
  batch.shared_tokens.front() = 0;
  return batch;
}

// d loss / d log-prob, some of them 0.
std::vector<float> Weights(size_t count) {
  std::vector<float> weights;
  for (size_t i = 0; i < count; ++i) weights.push_back(i % 5 == 3 ? 0.0f : std::sin(1.0f + static_cast<float>(i)));
  return weights;
}

// And d loss / d entropy where the temperature is 1.
struct Sent {
  Sent(size_t count, const TrainableOptions& options) : logprobs(Weights(count)) {
    for (size_t i = 0; i < count && options.temperature == 1.0f; ++i) {
      entropies.push_back(i % 3 == 0 ? 0.0f : std::cos(static_cast<float>(i)));
    }
  }
  operator TargetGradient() const { return {.logprobs = logprobs, .entropies = entropies}; }  // NOLINT
  std::vector<float> logprobs, entropies;
};

struct Result {
  std::vector<float> logprobs, entropy, gradients;
};

Result OnDevice(const Pair& pair, const TrainableOptions& options, const std::vector<TrainSequences>& batches) {
  TrainableDecoderCuda trainable(*pair.weights, options);
  DeviceArray<float> gradients(std::vector<float>(pair.size(), 0.0f));
  Result result;
  for (const TrainSequences& batch : batches) {
    std::vector<float> logprobs(batch.targets.size()), entropy(batch.targets.size());
    trainable.Forward(batch, logprobs, entropy);
    std::vector<int64_t> finished;
    trainable.Backward(Sent(logprobs.size(), options), gradients.get(),
                       [&](int64_t begin) { finished.push_back(begin); });
    EXPECT_TRUE(std::ranges::is_sorted(finished, std::greater<>()));
    EXPECT_EQ(finished.back(), 0);
    EXPECT_EQ(finished.size(), static_cast<size_t>(pair.host->config().num_layers) + 2);
    result.logprobs.insert(result.logprobs.end(), logprobs.begin(), logprobs.end());
    result.entropy.insert(result.entropy.end(), entropy.begin(), entropy.end());
  }
  result.gradients = gradients.Read();
  return result;
}

Result OnHost(DecoderWeightsCpu& model, const TrainableOptions& options, const std::vector<TrainSequences>& batches) {
  TrainableDecoderCpu trainable(model, options);
  Result result;
  result.gradients.resize(static_cast<size_t>(model.layout().total_numel));
  for (const TrainSequences& batch : batches) {
    std::vector<float> logprobs(batch.targets.size()), entropy(batch.targets.size());
    trainable.Forward(batch, logprobs, entropy);
    trainable.Backward(Sent(logprobs.size(), options), result.gradients.data(), [](int64_t) {});
    result.logprobs.insert(result.logprobs.end(), logprobs.begin(), logprobs.end());
    result.entropy.insert(result.entropy.end(), entropy.begin(), entropy.end());
  }
  return result;
}

// Of each parameter: |a - b| / |b|.
std::map<std::string, double> RelativeErrors(const ParameterLayout& layout, const Result& a, const Result& b) {
  std::map<std::string, double> errors;
  for (const ParameterSpec& spec : layout.specs) {
    double difference = 0, size = 0;
    for (int64_t i = spec.offset; i < spec.offset + spec.numel; ++i) {
      const double left = a.gradients[static_cast<size_t>(i)], right = b.gradients[static_cast<size_t>(i)];
      difference += (left - right) * (left - right);
      size += right * right;
    }
    EXPECT_GT(size, 0) << spec.name;
    errors[spec.name] = std::sqrt(difference / size);
  }
  return errors;
}

class TrainableBackendsTest : public testing::TestWithParam<GoldenModel> {
 protected:
  void SetUp() override { NEED_GPU(); }
};
INSTANTIATE_TEST_SUITE_P(Goldens, TrainableBackendsTest, testing::ValuesIn(Cases()), [](const auto& tested) {
  return tested.param.name + (tested.param.dtype == StorageDType::kFloat32 ? "_float32" : "_bfloat16");
});

double RootMeanSquare(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - b[i], 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

void ExpectTheCpus(const GoldenModel& tested, bool activation_checkpointing) {
  const Pair pair(tested);
  const TrainableOptions options{.activation_checkpointing = activation_checkpointing,
                                 .logprob_chunk_tokens = 7,
                                 .temperature = 0.8f,
                                 .mlp_rows = 12};
  const std::vector<TrainSequences> batches = {Batch(pair.vocab(), {19, 1, 37}, 1),
                                               Family(pair.vocab(), {23, 2, 9}, 18, 2)};
  const Result actual = OnDevice(pair, options, batches), host = OnHost(*pair.host, options, batches);
  if (tested.dtype == StorageDType::kFloat32) {
    for (size_t i = 0; i < host.logprobs.size(); ++i) {
      ASSERT_NEAR(actual.logprobs[i], host.logprobs[i], 2e-5) << i;
      ASSERT_NEAR(actual.entropy[i], host.entropy[i], 2e-5) << i;
    }
    for (const auto& [name, error] : RelativeErrors(pair.host->layout(), actual, host)) EXPECT_LT(error, 1e-5) << name;
  } else {
    // Both round activations, the device in about twice as many places. Its distance from the same weights' numbers
    // without that rounding is held against the CPU's.
    const auto exact_model = *DecoderWeightsCpu::Create(pair.host->config(), StorageDType::kFloat32);
    std::ranges::transform(pair.host->flat(), exact_model->flat().begin(),
                           [](float value) { return BFloat16ToFloat(FloatToBFloat16(value)); });
    exact_model->Pack();
    const Result exact = OnHost(*exact_model, options, batches);
    EXPECT_LT(RootMeanSquare(actual.logprobs, exact.logprobs), 3 * RootMeanSquare(host.logprobs, exact.logprobs));
    EXPECT_LT(RootMeanSquare(actual.entropy, exact.entropy), 3 * RootMeanSquare(host.entropy, exact.entropy));
    const auto host_errors = RelativeErrors(pair.host->layout(), host, exact);
    // Layers that are computed again round what they read once more.
    const double times = activation_checkpointing ? 4 : 3;
    for (const auto& [name, error] : RelativeErrors(pair.host->layout(), actual, exact)) {
      EXPECT_LT(error, times * host_errors.at(name)) << name;
    }
  }
  // The padding between parameters has no gradient.
  double padding = 0;
  size_t at = 0;
  for (const ParameterSpec& spec : pair.host->layout().specs) {
    for (; at < static_cast<size_t>(spec.offset); ++at) padding += std::abs(actual.gradients[at]);
    at += static_cast<size_t>(spec.numel);
  }
  EXPECT_EQ(padding, 0);
}

TEST_P(TrainableBackendsTest, LogProbsAndGradientsAreTheCpus) { ExpectTheCpus(GetParam(), false); }
TEST_P(TrainableBackendsTest, SoAreThoseOfLayersThatAreComputedAgain) { ExpectTheCpus(GetParam(), true); }

// But for bfloat16, where a layer that is computed again begins with its input in that type.
TEST_P(TrainableBackendsTest, CheckpointingAndThreadOrdersChangeNoBit) {
  const Pair pair(GetParam());
  const std::vector<TrainSequences> batches = {Family(pair.vocab(), {18, 2, 5}, 11, 3)};
  const TrainableOptions checkpointing{.activation_checkpointing = true, .mlp_rows = 1000};
  const Result plain = OnDevice(pair, {}, batches), again = OnDevice(pair, checkpointing, batches);
  EXPECT_EQ(plain.logprobs, again.logprobs);
  EXPECT_EQ(plain.gradients == again.gradients, GetParam().dtype == StorageDType::kFloat32);
  for (const auto& [options, expected] : {std::pair(TrainableOptions(), &plain), {checkpointing, &again}}) {
    const auto gradients = ops::cuda::InEveryOrder([&] { return OnDevice(pair, options, batches).gradients; });
    EXPECT_EQ(gradients, expected->gradients);
  }
}

TEST_P(TrainableBackendsTest, ForwardOnlyGivesTheSameNumbersAndPackingHardlyChangesThem) {
  const Pair pair(GetParam());
  const TrainSequences whole = Batch(pair.vocab(), {9, 23}, 4);
  TrainableDecoderCuda trainable(*pair.weights, {.logprob_chunk_tokens = 5});
  std::vector<float> kept(whole.targets.size()), only(kept.size());
  trainable.Forward(whole, kept, {});
  trainable.ForwardOnly(whole, only, {});
  EXPECT_EQ(kept, only);
  // The second sequence alone.
  TrainSequences alone;
  alone.token_ids.assign(whole.token_ids.begin() + 9, whole.token_ids.end());
  alone.sequence_starts = {0, 23};
  for (size_t i = 0; i < whole.target_rows.size(); ++i) {
    if (whole.target_rows[i] < 9) continue;
    alone.target_rows.push_back(whole.target_rows[i] - 9);
    alone.targets.push_back(whole.targets[i]);
  }
  std::vector<float> part(alone.targets.size());
  trainable.ForwardOnly(alone, part, {});
  const size_t first = kept.size() - part.size();
  for (size_t i = 0; i < part.size(); ++i) EXPECT_NEAR(part[i], kept[first + i], 1e-5);
}

TEST_P(TrainableBackendsTest, NoGradientIsNoWork) {
  const Pair pair(GetParam());
  const TrainSequences batch = Batch(pair.vocab(), {9, 23}, 5);
  TrainableDecoderCuda trainable(*pair.weights, {});
  std::vector<float> logprobs(batch.targets.size());
  trainable.Forward(batch, logprobs, {});
  DeviceArray<float> gradients(std::vector<float>(pair.size(), 0.5f));
  int64_t finished = -1;
  trainable.Backward({.logprobs = std::vector<float>(logprobs.size(), 0.0f)}, gradients.get(),
                     [&](int64_t at) { finished = at; });
  EXPECT_EQ(finished, 0);
  EXPECT_EQ(gradients.Read(), std::vector<float>(pair.size(), 0.5f));
}

}  // namespace
}  // namespace tactus
