#include "common/rhythm/credit_assigner.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/data/types.h"
#include "common/rhythm/rhythm_meter.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

using config::CreditOptions;

CreditKind KindOf(CreditOptions::Strategy strategy) {
  switch (strategy) {
    case CreditOptions::UNIFORM:
      return CreditKind::kUniform;
    case CreditOptions::RANDOM:
      return CreditKind::kRandom;
    case CreditOptions::ENTROPY:
      return CreditKind::kEntropy;
    case CreditOptions::LOCAL_CHUNK:
      return CreditKind::kLocalChunk;
    case CreditOptions::GLOBAL_ANCHOR:
      return CreditKind::kGlobalAnchor;
    case CreditOptions::COUPLED:
      return CreditKind::kCoupled;
    case CreditOptions::BOTTOM_DELTA:
      return CreditKind::kBottomDelta;
    case CreditOptions::BOTTOM_FAI:
      return CreditKind::kBottomFai;
    case CreditOptions::RECEIVER:
      return CreditKind::kReceiver;
    case CreditOptions::FLOW:
      return CreditKind::kFlow;
    case CreditOptions::VINE:
      return CreditKind::kVine;
  }
  std::abort();  // the enum is closed
}

CreditShuffle ShuffleOf(CreditOptions::Shuffle shuffle) {
  switch (shuffle) {
    case CreditOptions::KEPT:
      return CreditShuffle::kKept;
    case CreditOptions::POSITION:
      return CreditShuffle::kPosition;
    case CreditOptions::KIND:
      return CreditShuffle::kKind;
    case CreditOptions::POSITION_AND_KIND:
      return CreditShuffle::kPositionAndKind;
  }
  std::abort();
}

bool CalibratesHeads(CreditOptions::HeadMode mode) {
  switch (mode) {
    case CreditOptions::PER_RESPONSE:
      return false;
    case CreditOptions::CALIBRATED:
      return true;
  }
  std::abort();
}

absl::StatusOr<CreditParams> ParamsOf(const CreditOptions& options) {
  CreditParams params;
  ASSIGN_OR_RETURN(params.q, Decimal::ParseShare(options.q(), "credit.q"));
  ASSIGN_OR_RETURN(params.waad_quantile, Decimal::ParseShare(options.waad_quantile(), "credit.waad_quantile"));
  ASSIGN_OR_RETURN(params.delta_quantile, Decimal::ParseShare(options.delta_quantile(), "credit.delta_quantile"));
  params.amplification = options.amplification();
  params.lookback_tokens = options.lookback_tokens();
  params.alpha = options.alpha();
  params.shuffle = ShuffleOf(options.shuffle());
  params.normalize = options.normalize();
  return params;
}

}  // namespace

absl::StatusOr<CreditAssigner> CreditAssigner::FromProto(const CreditOptions& options) {
  CreditAssigner credit;
  credit.kind_ = KindOf(options.strategy());
  ASSIGN_OR_RETURN(credit.params_, ParamsOf(options));
  RhythmOptions& rhythm = credit.rhythm_options_;
  ASSIGN_OR_RETURN(rhythm.head_share, Decimal::ParseShare(options.head_share(), "credit.head_share"));
  ASSIGN_OR_RETURN(rhythm.receiver_share, Decimal::ParseShare(options.receiver_share(), "credit.receiver_share"));
  rhythm.window_tokens = options.window_tokens();
  rhythm.ignore_first_token = options.ignore_first_token();
  rhythm.horizon_min_tokens = options.horizon_min_tokens();
  rhythm.horizon_max_tokens =
      options.horizon_max_tokens() == 0 ? RhythmOptions::kToTheEnd : int64_t{options.horizon_max_tokens()};
  ASSIGN_OR_RETURN(credit.audit_share_, Decimal::ParseShare(options.audit_share(), "credit.audit_share"));
  credit.flow_options_ = {.row_entries = options.flow_row_entries(), .answer_tokens = options.flow_answer_tokens()};
  if (credit.kind_ == CreditKind::kVine) {
    credit.vine_ = VineOptions{.positions = options.vine_positions(), .samples = options.vine_samples()};
  }
  credit.layers_.assign(options.layers().begin(), options.layers().end());
  credit.measure_ = options.measure();
  credit.calibrated_ = CalibratesHeads(options.head_mode());
  credit.calibrate_every_versions_ = options.calibrate_every_versions();
  return credit;
}

absl::StatusOr<CreditAssigner> CreditAssigner::FromOverrides(const std::vector<std::string>& overrides) {
  constexpr char kText[] = "model { path: 'unused' } task { name: 'countdown' } service { plaintext: true }";
  ASSIGN_OR_RETURN(const config::RunConfig run, config::ParseRunConfig(kText, "defaults", overrides));
  return FromProto(run.credit());
}

absl::StatusOr<ops::AttentionProbe> CreditAssigner::Probe(int64_t num_layers, int64_t heads_per_layer) const {
  ASSIGN_OR_RETURN(std::vector<int32_t> layers, RhythmLayers(layers_, num_layers));
  const auto most = static_cast<int64_t>(kMaxRhythmHeads) / heads_per_layer;
  if (static_cast<int64_t>(layers.size()) > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("credit.layers gives ", layers.size(), " layers: expected at most ", most, ", as the model has ",
                     heads_per_layer, " heads a layer and a completion carries at most ", kMaxRhythmHeads, "."));
  }
  ops::AttentionProbe probe = ProbeOf(rhythm_options_, std::move(layers));
  if (TracesFlow()) probe.flow_row_entries = flow_options_.row_entries;
  return probe;
}

absl::StatusOr<int> CreditAssigner::CalibratedHeads(int64_t num_layers, int64_t heads_per_layer) const {
  if (!Calibrates()) return 0;
  ASSIGN_OR_RETURN(const ops::AttentionProbe probe, Probe(num_layers, heads_per_layer));
  return static_cast<int>(static_cast<int64_t>(probe.layers.size()) * heads_per_layer);
}

absl::StatusOr<ops::AttentionProbe> ProbeOfRun(const config::CreditOptions& options, int64_t num_layers,
                                               int64_t heads_per_layer) {
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(options));
  if (!credit.MeasuresAttention()) return ops::AttentionProbe();
  return credit.Probe(num_layers, heads_per_layer);
}

}  // namespace tactus
