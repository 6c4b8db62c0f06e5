#include "tools/study/credit_truth.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/rhythm/credit.h"
#include "common/rhythm/vine.h"

namespace tactus {
namespace {

// Third words of the counters, so that no two uses share a draw.
constexpr uint32_t kPlaceDraws = 11, kResampleDraws = 12, kPermuteDraws = 13;

Interval MiddleOf(std::vector<double> replicates, double value) {
  if (replicates.empty()) return {value, value, value};
  std::sort(replicates.begin(), replicates.end());
  return {value, SortedQuantile(replicates, 0.025), SortedQuantile(replicates, 0.975)};
}

// 95 % percentile bootstrap of a statistic of a multiset of `count` responses; values that are not finite do not count.
Interval Bootstrap(size_t count, uint64_t seed, absl::FunctionRef<double(const std::vector<size_t>&)> statistic) {
  std::vector<size_t> drawn(count);
  std::iota(drawn.begin(), drawn.end(), size_t{0});
  const double value = statistic(drawn);
  std::vector<double> replicates;
  for (uint32_t r = 0; r < kTruthReplicates; ++r) {
    for (size_t i = 0; i < count; ++i) {
      const PhiloxBlock block = Philox4x32(seed, {static_cast<uint32_t>(i), r, kResampleDraws, 0});
      drawn[i] = static_cast<size_t>(uint64_t{block[0]} * count >> 32);
    }
    const double replicate = statistic(drawn);
    if (std::isfinite(replicate)) replicates.push_back(replicate);
  }
  return MiddleOf(std::move(replicates), value);
}

// The tokens of a response that belong to a split, as indices into positions.
using Member = std::function<bool(const Truth&, size_t)>;

struct Sums {
  double tokens = 0, amplified = 0, mass = 0, amplified_mass = 0;
};

Sums operator+(const Sums& a, const Sums& b) {
  return {a.tokens + b.tokens, a.amplified + b.amplified, a.mass + b.mass, a.amplified_mass + b.amplified_mass};
}

double MassOf(const Sums& sums) { return (sums.amplified_mass / sums.amplified) / (sums.mass / sums.tokens); }

double Least(const std::vector<double>& gamma) {
  return gamma.empty() ? 0 : *std::min_element(gamma.begin(), gamma.end());
}

// `order[m]` is the probed token whose weight token m has.
Sums SumsOf(const Truth& truth, const std::vector<double>& gamma, const std::vector<size_t>& order,
            const Member& member) {
  const double least = std::min(1.0, Least(gamma));
  Sums sums;
  for (size_t m = 0; m < truth.positions.size(); ++m) {
    if (!member(truth, m)) continue;
    const double square = truth.first[m] * truth.second[m];
    const bool amplified = gamma[order[m]] > least;
    sums = sums + Sums{1, amplified ? 1.0 : 0.0, square, amplified ? square : 0.0};
  }
  return sums;
}

std::vector<size_t> Kept(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

std::vector<size_t> Permuted(size_t count, uint64_t seed, uint32_t response, uint32_t replicate) {
  std::vector<size_t> order = Kept(count);
  for (size_t m = count; m > 1; --m) {
    const PhiloxBlock block = Philox4x32(seed, {response, replicate, kPermuteDraws, static_cast<uint32_t>(m)});
    std::swap(order[m - 1], order[static_cast<size_t>(uint64_t{block[0]} * m >> 32)]);
  }
  return order;
}

void MeasureMass(const std::vector<Truth>& responses, size_t signal, const Member& member, uint64_t seed,
                 SignalResult& result) {
  const auto sums_of = [&](size_t i, const std::vector<size_t>& order) {
    return SumsOf(responses[i], responses[i].signals[signal].gamma, order, member);
  };
  std::vector<Sums> sums;
  for (size_t i = 0; i < responses.size(); ++i) sums.push_back(sums_of(i, Kept(responses[i].positions.size())));
  const Sums total = std::accumulate(sums.begin(), sums.end(), Sums{});
  result.share = total.tokens > 0 ? total.amplified / total.tokens : 0;
  result.has_mass = total.amplified > 0 && total.mass != 0;
  if (!result.has_mass) return;
  result.mass = Bootstrap(responses.size(), seed, [&](const std::vector<size_t>& drawn) {
    Sums resample;
    for (const size_t i : drawn) resample = resample + sums[i];
    return MassOf(resample);
  });
  std::vector<double> replicates;
  int64_t as_far = 0;
  for (uint32_t r = 0; r < kTruthReplicates; ++r) {
    Sums permuted;
    for (size_t i = 0; i < responses.size(); ++i) {
      permuted = permuted + sums_of(i, Permuted(responses[i].positions.size(), seed, static_cast<uint32_t>(i), r));
    }
    const double mass = MassOf(permuted);
    if (!std::isfinite(mass)) continue;  // dealt out so, none of the split's tokens are amplified
    replicates.push_back(mass);
    as_far += std::abs(replicates.back() - 1) >= std::abs(result.mass.value - 1) - 1e-12 ? 1 : 0;
  }
  const auto count = static_cast<double>(replicates.size());
  result.p_value = static_cast<double>(as_far + 1) / (count + 1);
  const double mean = std::accumulate(replicates.begin(), replicates.end(), 0.0) / std::max(1.0, count);
  result.permuted = MiddleOf(std::move(replicates), mean);
}

// Places from 1 on, equal values sharing the mean of theirs.
std::vector<double> Ranks(const std::vector<double>& values) {
  std::vector<size_t> order = Kept(values.size());
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<double>(begin + end + 1) / 2;
    begin = end;
  }
  return ranks;
}

double AbsoluteOf(const Truth& truth, size_t m) { return std::abs(truth.first[m] + truth.second[m]) / 2; }

// Sums over tokens of products of three ranks x, y, z with each other and with 1.
struct Moments {
  double n = 0, x = 0, y = 0, z = 0, xx = 0, yy = 0, zz = 0, xy = 0, xz = 0, yz = 0;

