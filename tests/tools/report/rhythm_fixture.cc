#include "tests/tools/report/rhythm_fixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <regex>

namespace tactus {
namespace {

constexpr int64_t kPromptTokens = 48, kWindow = 10, kHorizonMin = 10, kHorizonMax = 100;
constexpr char kText[] =
    "I have to make 24 from 3, 5, 7 and 9, each used once.\n\nThe sum of all four is 3 + 5 + 7 + 9 = 24. Wait, that is "
    "already 24, but the task forbids using only plus signs, so I go on.\n\nTry a difference of products. The pairs "
    "are "
    "(3, 5) and (7, 9): 63 - 15 = 48, which is too large. Next (3, 9) and (5, 7): 35 - 27 = 8, too small. The last "
    "pairing is (3, 7) and (5, 9): 45 - 21 = 24, as wanted.\n\nLet me check: 5 * 9 is 45, and 3 * 7 is 21, so 45 - 21 "
    "gives 24. Every number is used exactly once, and there is a minus sign.\n\n<answer>5 * 9 - 3 * 7</answer>\n";

std::vector<std::string> Tokens(int64_t count) {
  const std::string text = kText;
  const std::regex piece(" ?[A-Za-z]+| ?[0-9]+| ?[^A-Za-z0-9\\s]+|\\n+| ");
  std::vector<std::string> tokens;
  while (static_cast<int64_t>(tokens.size()) < count) {
    for (std::sregex_iterator it(text.begin(), text.end(), piece), end;
         it != end && static_cast<int64_t>(tokens.size()) < count; ++it) {
      tokens.push_back(it->str());
    }
  }
  return tokens;
}

class Draws {
 public:
  explicit Draws(int seed) : engine_(static_cast<unsigned>(seed + 1)) {}
  double operator()() { return static_cast<double>(engine_() - 1) / 2147483646.0; }  // 0 … 1

 private:
  std::minstd_rand engine_;
};

// The first token of the chunk that each token is in: a chunk ends with punctuation.
std::vector<int64_t> ChunkStarts(const std::vector<std::string>& tokens) {
  std::vector<int64_t> starts;
  int64_t start = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    starts.push_back(start);
    if (tokens[t].find_first_of(".,:\n") != std::string::npos) start = static_cast<int64_t>(t) + 1;
  }
  return starts;
}

void NormalizeRow(std::vector<float>* attention, int64_t stride, int64_t row) {
  const auto begin = attention->begin() + static_cast<std::ptrdiff_t>(row * stride);
  const float sum = std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(stride), 0.0F);
  std::for_each(begin, begin + static_cast<std::ptrdiff_t>(stride), [sum](float& weight) { weight /= sum; });
}

// Looks back to the start of its chunk; the first token of a chunk looks at the chunks before it.
std::vector<float> LocalAttention(const std::vector<int64_t>& starts, Draws* draw) {
  const auto n = static_cast<int64_t>(starts.size()), stride = kPromptTokens + n;
  std::vector<float> attention(static_cast<size_t>(n * stride), 0.0F);
  for (int64_t t = 0; t < n; ++t) {
    const int64_t start = starts[static_cast<size_t>(t)], reach = t == start ? 18 : t - start;
    for (int64_t back = 0; back <= std::min(kPromptTokens + t, reach + 6); ++back) {
      const double decay =
          t == start ? 0.4 + 0.04 * static_cast<double>(back) : std::exp(-0.35 * static_cast<double>(back));
      const double inside = back <= reach ? 1 : 0.05;
      attention[static_cast<size_t>(t * stride + kPromptTokens + t - back)] =
          static_cast<float>(inside * (decay + (back == reach ? 0.5 : 0)) * (0.6 + 0.8 * (*draw)()));
    }
    attention[static_cast<size_t>(t * stride)] += 0.1F;
    NormalizeRow(&attention, stride, t);
  }
  return attention;
}

// Looks at anchors, from wherever it is, and at the sink.
std::vector<float> GlobalAttention(const std::vector<std::string>& tokens, const std::vector<int64_t>& starts,
                                   Draws* draw) {
  const auto n = static_cast<int64_t>(starts.size()), stride = kPromptTokens + n;
  std::vector<double> pull(static_cast<size_t>(stride));
  for (int64_t key = 0; key < stride; ++key) {
    const int64_t t = key - kPromptTokens;
    const bool opens = t >= 0 && starts[static_cast<size_t>(t)] == t;
    const bool digits = t >= 0 && tokens[static_cast<size_t>(t)].find_first_of("0123456789") != std::string::npos;
    const double draw_now = (*draw)();
    pull[static_cast<size_t>(key)] = 0.02 + (opens ? 0.8 * draw_now * draw_now : 0) +
                                     (digits && draw_now > 0.6 ? 0.7 * draw_now : 0) +
                                     (t < 0 && draw_now > 0.85 ? 0.5 : 0);
  }
  std::vector<float> attention(static_cast<size_t>(n * stride), 0.0F);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t key = 0; key <= kPromptTokens + t; ++key) {
      const double fades = std::exp(-static_cast<double>(kPromptTokens + t - key) / 140);
      attention[static_cast<size_t>(t * stride + key)] =
          static_cast<float>(pull[static_cast<size_t>(key)] * fades * (0.3 + 1.4 * (*draw)()));
    }
    attention[static_cast<size_t>(t * stride)] += 4;
    NormalizeRow(&attention, stride, t);
  }
  return attention;
}

