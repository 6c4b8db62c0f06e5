#include "tools/study/rhythm_study.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>

#include "absl/strings/ascii.h"
#include "common/base/philox.h"
#include "common/rhythm/rhythm_stats.h"

namespace tactus {
namespace {

constexpr Decimal kLow = Decimal::Tenths(2);

// Third words of the counters, so that no two uses share a draw. 0 is the bootstrap's.
constexpr uint32_t kShiftDraws = 1, kSwapDraws = 2;

constexpr std::string_view kFunctionWords[] = {
    "a",     "about", "after", "all",   "also", "an",   "and",   "any",  "are",   "as",   "at",   "be",
    "been",  "but",   "by",    "can",   "did",  "do",   "does",  "each", "for",   "from", "had",  "has",
    "have",  "he",    "her",   "here",  "his",  "how",  "i",     "if",   "in",    "into", "is",   "it",
    "its",   "let",   "more",  "my",    "no",   "not",  "of",    "on",   "one",   "or",   "our",  "out",
    "s",     "she",   "so",    "some",  "such", "than", "that",  "the",  "their", "them", "then", "there",
    "these", "they",  "this",  "those", "to",   "up",   "us",    "was",  "we",    "were", "what", "when",
    "where", "which", "while", "who",   "will", "with", "would", "you",  "your"};

// Rounded so that equal sums in another order are not apart.
bool AtLeast(double a, double b) { return a >= b - 1e-12 * std::max(1.0, std::abs(b)); }

// The share of `replicates` at least as far from `centre` as `observed`, which counts as one of them.
double TwoSidedP(const std::vector<double>& replicates, double centre, double observed) {
  const double distance = std::abs(observed - centre);
  const auto far = std::count_if(replicates.begin(), replicates.end(),
                                 [&](double value) { return AtLeast(std::abs(value - centre), distance); });
  return static_cast<double>(far + 1) / static_cast<double>(replicates.size() + 1);
}

Interval MiddleOf(std::vector<double> replicates, double value) {
  std::sort(replicates.begin(), replicates.end());
  return {value, SortedQuantile(replicates, 0.025), SortedQuantile(replicates, 0.975)};
}

double Sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// Sum of the values at the picks moved `shift` tokens on, around the end.
double ShiftedSum(const std::vector<int32_t>& picks, const std::vector<double>& values, size_t shift) {
  double sum = 0;
  for (const int32_t pick : picks) sum += values[(static_cast<size_t>(pick) + shift) % values.size()];
  return sum;
}

std::vector<int32_t> PickedOf(const std::vector<double>& picks) {
  std::vector<int32_t> positions;
  for (size_t t = 0; t < picks.size(); ++t) {
    if (picks[t] > 0) positions.push_back(static_cast<int32_t>(t));
  }
  return positions;
}

std::vector<int32_t> SortedSet(std::span<const int32_t> values) {
  std::vector<int32_t> set(values.begin(), values.end());
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  return set;
}

std::vector<std::string> ContentWords(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty() && !std::binary_search(std::begin(kFunctionWords), std::end(kFunctionWords), word)) {
      words.push_back(word);
    }
    word.clear();
  };
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80) {
      word.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    } else {
      end_word();
    }
  }
  end_word();
  return words;
}

}  // namespace

std::vector<int32_t> GlobalWithoutReceivers(const Rhythm& rhythm) {
  std::vector<int32_t> heads;
  std::set_difference(rhythm.heads.global.begin(), rhythm.heads.global.end(), rhythm.receiver_heads.begin(),
                      rhythm.receiver_heads.end(), std::back_inserter(heads));
  return heads;
}

ResponseCouplings CouplingsOf(const Rhythm& rhythm, std::span<const double> other_fai, std::span<const float> entropy,
                              Decimal peak_quantile, int64_t lag_tokens) {
  const auto eligible = rhythm.eligible.size();  // the first ones: no conversation
  const std::vector<double> waad_peaks = Peaks(rhythm.waad, peak_quantile);
  const std::vector<double> fai_peaks = Peaks(std::span(rhythm.fai).first(eligible), peak_quantile);
  ResponseCouplings couplings;
  couplings.entropy_at_waad_peaks = {waad_peaks, {entropy.begin(), entropy.end()}};
  if (!rhythm.receiver_heads.empty()) {
    const std::vector<double> receiver_peaks = Peaks(std::span(rhythm.receiver).first(eligible), peak_quantile);
    couplings.receiver_peak_is_fai_peak = {receiver_peaks, fai_peaks};
    if (!other_fai.empty()) {
      couplings.receiver_peak_is_other_peak = {receiver_peaks, Peaks(other_fai.first(eligible), peak_quantile)};
    }
  }
  std::vector<double> near(eligible, 0.0);
  for (size_t t = 0; t < eligible; ++t) {
    const size_t first = t - std::min(t, static_cast<size_t>(lag_tokens));
    near[t] = *std::max_element(waad_peaks.begin() + static_cast<std::ptrdiff_t>(first),
                                waad_peaks.begin() + static_cast<std::ptrdiff_t>(t) + 1);
  }
  couplings.fai_peak_follows_waad = {fai_peaks, std::move(near)};
  return couplings;
}

