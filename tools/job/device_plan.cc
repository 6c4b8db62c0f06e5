#include "tools/job/device_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

absl::StatusOr<std::vector<Placement>> PlaceLearners(const DevicePlanInput& input) {
  const std::vector<GpuInfo>& gpus = input.gpus.gpus;
  const bool spread = input.learner.automatic && !gpus.empty();
  if (spread && input.learners > static_cast<int>(gpus.size())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "there are ", input.learners, " learners and ", gpus.size(), gpus.size() == 1 ? " GPU" : " GPUs",
        ", and a GPU can take one rank: expected --learners ", gpus.size(), " at most, or learner.device \"cpu\"."));
  }
  if (input.learner.device.is_gpu() && input.learners > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("learner.device is \"", input.learner.device.Text(), "\" and there are ", input.learners,
                     " learners, but a GPU can take one rank: expected \"auto\", which gives each a GPU of its own."));
  }
  ASSIGN_OR_RETURN(const DeviceChoice alone, ChooseDevice(input.learner, "learner.device", input.gpus));
  std::vector<Placement> placed;
  for (int rank = 0; rank < input.learners; ++rank) {
    Placement& placement = placed.emplace_back(Placement{absl::StrCat("learner-", rank), alone.device, alone.why});
    if (!spread) continue;
    const GpuInfo& gpu = gpus[static_cast<size_t>(rank)];
    placement.device = {gpu.index};
    placement.why = GpuText(gpu);
  }
  return placed;
}

absl::StatusOr<std::vector<Placement>> PlaceActors(const DevicePlanInput& input,
                                                   const std::vector<Placement>& learners) {
  std::vector<GpuInfo> without_rank;
  for (const GpuInfo& gpu : input.gpus.gpus) {
    const Device device{gpu.index};
    const bool taken = std::ranges::any_of(learners, [&](const Placement& p) { return p.device == device; });
    if (!taken) without_rank.push_back(gpu);
  }
  const std::vector<GpuInfo>& turns = without_rank.empty() ? input.gpus.gpus : without_rank;
  ASSIGN_OR_RETURN(const DeviceChoice alone, ChooseDevice(input.actor, "actor.device", input.gpus));
  std::vector<Placement> placed;
  for (int i = 0; i < input.actors; ++i) {
    Placement& placement = placed.emplace_back(Placement{absl::StrCat("actor-", i), alone.device, alone.why});
    if (!input.actor.automatic || turns.empty()) continue;
    const GpuInfo& gpu = turns[static_cast<size_t>(i) % turns.size()];
    placement.device = {gpu.index};
    placement.why = GpuText(gpu);
  }
  return placed;
}

}  // namespace

std::vector<std::string> DevicePlan::On(const Device& device) const {
  std::vector<std::string> processes;
  for (const std::vector<Placement>* group : {&learners, &actors}) {
    for (const Placement& placement : *group) {
      if (placement.device == device) processes.push_back(placement.process);
    }
  }
  return processes;
}

std::vector<std::string> DevicePlan::Lines() const {
  std::vector<Placement> all = learners;
  all.insert(all.end(), actors.begin(), actors.end());
  if (all.empty()) return {};
  const auto like_first = [&](const Placement& p) { return !p.device.is_gpu() && p.why == all.front().why; };
  if (std::ranges::all_of(all, like_first)) return {absl::StrCat("Computing on the CPU: ", all.front().why, ".")};
  std::vector<std::string> lines;
  for (const Placement& placement : all) {
    std::vector<std::string> others = On(placement.device);
    std::erase(others, placement.process);
    lines.push_back(absl::StrCat(placement.process, " computes on ", placement.device.Text(), ": ", placement.why));
    if (placement.device.is_gpu() && !others.empty()) {
      absl::StrAppend(&lines.back(), ", shared with ", absl::StrJoin(others, ", "));
    }
    lines.back().push_back('.');
  }
  return lines;
}

absl::StatusOr<DevicePlan> PlanDevices(const DevicePlanInput& input) {
  DevicePlan plan;
  ASSIGN_OR_RETURN(plan.learners, PlaceLearners(input));
  ASSIGN_OR_RETURN(plan.actors, PlaceActors(input, plan.learners));
  return plan;
}

}  // namespace tactus