// 1.5 on the largest 40 %.
std::vector<double> Amplified(const std::vector<double>& values) {
  std::vector<double> sorted = values;
  std::sort(sorted.rbegin(), sorted.rend());
  const double least = sorted[values.size() * 2 / 5];
  std::vector<double> gamma;
  for (const double value : values) gamma.push_back(value > least ? 1.5 : 1);
  return gamma;
}

void FillMetrics(const std::vector<float>& local, const std::vector<float>& global, RhythmAnswer* answer) {
  const auto n = static_cast<int64_t>(answer->tokens.size()), stride = kPromptTokens + n;
  for (int64_t t = 0; t < n; ++t) {
    double waad = 0, fai = 0;
    for (int64_t key = 0; key <= kPromptTokens + t; ++key) {
      waad += local[static_cast<size_t>(t * stride + key)] *
              static_cast<double>(std::min(kWindow, kPromptTokens + t - key));
    }
    const int64_t begin = t + kHorizonMin, end = std::min(n, t + kHorizonMax + 1);
    for (int64_t row = begin; row < end; ++row) fai += global[static_cast<size_t>(row * stride + kPromptTokens + t)];
    answer->waad.push_back(waad);
    answer->fai.push_back(end > begin ? fai / static_cast<double>(end - begin) : 0);
  }
  answer->delta.assign(answer->waad.size(), 0);
  for (size_t t = 0; t + 1 < answer->waad.size(); ++t)
    answer->delta[t] = std::fabs(answer->waad[t] - answer->waad[t + 1]);
}

HeadMap MadeUpHeads(Draws* draw) {
  constexpr int kHeads = 45, kEach = 13;
  HeadMap heads{.layers = {10, 13, 15, 18, 20}};
  for (int i = 0; i < kHeads; ++i) heads.span.push_back(std::exp(0.8 + 3.6 * (*draw)()));
  std::vector<int32_t> order(kHeads);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&heads](int32_t a, int32_t b) {
    return heads.span[static_cast<size_t>(a)] < heads.span[static_cast<size_t>(b)];
  });
  heads.local.assign(order.begin(), order.begin() + kEach);
  heads.global.assign(order.end() - kEach, order.end());
  std::sort(heads.local.begin(), heads.local.end());
  std::sort(heads.global.begin(), heads.global.end());
  return heads;
}

}  // namespace

RhythmAnswer MadeUpAnswer(int number, int64_t num_tokens) {
  Draws draw(number * 7919);
  RhythmAnswer answer;
  answer.title = "answer " + std::to_string(number);
  answer.verdict = number % 2 == 1 ? "right" : "wrong";
  answer.good = number % 2 == 1;
  answer.prompt = "Make 24 from 3, 5, 7 and 9. Use each number once, and at least one minus sign.";
  answer.tokens = Tokens(num_tokens);
  const std::vector<int64_t> starts = ChunkStarts(answer.tokens);
  const std::vector<float> local = LocalAttention(starts, &draw),
                           global = GlobalAttention(answer.tokens, starts, &draw);
  FillMetrics(local, global, &answer);
  for (size_t t = 0; t < answer.tokens.size(); ++t) {
    answer.entropy.push_back((starts[t] == static_cast<int64_t>(t) ? 1.6 : 0.5) * draw());
    answer.logprobs.push_back(-answer.entropy.back() * draw());
  }
  answer.credits = {{"GLOBAL_ANCHOR", Amplified(answer.fai)},
                    {"LOCAL_CHUNK", Amplified(answer.delta)},
                    {"ENTROPY", Amplified(answer.entropy)}};
  answer.lookers = TopLookers(global, num_tokens, kPromptTokens, kHorizonMin);
  answer.heads = MadeUpHeads(&draw);
  answer.images = {
      MakeAttentionImage("Local head: layer 13, head 2", local, num_tokens, kPromptTokens, AttentionCrop::kDiagonal),
      MakeAttentionImage("Global head: layer 18, head 5", global, num_tokens, kPromptTokens, AttentionCrop::kWhole)};
  return answer;
}

}  // namespace tactus
