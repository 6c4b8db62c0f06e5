// Several tasks as one: the sources of a run's prompts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tasks/task.h"

namespace tactus {

struct NamedTask {
  std::string name;
  std::unique_ptr<Task> task;
};

// Train examples stand one source after the other; of the held-out ones one of each source in turn, so that the first
// few are of all. A train example that another source holds out (TaskExample::identity) cannot be had: Example is
// InvalidArgument, and says which held-out example it is. Reads all held-out examples for that, unless test_only: then
// the train split is not to be asked for. Errors are Example's.
absl::StatusOr<std::unique_ptr<Task>> CreateMixedTask(std::vector<NamedTask> sources, bool test_only);

}  // namespace tactus
