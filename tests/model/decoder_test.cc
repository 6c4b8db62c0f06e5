// The decoder against transformers (float64 goldens), and its promise: the same bits however rows are cut and batched.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "common/model/decoder_lm.h"
#include "common/model/trainable_lm.h"
#include "common/ops/cpu/parallel.h"
#include "common/ops/cpu/sampling.h"
#include "nlohmann/json.hpp"

namespace tactus {
namespace {

const std::filesystem::path kModels = std::filesystem::path(TACTUS_SOURCE_DIR) / "tests/goldens/models";

nlohmann::json Golden(const std::string& name) {
  std::ifstream file(kModels / name / "golden.json");
  return nlohmann::json::parse(file);
}

std::unique_ptr<DecoderLm> Load(const std::string& name) {
  const absl::StatusOr<ModelFolder> folder = OpenModelFolder((kModels / name).string());
  EXPECT_TRUE(folder.ok()) << folder.status();
  // The goldens are computed from the weights as stored, so float32 holds bf16 folders exactly.
  absl::StatusOr<std::unique_ptr<DecoderLm>> model = DecoderLm::FromFolder(*folder, StorageDType::kFloat32);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// One sequence's pages, in no natural order.
std::vector<int32_t> Pages(int64_t tokens, int32_t first) {
  std::vector<int32_t> pages(static_cast<size_t>((tokens + kPageTokens - 1) / kPageTokens));
  std::iota(pages.rbegin(), pages.rend(), first);
  return pages;
}

class DecoderGoldenTest : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, DecoderGoldenTest,
                         testing::Values("llama", "llama3rope", "llama_bf16", "llama_tied_sharded", "qwen2", "qwen3",
                                         "qwen3_bf16"),
                         [](const auto& family) { return family.param; });

TEST_P(DecoderGoldenTest, PrefillLogitsAgreeWithTransformers) {
  const std::unique_ptr<DecoderLm> model = Load(GetParam());
  const int64_t vocab = model->config().vocab_size;
  for (const nlohmann::json& sequence : Golden(GetParam())["sequences"]) {
    const auto ids = sequence["ids"].get<std::vector<TokenId>>();
    const int64_t tokens = static_cast<int64_t>(ids.size());
    const std::vector<int32_t> pages = Pages(tokens, 0);
    KvCache cache(model->config(), StorageDType::kFloat32, model->config().num_layers,
                  static_cast<int64_t>(pages.size()));
    at::Tensor hidden, logits;
    model->Forward({.token_ids = ids, .runs = {{0, tokens, 0, pages}}}, cache, hidden);
    const auto positions = sequence["logit_positions"].get<std::vector<int32_t>>();
    model->Logits(hidden, positions, logits);
    for (size_t i = 0; i < positions.size(); ++i) {
      const auto expected = sequence["logits"][i].get<std::vector<double>>();
      ASSERT_EQ(static_cast<int64_t>(expected.size()), vocab);
      double largest = 0;
      for (const double value : expected) largest = std::max(largest, std::abs(value));
      for (int64_t v = 0; v < vocab; ++v) {
        ASSERT_NEAR(logits.data_ptr<float>()[static_cast<int64_t>(i) * vocab + v], expected[static_cast<size_t>(v)],
                    1e-5 * largest)
            << "sequence of " << tokens << ", position " << positions[i];
      }
    }
  }
}

// All sequences at once, cut into steps of different sizes; then decode rows mixed with prefill rows.
TEST_P(DecoderGoldenTest, LogProbsAgreeThroughDecodeAndPacked) {
  const std::unique_ptr<DecoderLm> model = Load(GetParam());
  const nlohmann::json golden = Golden(GetParam());
  TrainSequences packed;
  packed.sequence_starts.push_back(0);
  std::vector<double> expected;
  for (const nlohmann::json& sequence : golden["sequences"]) {
    const auto ids = sequence["ids"].get<std::vector<TokenId>>();
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      packed.target_rows.push_back(static_cast<int32_t>(packed.token_ids.size() + t));
      packed.targets.push_back(ids[t + 1]);
      expected.push_back(sequence["logprobs"][t].get<double>());
    }
    packed.token_ids.insert(packed.token_ids.end(), ids.begin(), ids.end());
    packed.sequence_starts.push_back(static_cast<int64_t>(packed.token_ids.size()));
  }
  TrainableLm trainable(*model, {.logprob_chunk_tokens = 50});
  std::vector<float> logprobs(expected.size()), entropy(expected.size());
  trainable.Forward(packed, logprobs, entropy);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(logprobs[i], expected[i], 1e-5 * std::max(1.0, std::abs(expected[i])));
  }

