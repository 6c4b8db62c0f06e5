// Every family on every backend against transformers (float64 goldens), and the CPU's promise: the same bits however
// rows are cut and batched.
#include <cmath>
#include <cstring>

#include "common/ops/cpu/parallel.h"
#include "common/ops/cpu/sampling.h"
#include "tests/model/rig.h"

namespace tactus {
namespace {

TYPED_TEST_SUITE(BackendTest, Backends);

TYPED_TEST(BackendTest, PrefillLogitsAgreeWithTransformers) {
  for (const auto& [name, dtype] : GoldenModels()) {
    SCOPED_TRACE(name);
    // The goldens are computed from the weights as stored, so float32 holds bf16 folders exactly.
    Rig<TypeParam> rig(LoadGolden(name), StorageDType::kFloat32);
    const size_t vocab = static_cast<size_t>(rig.config().vocab_size);
    for (const nlohmann::json& sequence : Golden(name)["sequences"]) {
      const auto ids = sequence["ids"].get<std::vector<TokenId>>();
      const int64_t tokens = static_cast<int64_t>(ids.size());
      const std::vector<int32_t> pages = Pages(tokens, 0);
      rig.StartCache(static_cast<int64_t>(pages.size()));
      rig.Forward({.token_ids = ids, .runs = {{0, tokens, 0, pages}}});
      const auto positions = sequence["logit_positions"].get<std::vector<int32_t>>();
      const std::vector<float> logits = rig.Logits(positions);
      for (size_t i = 0; i < positions.size(); ++i) {
        const auto expected = sequence["logits"][i].get<std::vector<double>>();
        ASSERT_EQ(expected.size(), vocab);
        double largest = 0;
        for (const double value : expected) largest = std::max(largest, std::abs(value));
        for (size_t v = 0; v < vocab; ++v) {
          ASSERT_NEAR(logits[i * vocab + v], expected[v], 1e-5 * largest)
              << "sequence of " << tokens << ", position " << positions[i];
        }
      }
    }
  }
}

// A golden's sequences end to end, every token but the first of each a target, and the log-probs wanted.
struct Packed {
  TrainSequences sequences;
  std::vector<double> expected;
};
Packed PackGolden(const std::string& name) {
  Packed packed;
  TrainSequences& all = packed.sequences;
  all.sequence_starts.push_back(0);
  const nlohmann::json golden = Golden(name);
  for (const nlohmann::json& sequence : golden["sequences"]) {
    const auto ids = sequence["ids"].get<std::vector<TokenId>>();
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      all.target_rows.push_back(static_cast<int32_t>(all.token_ids.size() + t));
      all.targets.push_back(ids[t + 1]);
      packed.expected.push_back(sequence["logprobs"][t].get<double>());
    }
    all.token_ids.insert(all.token_ids.end(), ids.begin(), ids.end());
    all.sequence_starts.push_back(static_cast<int64_t>(all.token_ids.size()));
  }
  return packed;
}

// The actor's way: every sequence advances by its own stride each step, all in one batch.
template <typename B>
void ExpectDecodeAgrees(Rig<B>& rig, const TrainSequences& packed, const std::vector<float>& logprobs,
                        const std::vector<float>& entropy) {
  const size_t count = packed.sequence_starts.size() - 1;
  std::vector<std::vector<int32_t>> pages;
  int32_t next_page = 0;
  for (size_t s = 0; s < count; ++s) {
    pages.push_back(Pages(packed.sequence_starts[s + 1] - packed.sequence_starts[s], next_page));
    next_page += static_cast<int32_t>(pages.back().size());
  }
  rig.StartCache(next_page);
  std::vector<int64_t> done(count, 0);
  size_t checked = 0;
  for (int step = 0; checked < logprobs.size(); ++step) {
    ForwardBatch batch;
    std::vector<int32_t> rows, targets, index;
    for (size_t s = 0; s < count; ++s) {
      const int64_t start = packed.sequence_starts[s], length = packed.sequence_starts[s + 1] - start;
      const int64_t stride = s % 2 == 0 ? 1 : 1 + step % 5;
      const int64_t take = std::min(stride, length - done[s]);
      if (take == 0) continue;
      const int64_t first_row = static_cast<int64_t>(batch.token_ids.size());
      batch.runs.push_back({first_row, take, done[s], pages[s]});
      for (int64_t i = 0; i < take; ++i) {
        const int64_t at = start + done[s] + i;
        batch.token_ids.push_back(packed.token_ids[static_cast<size_t>(at)]);
        if (done[s] + i + 1 == length) continue;
        rows.push_back(static_cast<int32_t>(first_row + i));
        targets.push_back(packed.token_ids[static_cast<size_t>(at + 1)]);
        index.push_back(static_cast<int32_t>(at - static_cast<int64_t>(s)));  // one target less per sequence
      }
      done[s] += take;
    }
    rig.Forward(batch);
    if (rows.empty()) continue;
    const std::vector<float> logits = rig.Logits(rows);
    std::vector<ops::TokenLogProb> out(rows.size());
    ops::LogProbRows(logits.data(), rig.config().vocab_size, targets, 1.0f, out);
    for (size_t i = 0; i < rows.size(); ++i, ++checked) {
      const size_t at = static_cast<size_t>(index[i]);
      if constexpr (Rig<B>::kSameBits) {
        ASSERT_EQ(std::memcmp(&out[i].logprob, &logprobs[at], sizeof(float)), 0) << "target " << at;
        ASSERT_EQ(std::memcmp(&out[i].entropy, &entropy[at], sizeof(float)), 0) << "target " << at;
      } else {
        ASSERT_NEAR(out[i].logprob, logprobs[at], 2e-5 * std::max(1.0f, std::abs(logprobs[at]))) << "target " << at;
        ASSERT_NEAR(out[i].entropy, entropy[at], 2e-5) << "target " << at;
      }
    }
  }
}

// All sequences at once; then cut into steps of different sizes, decode rows mixed with prefill rows.
TYPED_TEST(BackendTest, LogProbsAgreeThroughDecodeAndPacked) {
  for (const auto& [name, dtype] : GoldenModels()) {
    SCOPED_TRACE(name);
    Rig<TypeParam> rig(LoadGolden(name), StorageDType::kFloat32);
    const Packed packed = PackGolden(name);
    TrainableDecoder<TypeParam> trainable(rig.weights(), {.logprob_chunk_tokens = 50});
    std::vector<float> logprobs(packed.expected.size()), entropy(packed.expected.size());
    trainable.Forward(packed.sequences, logprobs, entropy);
    for (size_t i = 0; i < packed.expected.size(); ++i) {
      ASSERT_NEAR(logprobs[i], packed.expected[i], 1e-5 * std::max(1.0, std::abs(packed.expected[i])));
    }
    ExpectDecodeAgrees(rig, packed.sequences, logprobs, entropy);
  }
}

TEST(DecoderCpuTest, Bf16WeightsKeepTheBitsAcrossPathsAndThreads) {
  Rig<ops::CpuBackend> rig(LoadGolden("qwen3"), StorageDType::kBFloat16);
  std::vector<TokenId> ids(70);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i * 37 % 100);
  TrainSequences one{.token_ids = ids, .sequence_starts = {0, 70}, .target_rows = {0, 33, 68}, .targets = {5, 6, 7}};
  TrainableDecoderCpu trainable(rig.weights(), {});
  std::vector<float> first(3), second(3), none;
  trainable.ForwardOnly(one, first, none);
  ops::SetThreads(2);
  trainable.ForwardOnly(one, second, none);
  ops::SetThreads(1);
  EXPECT_EQ(first, second);

  const std::vector<int32_t> pages = Pages(70, 0);
  rig.StartCache(static_cast<int64_t>(pages.size()));
  for (int64_t t = 0; t < 34; ++t) {
    rig.Forward({.token_ids = {ids[static_cast<size_t>(t)]}, .runs = {{0, 1, t, pages}}});
    if (t != 33) continue;
    const std::vector<int32_t> target = {6};
    const std::vector<float> logits = rig.Logits({0});
    std::vector<ops::TokenLogProb> out(1);
    ops::LogProbRows(logits.data(), rig.config().vocab_size, target, 1.0f, out);
    EXPECT_EQ(out[0].logprob, first[1]);
  }
}

TEST(DecoderWeightsTest, RefusesSizesThatTheKernelsDoNotCompute) {
  ModelConfig config = LoadGolden("llama").config;
  config.intermediate_size = 97;
  EXPECT_EQ(DecoderWeightsCpu::Create(config, StorageDType::kFloat32).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace tactus
