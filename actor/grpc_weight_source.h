// The learner's weights over gRPC, fetched when the rollout stream has announced a newer version: from the actors that
// the learner has named, in turn, and in the end from the learner itself.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "actor/weight_source.h"
#include "common/base/host_port.h"
#include "common/metrics/metric_set.h"
#include "common/model/folder/model_config.h"
#include "common/rollout/channel_security.h"
#include "common/rollout/rollout_port.h"
#include "common/weights/weight_relay.h"

namespace tactus {

struct GrpcWeightSourceOptions {
  HostPort address;
  ChannelSecurity security;
  std::string run_id;
  std::string actor_id;
  ParameterLayout layout;
  int calibrated_heads = 0;      // as WeightReceiver's
  bool reads_shared = false;     // the engine's runner is on a GPU
  MetricSet* metrics = nullptr;  // takes the time of each fetch; null: nobody asks. Outlives the source
  WeightRelay* relay = nullptr;  // passes on what comes; null: nobody does. Outlives the source
};

// `port` tells when there is a newer version; it must outlive the source. Errors of the security options' files.
absl::StatusOr<std::unique_ptr<WeightSource>> MakeGrpcWeightSource(const GrpcWeightSourceOptions& options,
                                                                   RolloutPort* port);

}  // namespace tactus
