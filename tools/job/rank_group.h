// The learner ranks of one host, as processes of their own: what a container of a cluster job runs.
//
// Rank r of the host is learner rank host_index * ranks + r and sees one accelerator, the r-th of those that this
// process sees (CUDA_VISIBLE_DEVICES). All end together: the first that fails ends the others at once, since a
// collective with a dead rank only waits for its timeout; a stop signal goes to all, and they stop in order by
// themselves.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tactus {

struct RankGroupOptions {
  std::string learner;             // path of tactus-learner
  std::vector<std::string> flags;  // for every rank
  int hosts = 1;
  int host_index = 0;
  int ranks = 1;  // on every host
  // HOST:PORT; rank r of this host serves its metrics at PORT + r. "" = the configuration's.
  std::string metrics_from = {};
};

// The command line and the environment's additions of rank r of this host. InvalidArgument: host_index or metrics_from.
struct RankCommand {
  std::vector<std::string> argv;
  std::vector<std::string> environment;
};
absl::StatusOr<RankCommand> CommandOfRank(const RankGroupOptions& options, int r);

// Blocks until all ranks have ended. OK: all steps are done. Cancelled: stopped after a checkpoint, or at once by a
// second signal. InvalidArgument: a rank refused its input. Internal: a rank failed, and which.
absl::Status RunRankGroup(const RankGroupOptions& options);

}  // namespace tactus
