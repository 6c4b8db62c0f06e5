#include "learner/records/rhythm_summary.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>

#include "common/base/status_macros.h"
#include "common/data/turns.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/rhythm.h"
#include "common/rhythm/rhythm_stats.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

// The audited completions of a batch, end to end.
struct Audit {
  // Chosen tokens of each strategy, increasing.
  std::vector<int32_t> local_chunk, global_anchor, coupled, entropy;
  std::vector<double> waad;          // of every token
  std::vector<double> fai;           // of the eligible ones
  std::vector<double> correlations;  // of the completions that have one
  int64_t completions = 0;
};

// Of the tokens that the model sampled.
Rhythm FromRecord(const Completion& completion, const RhythmOptions& options) {
  const RhythmRecord& record = *completion.rhythm;
  const std::vector<float> waad = OfSampled(completion.turns, std::span<const float>(record.waad));
  const std::vector<float> fai = OfSampled(completion.turns, std::span<const float>(record.fai));
  Rhythm rhythm;
  rhythm.places = PlacesOf(completion.turns, completion.token_ids.size());
  rhythm.waad.assign(waad.begin(), waad.end());
  rhythm.delta = DeltaOf(rhythm.waad, rhythm.places);
  rhythm.fai.assign(fai.begin(), fai.end());
  rhythm.eligible = EligibleTokens(static_cast<int64_t>(waad.size()), rhythm.places, options);
  return rhythm;
}

void AddCompletion(const Completion& completion, const RhythmSummaryOptions& options, Audit* audit) {
  const Rhythm rhythm = FromRecord(completion, options.rhythm);
  const std::vector<float> entropy = OfSampled(completion.turns, std::span<const float>(completion.entropy));
  CreditSignals signals;
  signals.entropy = entropy;
  signals.rhythm = &rhythm;
  const auto first = static_cast<int32_t>(audit->waad.size());
  const auto add = [&](CreditKind kind, std::vector<int32_t>* chosen) {
    const std::vector<float> weights = CreditWeights(kind, options.credit, signals);
    for (const int32_t t : AmplifiedPositions(weights)) chosen->push_back(first + t);
  };
  add(CreditKind::kLocalChunk, &audit->local_chunk);
  add(CreditKind::kGlobalAnchor, &audit->global_anchor);
  add(CreditKind::kCoupled, &audit->coupled);
  add(CreditKind::kEntropy, &audit->entropy);
  audit->waad.insert(audit->waad.end(), rhythm.waad.begin(), rhythm.waad.end());
  for (const int32_t s : rhythm.eligible) audit->fai.push_back(rhythm.fai[static_cast<size_t>(s)]);
  const std::optional<double> correlation = WaadPeakEntropyCorrelation(rhythm.waad, entropy, rhythm.places);
  if (correlation.has_value()) audit->correlations.push_back(*correlation);
  ++audit->completions;
}

double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void FillAudit(const Audit& audit, StepRecord* record) {
  const auto share = [&](const std::vector<int32_t>& chosen) {
    return static_cast<double>(chosen.size()) / static_cast<double>(audit.waad.size());
  };
  record->credit_local_chunk_share = share(audit.local_chunk);
  record->credit_global_anchor_share = share(audit.global_anchor);
  record->credit_coupled_share = share(audit.coupled);
  record->credit_entropy_share = share(audit.entropy);
  record->overlap_local_global = Jaccard(audit.local_chunk, audit.global_anchor);
  record->overlap_coupled_entropy = Jaccard(audit.coupled, audit.entropy);
  record->overlap_global_entropy = Jaccard(audit.global_anchor, audit.entropy);
  record->overlap_local_entropy = Jaccard(audit.local_chunk, audit.entropy);
  if (!audit.correlations.empty()) record->waad_peak_entropy_corr = Mean(audit.correlations);
  record->waad_mean = Mean(audit.waad);
  record->waad_p10 = Quantile(audit.waad, Decimal::Tenths(1));
  record->waad_p50 = Quantile(audit.waad, Decimal::Tenths(5));
  record->waad_p90 = Quantile(audit.waad, Decimal::Tenths(9));
  if (audit.fai.empty()) return;
  record->fai_mean = Mean(audit.fai);
  record->fai_p10 = Quantile(audit.fai, Decimal::Tenths(1));
  record->fai_p50 = Quantile(audit.fai, Decimal::Tenths(5));
  record->fai_p90 = Quantile(audit.fai, Decimal::Tenths(9));
}

struct Lag {
  double sum = 0, max = 0, rows = 0;
};

// Row t is of the pass that reads token t and so samples token t + 1: a span of versions that starts at token s has
// the rows from s - 1 on.
void AddLag(const Completion& completion, PolicyVersion before, Lag* lag) {
  const std::vector<VersionSpan>& spans = completion.versions;
  for (size_t i = 0; i < spans.size(); ++i) {
    const int64_t begin = std::max(0, spans[i].start_token - 1);
    const int64_t end =
        i + 1 < spans.size() ? spans[i + 1].start_token - 1 : static_cast<int64_t>(completion.token_ids.size());
    const auto rows = static_cast<double>(SampledBetween(completion, begin, end));
    if (rows <= 0) continue;
    const double versions = static_cast<double>(before.step) - static_cast<double>(spans[i].version.step);
    lag->sum += rows * std::max(0.0, versions);
    lag->max = std::max(lag->max, versions);
    lag->rows += rows;
  }
}

}  // namespace

absl::StatusOr<RhythmSummaryOptions> RhythmSummaryOptions::FromProto(const config::CreditOptions& options) {
  RhythmSummaryOptions out;
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(options));
  out.credit = credit.params();
  out.credit.amplification = 2;  // a token is chosen or not, however little the run makes of it
  out.rhythm = credit.rhythm_options();
  out.reads_model =
      options.strategy() != config::CreditOptions::UNIFORM && options.strategy() != config::CreditOptions::RANDOM;
  return out;
}

void FillRhythmSummary(const std::vector<TrajectoryGroup>& groups, PolicyVersion before,
                       const RhythmSummaryOptions& options, StepRecord* record) {
  Audit audit;
  Lag lag;
  for (const TrajectoryGroup& group : groups) {
    for (const Completion& completion : group.completions) {
      AddLag(completion, before, &lag);
      if (completion.rhythm.has_value()) AddCompletion(completion, options, &audit);
    }
  }
  if (options.reads_model && lag.rows > 0) {
    record->gamma_version_lag_mean = lag.sum / lag.rows;
    record->gamma_version_lag_max = lag.max;
  }
  record->audited_completions = static_cast<double>(audit.completions);
  if (audit.completions > 0) FillAudit(audit, record);
}

}  // namespace tactus
