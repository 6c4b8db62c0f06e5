// The statistics of `tactus rhythm-study`: Tables 1 and 2 of "Attention Illuminates LLM Reasoning" (arXiv 2510.13554),
// with intervals and a baseline that keeps what the paper's does not. docs/rhythm.md has the definitions and choices.
// Pure functions; thread-safe. Every draw is Philox, keyed by `seed`: the same input gives the same figures.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/decimal.h"
#include "common/metrics/eval_stats.h"
#include "common/rhythm/rhythm.h"

namespace tactus {

// --- Couplings: what stands at picked tokens, against what stands anywhere ---

// Of one response, or the part of it where both series exist. One length.
struct Coupling {
  std::vector<double> picks;   // 1 at the picked tokens, else 0
  std::vector<double> values;  // what is averaged over them
};

// Picks are peaks (rhythm_stats.h) of floor peak_quantile. FAI series end with the last eligible token. A coupling is
// empty where its heads do not exist. other_fai [N]: FAI of GlobalWithoutReceivers; empty when that is.
struct ResponseCouplings {
  Coupling entropy_at_waad_peaks;        // picks: WAAD peaks. values: entropy, nats
  Coupling receiver_peak_is_fai_peak;    // picks: peaks of the receiver heads' FAI. values: 1 at FAI peaks
  Coupling receiver_peak_is_other_peak;  // (ours) the same, the FAI being that of global heads which are no receivers
  Coupling fai_peak_follows_waad;        // picks: FAI peaks. values: 1 where a WAAD peak is at most lag_tokens back
};
ResponseCouplings CouplingsOf(const Rhythm& rhythm, std::span<const double> other_fai, std::span<const float> entropy,
                              Decimal peak_quantile, int64_t lag_tokens);
// The global heads that are no receiver heads. A receiver head that is also a global one agrees with itself.
std::vector<int32_t> GlobalWithoutReceivers(const Rhythm& rhythm);

struct CouplingResult {
  int64_t responses = 0;  // with at least one pick
  int64_t picks = 0;
  double pick_share = 0;  // of the tokens of those responses
  Interval observed;      // mean of the values over all picks; bootstrap over responses
  // When the picks of every response are shifted around it, each by its own uniform number of tokens: the expectation,
  // exactly, and the middle 95 % of kReplicates such shifts. Keeps each response's own level and the distances between
  // its picks, which shuffling does not.
  Interval baseline;
  Interval lift;       // observed / baseline - 1; bootstrap over responses
  double p_value = 1;  // two-sided, of the shifts
};
inline constexpr int kReplicates = 2000;
// Responses without a pick take no part. The result is all 0 when none is left, or when the values are 0 everywhere.
CouplingResult MeasureCoupling(std::span<const Coupling> responses, uint64_t seed);

// --- Perturbation: a token replaced where FAI is high, and where it is low ---

struct ProbedPositions {
  std::vector<int32_t> peaks;    // the largest FAI peaks, largest first
  std::vector<int32_t> matched;  // for each of them, the nearest token of low FAI (ours)
  std::vector<int32_t> lowest;   // as many tokens of the lowest FAI, lowest first (the paper's comparison)
};
// fai [E] of the eligible tokens. Only tokens before `end` are chosen, at most `count` peaks. Low is at most the 0.2
// quantile. No token is matched twice; a peak that finds none is dropped. Ties go to the earlier token.
ProbedPositions ProbePositions(std::span<const double> fai, int64_t end, size_t count, Decimal peak_quantile);

// Jaccard overlap of two sets of tokens, and of two texts' content words: runs of letters, digits and non-ASCII bytes
// in lower case, less a list of English function words (ours; the paper does not say which words are content).
double TokenJaccard(std::span<const int32_t> a, std::span<const int32_t> b);
double WordJaccard(std::string_view a, std::string_view b);

struct PairedResult {
  int64_t responses = 0;
  Interval high, low, difference;  // means over responses, and of high - low; bootstrap over responses
  Interval lower_share;            // responses whose `high` is below their `low`; Wilson
  int64_t ties = 0;
  Interval baseline;   // of `difference` when the two sides of each response are swapped at random: 0, the middle 95 %
  double p_value = 1;  // two-sided, of the swaps
};
// One value per response on each side. The result is all 0 when there are none.
PairedResult ComparePairs(const std::vector<double>& high, const std::vector<double>& low, uint64_t seed);

}  // namespace tactus
