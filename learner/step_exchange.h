// How rank 0, which alone talks to actors, shares each step's work with the other ranks.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/data/codec.h"
#include "common/data/types.h"

namespace tactus {

// What all ranks do next.
struct StepOrder {
  enum class Kind : uint32_t {
    kTrain = 1,  // on `groups`, the next of the step's, with weights of `version`
    kWait = 2,   // nothing yet: sent so that no rank's wait is longer than the collective's timeout
    kStop = 3,   // the run is over
    kSave = 4,   // a checkpoint of `version`: the parameters are compared, and each rank begins to write its share
  };
  Kind kind = Kind::kStop;
  PolicyVersion version;
  std::vector<TrajectoryGroup> groups;
  bool stop_asked = false;  // at any rank: rank 0 then ends the run
};

// Collective: every rank calls it; `order` becomes rank 0's, with the ranks' `stop_asked` joined. Blocks up to the
// collective's timeout.
// The collective's errors; InvalidArgument when a group does not decode (ranks with different configurations). After an
// error `order` is what it was.
absl::Status ExchangeStepOrder(Collective& collective, StepOrder& order, const TrajectoryLimits& limits);

}  // namespace tactus
