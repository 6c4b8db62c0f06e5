// The order in which a run visits the rows of its task's train split. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/data/mixed_order.h"
#include "common/tasks/task.h"

namespace tactus {

// Its elements are places in `rows`, which increase: those of the train split that are used. InvalidArgument: a source
// has none of them.
absl::StatusOr<MixedOrder> TrainOrder(const config::RunConfig& config, const Task& task,
                                      const std::vector<uint32_t>& rows);

}  // namespace tactus
