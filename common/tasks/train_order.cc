#include "common/tasks/train_order.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/config/task_sources.h"
#include "proto/config.pb.h"

namespace tactus {

absl::StatusOr<MixedOrder> TrainOrder(const config::RunConfig& config, const Task& task,
                                      const std::vector<uint32_t>& rows) {
  const std::vector<std::string> names = config::SourceNames(config.task());
  std::vector<uint64_t> sizes(names.size());
  for (const uint32_t row : rows) ++sizes[task.SourceOf(Split::kTrain, row)];
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("task ", config.task().name(), names[i].empty() ? "" : ", source ",
                                                   names[i], ": expected at least one question to train on"));
  }
  return MixedOrder(config.seed(), config::SourceWeights(config.task()), sizes);
}

}  // namespace tactus
