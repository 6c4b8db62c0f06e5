#include "learner/head_calibration.h"

#include <algorithm>
#include <iterator>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/data/turns.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/rhythm.h"

namespace tactus {
namespace {

// [heads] mean over the rows of attention of all completions: a completion's own mean counts once for each of its
// tokens.
std::vector<double> MeanSpans(const std::vector<TrajectoryGroup>& groups, int heads) {
  std::vector<double> spans(static_cast<size_t>(heads), 0.0);
  double rows = 0;
  for (const TrajectoryGroup& group : groups) {
    for (const Completion& completion : group.completions) {
      const auto tokens = static_cast<double>(SampledTokens(completion));
      rows += tokens;
      for (size_t head = 0; head < spans.size(); ++head) spans[head] += tokens * completion.head_spans[head];
    }
  }
  for (double& span : spans) span /= rows;
  return spans;
}

size_t Common(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  std::vector<int32_t> both;
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return both.size();
}

}  // namespace

absl::StatusOr<HeadCalibration> HeadCalibration::FromProto(const config::CreditOptions& options, int64_t num_layers,
                                                           int64_t heads_per_layer) {
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(options));
  HeadCalibration calibration;
  ASSIGN_OR_RETURN(calibration.heads_, credit.CalibratedHeads(num_layers, heads_per_layer));
  calibration.every_ = credit.calibrate_every_versions();
  calibration.share_ = credit.rhythm_options().head_share;
  return calibration;
}

void HeadCalibration::AfterStep(int64_t step, const std::vector<TrajectoryGroup>& groups) {
  if (heads_ == 0 || (step != 1 && (every_ == 0 || step % every_ != 0))) return;
  HeadClasses classes = ClassifyHeads(MeanSpans(groups, heads_), share_);
  if (classes_.has_value()) {
    TACTUS_LOG(INFO) << "classified the heads after step " << step << ": " << Common(classes.local, classes_->local)
                     << " of " << classes.local.size() << " local and " << Common(classes.global, classes_->global)
                     << " of " << classes.global.size() << " global heads stay";
  }
  classes_ = std::move(classes);
}

}  // namespace tactus