  void Add(const Moments& o) {
    n += o.n, x += o.x, y += o.y, z += o.z, xx += o.xx, yy += o.yy, zz += o.zz, xy += o.xy, xz += o.xz, yz += o.yz;
  }
};

double Correlation(double n, double a, double b, double aa, double bb, double ab) {
  const double spread = (n * aa - a * a) * (n * bb - b * b);
  return spread > 0 ? (n * ab - a * b) / std::sqrt(spread) : 0;
}

double RankCorrelation(const Moments& m) { return Correlation(m.n, m.x, m.y, m.xx, m.yy, m.xy); }

double PartialCorrelation(const Moments& m) {
  const double xy = RankCorrelation(m), xz = Correlation(m.n, m.x, m.z, m.xx, m.zz, m.xz),
               yz = Correlation(m.n, m.y, m.z, m.yy, m.zz, m.yz);
  const double rest = (1 - xz * xz) * (1 - yz * yz);
  return rest > 1e-12 ? (xy - xz * yz) / std::sqrt(rest) : 0;
}

void MeasureRanks(const std::vector<Truth>& responses, size_t signal, uint64_t seed, SignalResult& result) {
  std::vector<double> scores, worth, places;
  for (const Truth& truth : responses) {
    for (size_t m = 0; m < truth.positions.size(); ++m) {
      scores.push_back(truth.signals[signal].score[m]);
      worth.push_back(AbsoluteOf(truth, m));
      places.push_back(truth.positions[m] / static_cast<double>(truth.tokens));
    }
  }
  const std::vector<double> x = Ranks(scores), y = Ranks(worth), z = Ranks(places);
  std::vector<Moments> moments(responses.size());
  for (size_t i = 0, at = 0; i < responses.size(); ++i) {
    for (size_t m = 0; m < responses[i].positions.size(); ++m, ++at) {
      moments[i].Add({1, x[at], y[at], z[at], x[at] * x[at], y[at] * y[at], z[at] * z[at], x[at] * y[at], x[at] * z[at],
                      y[at] * z[at]});
    }
  }
  const auto interval = [&](double (*statistic)(const Moments&)) {
    return Bootstrap(responses.size(), seed, [&](const std::vector<size_t>& drawn) {
      Moments sum;
      for (const size_t i : drawn) sum.Add(moments[i]);
      return statistic(sum);
    });
  };
  result.rank = interval(RankCorrelation);
  result.rank_given_position = interval(PartialCorrelation);
}

// Of the top share of a response's scores, how many are in the top share of |A|.
double PrecisionOf(const Truth& truth, size_t signal, Decimal q) {
  std::vector<double> worth;
  for (size_t m = 0; m < truth.positions.size(); ++m) worth.push_back(AbsoluteOf(truth, m));
  const std::vector<int32_t> chosen = TopPositions(truth.signals[signal].score, q), best = TopPositions(worth, q);
  std::vector<int32_t> both;
  std::ranges::set_intersection(chosen, best, std::back_inserter(both));
  return static_cast<double>(both.size()) / static_cast<double>(chosen.size());
}

TruthSplit Split(const std::vector<Truth>& responses, std::string name, const Member& member, uint64_t seed) {
  TruthSplit split;
  split.name = std::move(name);
  for (const Truth& truth : responses) {
    const Sums sums =
        SumsOf(truth, std::vector<double>(truth.positions.size(), 1.0), Kept(truth.positions.size()), member);
    split.responses += sums.tokens > 0 ? 1 : 0;
    split.tokens += static_cast<int64_t>(sums.tokens);
    split.mean_square += sums.mass;
  }
  if (split.tokens == 0) return split;
  split.mean_square /= static_cast<double>(split.tokens);
  for (size_t s = 0; s < responses.front().signals.size(); ++s) {
    SignalResult& result = split.signals.emplace_back();
    result.name = responses.front().signals[s].name;
    MeasureMass(responses, s, member, seed, result);
  }
  return split;
}

std::vector<std::pair<std::string, Member>> Splits() {
  std::vector<std::pair<std::string, Member>> splits = {
      {"right", [](const Truth& truth, size_t) { return truth.right; }},
      {"wrong", [](const Truth& truth, size_t) { return !truth.right; }}};
  const char* thirds[] = {"first third", "second third", "last third"};
  for (int64_t third = 0; third < 3; ++third) {
    splits.emplace_back(thirds[third], [third](const Truth& truth, size_t m) {
      return 3 * truth.positions[m] / truth.tokens == third;
    });
  }
  for (int kind = 0; kind < kTokenKinds; ++kind) {
    splits.emplace_back(std::string(NameOf(static_cast<TokenKind>(kind))), [kind](const Truth& truth, size_t m) {
      return truth.kinds[m] == static_cast<TokenKind>(kind);
    });
  }
  return splits;
}

}  // namespace

std::vector<int32_t> ProbedTokens(int64_t tokens, int64_t count, uint64_t seed, uint64_t response) {
  const std::vector<int32_t> starts = ChunkStarts(tokens, count);
  std::vector<int32_t> positions;
  for (size_t part = 0; part < starts.size(); ++part) {
    const int64_t begin = starts[part], end = part + 1 < starts.size() ? starts[part + 1] : tokens;
    const PhiloxBlock block = Philox4x32(seed, {static_cast<uint32_t>(response), static_cast<uint32_t>(response >> 32),
                                                kPlaceDraws, static_cast<uint32_t>(part)});
    positions.push_back(static_cast<int32_t>(begin + (uint64_t{block[0]} * static_cast<uint64_t>(end - begin) >> 32)));
  }
  return positions;
}

TruthSummary SummarizeTruth(const std::vector<Truth>& all_responses, Decimal q, uint64_t seed) {
  std::vector<Truth> responses;
  for (const Truth& truth : all_responses) {
    if (!truth.positions.empty()) responses.push_back(truth);
  }
  TruthSummary summary;
  if (responses.empty()) return summary;
  const auto everything = [](const Truth&, size_t) { return true; };
  summary.all = Split(responses, "all", everything, seed);
  for (const Truth& truth : responses) {
    const auto tokens = static_cast<double>(truth.positions.size());
    const auto chosen = static_cast<double>(TopPositions(truth.first, q).size());
    summary.precision_by_chance += chosen / tokens / static_cast<double>(responses.size());
    for (size_t m = 0; m < truth.positions.size(); ++m) {
      const double apart = truth.first[m] - truth.second[m];
      summary.noise += apart * apart / 4 / static_cast<double>(summary.all.tokens);
    }
  }
  for (size_t s = 0; s < summary.all.signals.size(); ++s) {
    MeasureRanks(responses, s, seed, summary.all.signals[s]);
    std::vector<double> precisions;
    for (const Truth& truth : responses) precisions.push_back(PrecisionOf(truth, s, q));
    summary.all.signals[s].precision = BootstrapInterval(precisions, seed);
  }
  for (const auto& [name, member] : Splits()) {
    TruthSplit split = Split(responses, name, member, seed);
    if (split.tokens > 0) summary.splits.push_back(std::move(split));
  }
  return summary;
}

}  // namespace tactus
