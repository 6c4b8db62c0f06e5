// The attention rhythm of one response: which heads are local and global, WAAD, Delta, FAI and the receiver score.
// Pure functions of what the decode pass accumulated (rhythm_meter.h). Thread-safe: no state.
//
// Source: "Attention Illuminates LLM Reasoning" (arXiv 2510.13554); docs/rhythm.md has every definition and tie rule.
// N tokens of a response that the model sampled, token i at absolute position P + places[i]; H sampled heads, numbered
// slot * Hq + head in the order of the sampled layers. In a conversation there are tokens of the environment's between
// them, which have no row; elsewhere places are 0 .. N-1 and may be left out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/decimal.h"
#include "common/data/types.h"

namespace tactus {

struct RhythmOptions {
  int64_t window_tokens = 10;                   // W of WAAD
  int64_t horizon_min_tokens = 10;              // H_lo of FAI
  int64_t horizon_max_tokens = 100;             // H_hi; kToTheEnd: no limit
  Decimal head_share = Decimal::Tenths(3);      // of the H heads, local and global each
  Decimal receiver_share = Decimal::Tenths(1);  // of the H heads
  bool ignore_first_token = false;              // spans leave out attention to the sequence's first token

  static constexpr int64_t kToTheEnd = int64_t{1} << 40;
};

// Five layers evenly spaced over floor(L/3) .. floor(2L/3), rounded half up, duplicates dropped.
std::vector<int32_t> DefaultRhythmLayers(int64_t num_layers);

// The layers to sample: those of credit.layers, or the default ones when that is empty. `configured` is increasing, as
// the configuration checks; InvalidArgument: one that this model does not have.
absl::StatusOr<std::vector<int32_t>> RhythmLayers(std::span<const int32_t> configured, int64_t num_layers);

// What the decode pass left behind about one response, for each sampled head. 2 * 4 * H * N bytes. With mass_sum, the
// sums over j of it and of span_sum are without j = 0, the sequence's first token.
struct HeadSums {
  int64_t num_tokens = 0;        // N
  int64_t num_heads = 0;         // H
  std::vector<int32_t> places;   // [N] increasing; empty: 0 .. N-1
  std::vector<double> span_sum;  // [H] sum over rows t of sum_j A[t, j] * dist(t, j)
  std::vector<double> mass_sum;  // [H] sum over rows t of sum_j A[t, j]; empty: every row counts whole
  std::vector<float> waad;       // [H, N] WAAD_t of each head
  std::vector<float> fai_sum;    // [H, N] sum of what the rows of a token's window pay to it; not divided yet
};

// The lowest and the highest max(1, share.FloorOf(H)) spans, ties by index.
HeadClasses ClassifyHeads(std::span<const double> spans, Decimal share);

// All [N] unless said otherwise.
struct Rhythm {
  std::vector<double> span;  // [H] mean over rows, or over what mass_sum counts of them, tokens
  HeadClasses heads;
  std::vector<int32_t> places;  // as of the sums
  std::vector<double> waad;
  std::vector<double> delta;
  std::vector<double> fai;
  std::vector<int32_t> receiver_heads;  // increasing; empty with fewer than 4 eligible positions
  std::vector<double> receiver;         // mean FAI of those heads; all 0 when there are none
  std::vector<int32_t> eligible;        // tokens with a row in their FAI window, increasing; without places the first
};

// Delta [N] from WAAD [N]: |WAAD_t - WAAD_{t+1}|, and 0 at the last token of the response and of each turn.
std::vector<double> DeltaOf(std::span<const double> waad, std::span<const int32_t> places = {});

// Which of N tokens have at least one row in their FAI window.
std::vector<int32_t> EligibleTokens(int64_t num_tokens, std::span<const int32_t> places, const RhythmOptions& options);

// `fixed` null: the classes come from this response's own spans (PER_RESPONSE); else they are those, of the same H. N =
// 0 gives empty lists. Every mean over heads adds them in increasing order in double. A FAI profile that is flat has
// the smallest kurtosis of all.
Rhythm ComputeRhythm(const HeadSums& sums, const RhythmOptions& options, const HeadClasses* fixed = nullptr);

}  // namespace tactus
