// Holds the table of docs/idea.md against the product: metrics, credit, advantage and the loss's gradient of its
// answer.
#include <span>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/rhythm/credit.h"
#include "common/rhythm/rhythm.h"
#include "gtest/gtest.h"
#include "learner/algo/advantage.h"
#include "learner/algo/policy_loss.h"
#include "nlohmann/json.hpp"
#include "tests/tree.h"

namespace tactus {
namespace {

std::string ReadSource(const std::string& path) { return *ReadFile(SourcePath(path)); }

// Adds one head's rows, written as {position: probability}, to the sums that decoding would have kept.
void AddHead(const nlohmann::json& rows, int64_t prompt, const RhythmOptions& options, HeadSums& sums) {
  const size_t first = sums.waad.size();
  const auto tokens = static_cast<int64_t>(rows.size());
  sums.num_tokens = tokens;
  ++sums.num_heads;
  double& span = sums.span_sum.emplace_back(0.0);
  sums.waad.resize(first + rows.size(), 0.0f);
  sums.fai_sum.resize(first + rows.size(), 0.0f);
  for (int64_t t = 0; t < tokens; ++t) {
    for (const auto& [position, probability] : rows[static_cast<size_t>(t)].items()) {
      const int64_t key = std::stoll(position) - prompt, distance = t - key;
      span += probability.get<double>() * static_cast<double>(distance);
      sums.waad[first + static_cast<size_t>(t)] +=
          probability.get<float>() * static_cast<float>(std::min(distance, options.window_tokens));
      if (key >= 0 && distance >= options.horizon_min_tokens) {
        sums.fai_sum[first + static_cast<size_t>(key)] += probability.get<float>();
      }
    }
  }
}

// The table's rows, as cells without spaces.
std::vector<std::vector<std::string>> PageTable() {
  std::vector<std::vector<std::string>> table;
  for (const absl::string_view line : absl::StrSplit(ReadSource("docs/idea.md"), '\n')) {
    std::vector<std::string> cells;
    for (absl::string_view cell : absl::StrSplit(line, '|')) {
      cells.emplace_back(absl::StripAsciiWhitespace(cell));
    }
    if (cells.size() == 10 && !cells[1].empty() && absl::ascii_isdigit(cells[1][0])) table.push_back(cells);
  }
  return table;
}

TEST(WorkedExample, PageShowsWhatTheCodeComputes) {
  const auto example = nlohmann::json::parse(ReadSource("tests/goldens/worked_example/attention.json"));
  const auto& given = example["options"];
  const auto prompt = static_cast<int64_t>(example["prompt"].size());
  RhythmOptions options{.window_tokens = given["window_tokens"],
                        .horizon_min_tokens = given["horizon_min_tokens"],
                        .horizon_max_tokens = RhythmOptions::kToTheEnd};
  HeadSums sums;
  AddHead(example["local_head"], prompt, options, sums);
  AddHead(example["global_head"], prompt, options, sums);
  const Rhythm rhythm = ComputeRhythm(sums, options);
  ASSERT_EQ(rhythm.heads.local, std::vector<int32_t>{0});
  ASSERT_EQ(rhythm.heads.global, std::vector<int32_t>{1});

  const auto share = [&](const char* name) { return *Decimal::ParseShare(given[name].get<std::string>(), name); };
  const CreditParams params{.q = share("q"),
                            .amplification = given["amplification"],
                            .lookback_tokens = given["lookback_tokens"],
                            .alpha = given["alpha"],
                            .waad_quantile = share("waad_quantile"),
                            .delta_quantile = share("delta_quantile")};
  const size_t tokens = example["answer"].size();
  const std::vector<float> zeros(tokens, 0.0f);
  const std::vector<float> gamma = CreditWeights(CreditKind::kCoupled, params, {.entropy = zeros, .rhythm = &rhythm});

  const std::vector<double> rewards = example["group_rewards"];
  const std::vector<double> advantages = BatchAdvantages(Estimator::kGrpo, {rewards}).front();
  std::vector<float> gradient(tokens);
  LossTotals totals;
  const auto completions = static_cast<int64_t>(rewards.size()), total = completions * static_cast<int64_t>(tokens);
  CompletionLogProbs<float> answer;
  answer.advantages = {advantages.data(), 1};
  answer.logp_new = answer.logp_old = zeros;
  answer.credit = gamma;
  AddPolicyLoss<float>({}, {.completions = completions, .tokens = total}, answer, std::span(gradient), {}, totals);

  const std::vector<std::vector<std::string>> table = PageTable();
  ASSERT_EQ(table.size(), tokens);
  for (size_t t = 0; t < tokens; ++t) {
    const bool eligible = t < rhythm.eligible.size();
    const std::vector<std::string> computed = {absl::StrFormat("%d", t),
                                               absl::StrCat("`", example["answer"][t].get<std::string>(), "`"),
                                               absl::StrFormat("%.1f", rhythm.waad[t]),
                                               absl::StrFormat("%.1f", rhythm.delta[t]),
                                               eligible ? absl::StrFormat("%.3f", rhythm.fai[t]) : "none",
                                               absl::StrFormat("%.2f", gamma[t]),
                                               absl::StrFormat("%.3f", gamma[t] * advantages[0]),
                                               absl::StrFormat("%.4f", gradient[t])};
    EXPECT_EQ(std::vector<std::string>(table[t].begin() + 1, table[t].end() - 1), computed) << "token " << t;
  }
}

}  // namespace
}  // namespace tactus
