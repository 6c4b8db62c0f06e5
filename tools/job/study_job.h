// The runs of a study, one after another, each a `tactus train` of its own. Blocking; TrainRun from the main thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/metrics/run_folder.h"

namespace tactus {

namespace config {
class StudyPlan;
}

struct PlannedRun {
  size_t variant = 0;  // of the plan
  uint64_t seed = 0;
  std::string title;                   // "COUPLED, seed 2"
  RunFolder folder;                    // <study>/runs/COUPLED-s2
  std::vector<std::string> overrides;  // all of them, the seed's last
  std::shared_ptr<const config::RunConfig> config;
};

// All runs, seeds outermost: a machine that drifts meets all variants alike, and a study that was stopped has whole
// seeds. Whatever a run would be refused for is found here: its configuration, and of each variant the model and the
// data; that all train on equally many completions; that a folder which is there holds a run with these options.
// Changes nothing on disk. Warnings of a variant go to stderr. InvalidArgument or NotFound names the variant.
absl::StatusOr<std::vector<PlannedRun>> PlanStudy(const config::StudyPlan& plan, const std::string& folder);

// Whether nothing is left to do: the last step is trained, and measured on held-out prompts where that is wanted.
bool IsDone(const PlannedRun& run);

// Completions that each step trains.
int64_t SamplesPerStep(const PlannedRun& run);

// Begins the run, or goes on from its newest checkpoint; one that was ended before its first begins anew. What it says
// is appended to `log`. A stop signal of this process is passed on. Cancelled: it was stopped, by that or from outside.
// InvalidArgument: it refused its input. Internal: it failed; the message ends with the log's tail. Unavailable: its
// folder is another's.
absl::Status TrainRun(const PlannedRun& run, const config::StudyPlan& plan, const std::string& log);

}  // namespace tactus