  // The actor's way: every sequence advances by its own stride each step, all in one batch.
  const size_t count = packed.sequence_starts.size() - 1;
  std::vector<std::vector<int32_t>> pages;
  int32_t next_page = 0;
  for (size_t s = 0; s < count; ++s) {
    pages.push_back(Pages(packed.sequence_starts[s + 1] - packed.sequence_starts[s], next_page));
    next_page += static_cast<int32_t>(pages.back().size());
  }
  KvCache cache(model->config(), StorageDType::kFloat32, model->config().num_layers, next_page);
  std::vector<int64_t> done(count, 0);
  size_t checked = 0;
  for (int step = 0; checked < expected.size(); ++step) {
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
    at::Tensor hidden, logits;
    model->Forward(batch, cache, hidden);
    if (rows.empty()) continue;
    model->Logits(hidden, rows, logits);
    std::vector<ops::TokenLogProb> out(rows.size());
    ops::LogProbRows(logits.data_ptr<float>(), model->config().vocab_size, targets, 1.0f, out);
    for (size_t i = 0; i < rows.size(); ++i, ++checked) {
      const size_t at = static_cast<size_t>(index[i]);
      ASSERT_EQ(std::memcmp(&out[i].logprob, &logprobs[at], sizeof(float)), 0) << "target " << at;
      ASSERT_EQ(std::memcmp(&out[i].entropy, &entropy[at], sizeof(float)), 0) << "target " << at;
    }
  }
}

TEST(DecoderLmTest, Bf16WeightsKeepTheBitsAcrossPathsAndThreads) {
  const absl::StatusOr<ModelFolder> folder = OpenModelFolder((kModels / "qwen3").string());
  ASSERT_TRUE(folder.ok());
  const std::unique_ptr<DecoderLm> model = *DecoderLm::FromFolder(*folder, StorageDType::kBFloat16);
  std::vector<TokenId> ids(70);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i * 37 % 100);
  TrainSequences one{.token_ids = ids, .sequence_starts = {0, 70}, .target_rows = {0, 33, 68}, .targets = {5, 6, 7}};
  TrainableLm trainable(*model, {});
  std::vector<float> first(3), second(3), none;
  trainable.ForwardOnly(one, first, none);
  ops::SetThreads(2);
  trainable.ForwardOnly(one, second, none);
  ops::SetThreads(1);
  EXPECT_EQ(first, second);

  const std::vector<int32_t> pages = Pages(70, 0);
  KvCache cache(model->config(), StorageDType::kBFloat16, model->config().num_layers,
                static_cast<int64_t>(pages.size()));
  for (int64_t t = 0; t < 34; ++t) {
    at::Tensor hidden, logits;
    model->Forward({.token_ids = {ids[static_cast<size_t>(t)]}, .runs = {{0, 1, t, pages}}}, cache, hidden);
    if (t != 33) continue;
    const std::vector<int32_t> row = {0}, target = {6};
    model->Logits(hidden, row, logits);
    std::vector<ops::TokenLogProb> out(1);
    ops::LogProbRows(logits.data_ptr<float>(), model->config().vocab_size, target, 1.0f, out);
    EXPECT_EQ(out[0].logprob, first[1]);
  }
}

}  // namespace
}  // namespace tactus
