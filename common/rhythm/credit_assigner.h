// The credit that a run's configuration asks for: which strategy, and what must be measured for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/decimal.h"
#include "common/config/config_fwd.h"
#include "common/ops/attention_types.h"
#include "common/rhythm/credit.h"
#include "common/rhythm/flow.h"
#include "common/rhythm/rhythm.h"
#include "common/rhythm/vine.h"

namespace tactus {

// Immutable value type, thread-safe.
class CreditAssigner {
 public:
  // `options` is resolved. InvalidArgument names the field.
  static absl::StatusOr<CreditAssigner> FromProto(const config::CreditOptions& options);
  // Of a configuration that says nothing else about it; `overrides` as of --set. InvalidArgument names one that cannot
  // be.
  static absl::StatusOr<CreditAssigner> FromOverrides(const std::vector<std::string>& overrides);

  // Whether the engine must measure attention: the strategy reads it, or the run asks for it.
  bool MeasuresAttention() const { return measure_ || ReadsAttention(kind_); }
  const RhythmOptions& rhythm_options() const { return rhythm_options_; }
  const CreditParams& params() const { return params_; }
  // Whether Weights needs the kinds of the tokens.
  bool ReadsKinds() const {
    return params_.shuffle == CreditShuffle::kKind || params_.shuffle == CreditShuffle::kPositionAndKind;
  }
  // Whether Weights needs throughputs, and the engine keeps rows of attention for them (flow.h).
  bool TracesFlow() const { return kind_ == CreditKind::kFlow; }
  const FlowOptions& flow_options() const { return flow_options_; }
  // What must be sampled from places in each answer so that Weights is given its worth; none: nothing.
  const std::optional<VineOptions>& vine() const { return vine_; }
  // What the engine must measure in a model of this shape. InvalidArgument: credit.layers names a layer that the model
  // does not have, or makes for more heads than a trajectory may carry.
  absl::StatusOr<ops::AttentionProbe> Probe(int64_t num_layers, int64_t heads_per_layer) const;
  // Whether head classes are fixed for a version of the weights instead of found in each response.
  bool Calibrates() const { return calibrated_ && MeasuresAttention(); }
  // After how many versions they are classified anew; 0: after the first step alone.
  int64_t calibrate_every_versions() const { return calibrate_every_versions_; }
  // H of a model of this shape when they are, else 0. InvalidArgument: as Probe.
  absl::StatusOr<int> CalibratedHeads(int64_t num_layers, int64_t heads_per_layer) const;
  // Share of the groups whose raw metrics go to the learner; meaningful when attention is measured.
  Decimal audit_share() const { return audit_share_; }

  CreditBounds Bounds() const { return BoundsOf(kind_, params_); }

  // [N] one weight per token; `signals` has a rhythm when the strategy reads attention.
  std::vector<float> Weights(const CreditSignals& signals) const { return CreditWeights(kind_, params_, signals); }

 private:
  CreditAssigner() = default;

  CreditKind kind_ = CreditKind::kUniform;
  CreditParams params_;
  RhythmOptions rhythm_options_;
  FlowOptions flow_options_;
  std::optional<VineOptions> vine_;
  std::vector<int32_t> layers_;  // as configured; empty: the default ones
  Decimal audit_share_ = Decimal::Tenths(0);
  bool measure_ = false;
  bool calibrated_ = false;  // credit.head_mode
  int64_t calibrate_every_versions_ = 1;
};

// What the engine must measure for `options` in a model of this shape; without layers where it is nothing.
// InvalidArgument: as FromProto and Probe.
absl::StatusOr<ops::AttentionProbe> ProbeOfRun(const config::CreditOptions& options, int64_t num_layers,
                                               int64_t heads_per_layer);

}  // namespace tactus
