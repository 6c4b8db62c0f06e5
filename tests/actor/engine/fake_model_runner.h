// A model runner without a model that still needs a correct cache: what a row yields is a hash of every token the page
// table says stands before it. A page that is lost, shared by mistake, not copied or not recomputed changes the result.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actor/engine/model_runner.h"
#include "actor/engine/request.h"
#include "common/base/philox.h"

namespace tactus::testing {

// Heads of the fake model's one layer. In row t head h has span h + 1 and WAAD (h + 1) * (t % 4).
inline constexpr int64_t kFakeHeads = 4;

// What the fake model draws after a sequence of tokens. `salt` stands for the weights.
inline ops::SampledToken FakeDraw(std::span<const TokenId> tokens, const ops::SamplingParams& params, int32_t target,
                                  int64_t vocab, uint64_t salt) {
  uint64_t hash = 0xcbf29ce484222325 ^ salt;
  for (const TokenId token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001b3;
  hash ^= hash >> 29;
  const auto drawn = static_cast<uint64_t>(params.uniform * 0x1.0p40);
  const uint64_t mixed = (hash ^ drawn) * 0x9E3779B97F4A7C15;
  ops::SampledToken out;
  out.token = target >= 0 ? target : static_cast<int32_t>((mixed >> 20) % static_cast<uint64_t>(vocab));
  out.logprob = -static_cast<float>(hash % 1000003) / 1000.0f - static_cast<float>(out.token);
  out.entropy = static_cast<float>(hash % 7919) / 100.0f;
  return out;
}

// The completion a request must get, computed without engine, scheduler or cache.
inline Completion ReferenceCompletion(const EngineRequest& request, int index, int64_t vocab, PolicyVersion version,
                                      uint64_t salt = 0) {
  Completion out;
  out.versions = {{0, version}};
  out.finish_reason = FinishReason::kLength;
  std::vector<TokenId> tokens = request.prompt_ids;
  const bool forced = !request.forced_ids.empty();
  const size_t limit = forced ? request.forced_ids.size() : request.max_tokens;
  for (size_t t = 0; t < limit; ++t) {
    ops::SamplingParams params;
    params.uniform = UniformDouble(TokenDraw(request.seed, request.prompt_id, index, t, DrawPurpose::kSampling));
    const ops::SampledToken drawn = FakeDraw(tokens, params, forced ? request.forced_ids[t] : -1, vocab, salt);
    tokens.push_back(drawn.token);
    out.token_ids.push_back(drawn.token);
    out.logprobs.push_back(drawn.logprob);
    out.entropy.push_back(drawn.entropy);
    if (forced) continue;
    for (const TokenId stop : request.stop_ids) {
      if (drawn.token != stop) continue;
      out.finish_reason = FinishReason::kStop;
      return out;
    }
  }
  return out;
}

class FakeModelRunner : public ModelRunner {
 public:
  FakeModelRunner(int32_t num_pages, int64_t vocab, int64_t max_position) : pages_(num_pages) {
    config_.num_layers = 1;
    config_.num_heads = kFakeHeads;
    config_.vocab_size = vocab;
    config_.max_position = max_position;
    for (auto& page : pages_) page.assign(kPageTokens, -1);
  }

  const ModelConfig& config() const override { return config_; }
  int32_t num_pages() const override { return static_cast<int32_t>(pages_.size()); }

  absl::Status Execute(const StepPlan& plan, std::span<ops::SampledToken> out) override {
    max_rows_ = std::max<int64_t>(max_rows_, plan.batch.token_ids.size());
    max_runs_ = std::max<int64_t>(max_runs_, plan.batch.runs.size());
    for (const PageCopy& copy : plan.copies) pages_.at(copy.to) = pages_.at(copy.from);
    for (const SequenceRun& run : plan.batch.runs) {
      for (int64_t i = 0; i < run.num_rows; ++i) {
        const int64_t position = run.start_position + i;
        pages_.at(run.page_table[position / kPageTokens])[position % kPageTokens] =
            plan.batch.token_ids.at(run.first_row + i);
      }
    }
    for (size_t i = 0; i < plan.batch.taps.size(); ++i) {
      const SequenceRun& run = plan.batch.runs[i];
      Measure(plan.batch.taps[i], run.start_position + run.num_rows - 1);
    }
    size_t run_index = 0;
    for (size_t i = 0; i < plan.draws.size(); ++i) {
      const RowDraw& draw = plan.draws[i];
      const auto holds = [&](const SequenceRun& run) { return draw.row < run.first_row + run.num_rows; };
      while (run_index < plan.batch.runs.size() && !holds(plan.batch.runs[run_index])) ++run_index;
      if (run_index == plan.batch.runs.size()) return absl::InternalError("draws are not in row order");
      out[i] =
          FakeDraw(Tokens(plan.batch.runs[run_index], draw.row), draw.params, draw.target, config_.vocab_size, salt_);
    }
    ++steps_;
    return absl::OkStatus();
  }

  absl::Status SetWeights(std::span<const float> parameters) override {
    if (parameters.size() != 1) return absl::InvalidArgumentError(absl::StrCat("got ", parameters.size(), " weights"));
    salt_ = static_cast<uint64_t>(parameters[0]);
    return absl::OkStatus();
  }

  int64_t steps() const { return steps_; }
  int64_t max_rows() const { return max_rows_; }
  int64_t max_runs() const { return max_runs_; }

 private:
  static void Measure(const ops::AttentionTap& tap, int64_t position) {
    for (int64_t head = 0; head < tap.num_heads; ++head) {
      const auto number = static_cast<float>(head + 1);
      tap.span_sum[head] += number;
      tap.waad[head * kPageTokens] = number * static_cast<float>((position - tap.prompt_tokens) % 4);
    }
  }

  std::vector<TokenId> Tokens(const SequenceRun& run, int64_t row) const {
    std::vector<TokenId> tokens;
    for (int64_t p = 0; p <= run.start_position + row - run.first_row; ++p) {
      tokens.push_back(pages_.at(run.page_table[p / kPageTokens])[p % kPageTokens]);
    }
    return tokens;
  }

  ModelConfig config_;
  std::vector<std::vector<TokenId>> pages_;
  uint64_t salt_ = 0;
  int64_t steps_ = 0, max_rows_ = 0, max_runs_ = 0;
};

}  // namespace tactus::testing
