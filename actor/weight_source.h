// Where an actor gets its weights from. Implemented over gRPC in grpc_weight_source.h, and by fakes in tests.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/weights/shared_weights.h"

namespace tactus {

struct NewWeights {
  PolicyVersion version;
  std::vector<float> parameters;                 // whole and verified, in ParameterLayout order; empty with `shared`
  std::optional<HeadClasses> head_classes = {};  // to judge with what they sample; none: each response has its own
  std::optional<SharedWeights> shared = {};      // where a runner on a GPU of the learner's machine copies them from
};

// Used by one thread, except Close, which any thread may call.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // Blocks until a complete set newer than `held` is here, at most `timeout` without progress: then nullopt.
  // Unavailable: the learner cannot be reached now. DataLoss: what came was damaged. Both may be tried again.
  // InvalidArgument: the learner trains another model. Cancelled: closed.
  virtual absl::StatusOr<std::optional<NewWeights>> Fetch(std::optional<PolicyVersion> held,
                                                          absl::Duration timeout) = 0;

  // From now on Fetch brings parameters, never `shared`: this actor can't read it.
  virtual void DeclineShared() = 0;

  // Ends a blocked call with Cancelled. Idempotent.
  virtual void Close() = 0;
};

}  // namespace tactus
