// A run's prompts and its judge, as its configuration says: built in, from files, or a user's server at
// environment.address. The one place that decides which.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/config_fwd.h"
#include "common/environment/grpc_episodes.h"
#include "common/metrics/metric_set.h"
#include "common/tasks/judge.h"
#include "common/tasks/task.h"

namespace tactus {

// How long OpenTask and the commands wait for a server.
inline constexpr absl::Duration kEnvironmentWait = absl::Seconds(60);

// Errors as CreateTask's; of a server Unavailable when it did not answer in kEnvironmentWait, and as
// ReadEnvironmentTask's. Blocks for the reading.
absl::StatusOr<std::unique_ptr<Task>> OpenTask(const config::RunConfig& run);
// The same for its test split alone.
absl::StatusOr<std::unique_ptr<Task>> OpenTestSet(const config::RunConfig& run);

// Who says what answers are worth: a judge, or a server that converses with the model and tells at the end.
struct RewardSource {
  std::unique_ptr<Judge> judge;        // null: there are
  std::unique_ptr<Episodes> episodes;  // conversations; null: there are none
};

// Waits for a server to describe itself, at most `wait`; why it does not is logged. Unavailable: none did, with the
// last reason. Other errors of EnvironmentClient at once: whoever answers is no such server. With task.sources each is
// judged as it says; InvalidArgument: a server of conversations. `metrics`, an actor's, may be null, and outlives the
// judge.
absl::StatusOr<RewardSource> OpenRewards(const config::RunConfig& run, absl::Duration wait, MetricSet* metrics);
// The same for those who hold no conversations. InvalidArgument: the server does.
absl::StatusOr<std::unique_ptr<Judge>> OpenJudge(const config::RunConfig& run, absl::Duration wait, MetricSet* metrics);

// Whether the run's server, if it needs one, answers within a few seconds; what it says otherwise. InvalidArgument
// also: as OpenRewards.
absl::Status ProbeEnvironment(const config::RunConfig& run);

}  // namespace tactus
