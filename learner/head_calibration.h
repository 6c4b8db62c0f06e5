// The head classes of credit.head_mode CALIBRATED (docs/rhythm.md): which heads are local and global, for every
// response of a version of the weights, from the batch whose training made that version.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/decimal.h"
#include "common/config/config_fwd.h"
#include "common/data/types.h"

namespace tactus {

// Owned by one thread; learner rank 0's are published. A pure function of the batches, in their order.
class HeadCalibration {
 public:
  // Of a run with these resolved options and a model of this shape. InvalidArgument names the field.
  static absl::StatusOr<HeadCalibration> FromProto(const config::CreditOptions& options, int64_t num_layers,
                                                   int64_t heads_per_layer);

  // H, which is how many spans every completion must carry; 0: nothing is calibrated.
  int heads() const { return heads_; }

  // `groups`, each completion with heads() spans, were trained and made the weights of `step`, 1 for the first.
  // Classifies after the first step and after every calibrate_every_versions-th (0: none other): by the mean span of
  // each head over all rows of attention of the batch. Between them the classes stay.
  void AfterStep(int64_t step, const std::vector<TrajectoryGroup>& groups);

  // What the newest weights sample with. None before the first step, and always when nothing is calibrated.
  const std::optional<HeadClasses>& classes() const { return classes_; }
  // Goes on from a checkpoint.
  void Restore(std::optional<HeadClasses> classes) { classes_ = std::move(classes); }

 private:
  HeadCalibration() = default;

  int heads_ = 0;
  int64_t every_ = 1;
  Decimal share_ = Decimal::Tenths(3);
  std::optional<HeadClasses> classes_;
};

}  // namespace tactus