CouplingResult MeasureCoupling(std::span<const Coupling> responses, uint64_t seed) {
  std::vector<std::vector<int32_t>> picked;
  std::vector<const std::vector<double>*> values;
  std::vector<double> counts, observed, expected;  // by response: picks, and the sums of the values over them
  double tokens = 0;
  for (const Coupling& one : responses) {
    assert(one.picks.size() == one.values.size());
    std::vector<int32_t> picks = PickedOf(one.picks);
    if (picks.empty()) continue;
    counts.push_back(static_cast<double>(picks.size()));
    observed.push_back(ShiftedSum(picks, one.values, 0));
    expected.push_back(counts.back() * Sum(one.values) / static_cast<double>(one.values.size()));
    tokens += static_cast<double>(one.values.size());
    values.push_back(&one.values);
    picked.push_back(std::move(picks));
  }
  CouplingResult result;
  const double total = Sum(counts);
  if (picked.empty() || Sum(expected) <= 0) return result;
  std::vector<double> replicates;
  for (int r = 0; r < kReplicates; ++r) {
    double sum = 0;
    for (size_t i = 0; i < picked.size(); ++i) {
      const PhiloxBlock block = Philox4x32(seed, {static_cast<uint32_t>(i), static_cast<uint32_t>(r), kShiftDraws, 0});
      sum += ShiftedSum(picked[i], *values[i], static_cast<size_t>(uint64_t{block[0]} * values[i]->size() >> 32));
    }
    replicates.push_back(sum / total);
  }
  result.responses = static_cast<int64_t>(picked.size());
  result.picks = static_cast<int64_t>(total);
  result.pick_share = total / tokens;
  result.observed = BootstrapRatio(observed, counts, seed);
  result.baseline = MiddleOf(replicates, Sum(expected) / total);
  result.lift = BootstrapRatio(observed, expected, seed);
  for (double* end : {&result.lift.value, &result.lift.low, &result.lift.high}) *end -= 1;
  result.p_value = TwoSidedP(replicates, result.baseline.value, result.observed.value);
  return result;
}

ProbedPositions ProbePositions(std::span<const double> fai, int64_t end, size_t count, Decimal peak_quantile) {
  ProbedPositions probed;
  if (fai.empty()) return probed;
  std::vector<int32_t> order(std::min(fai.size(), static_cast<size_t>(std::max<int64_t>(end, 0))));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return fai[a] < fai[b]; });
  const std::vector<double> peaks = Peaks(fai, peak_quantile);
  const double low = Quantile(fai, kLow);
  std::vector<bool> taken(fai.size(), false);
  // By falling FAI; a stable sort the other way round, so that ties still go to the earlier.
  std::vector<int32_t> falling = order;
  std::stable_sort(falling.begin(), falling.end(), [&](int32_t a, int32_t b) { return fai[a] > fai[b]; });
  for (const int32_t peak : falling) {
    if (probed.peaks.size() == count) break;
    if (peaks[peak] == 0 || fai[peak] <= low) continue;
    std::optional<int32_t> nearest;
    for (const int32_t t : order) {
      if (fai[t] > low) break;
      if (taken[t]) continue;
      const int32_t distance = std::abs(t - peak), best = nearest.has_value() ? std::abs(*nearest - peak) : 0;
      if (!nearest.has_value() || distance < best || (distance == best && t < *nearest)) nearest = t;
    }
    if (!nearest.has_value()) break;
    taken[*nearest] = true;
    probed.peaks.push_back(peak);
    probed.matched.push_back(*nearest);
  }
  probed.lowest.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(probed.peaks.size()));
  return probed;
}

double TokenJaccard(std::span<const int32_t> a, std::span<const int32_t> b) {
  return Jaccard(SortedSet(a), SortedSet(b));
}

double WordJaccard(std::string_view a, std::string_view b) {
  std::map<std::string, int32_t> numbers;
  const auto numbered = [&](std::string_view text) {
    std::vector<int32_t> ids;
    for (const std::string& word : ContentWords(text)) {
      ids.push_back(numbers.try_emplace(word, static_cast<int32_t>(numbers.size())).first->second);
    }
    return ids;
  };
  const std::vector<int32_t> words_a = numbered(a), words_b = numbered(b);
  return TokenJaccard(words_a, words_b);
}

PairedResult ComparePairs(const std::vector<double>& high, const std::vector<double>& low, uint64_t seed) {
  assert(high.size() == low.size());
  PairedResult result;
  if (high.empty()) return result;
  std::vector<double> differences;
  int64_t lower = 0;
  for (size_t i = 0; i < high.size(); ++i) {
    differences.push_back(high[i] - low[i]);
    lower += high[i] < low[i];
    result.ties += high[i] == low[i];
  }
  const double n = static_cast<double>(high.size());
  std::vector<double> replicates;
  for (int r = 0; r < kReplicates; ++r) {
    double sum = 0;
    for (size_t i = 0; i < differences.size(); ++i) {
      const PhiloxBlock block = Philox4x32(seed, {static_cast<uint32_t>(i), static_cast<uint32_t>(r), kSwapDraws, 0});
      sum += (block[0] & 1) != 0 ? differences[i] : -differences[i];
    }
    replicates.push_back(sum / n);
  }
  result.responses = static_cast<int64_t>(high.size());
  result.high = BootstrapInterval(high, seed);
  result.low = BootstrapInterval(low, seed);
  result.difference = BootstrapInterval(differences, seed);
  result.lower_share = WilsonInterval(lower, result.responses);
  result.baseline = MiddleOf(replicates, 0);
  result.p_value = TwoSidedP(replicates, 0, result.difference.value);
  return result;
}

}  // namespace tactus
