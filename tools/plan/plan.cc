#include "tools/plan/plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/memory_need.h"
#include "common/rhythm/credit_assigner.h"
#include "proto/config.pb.h"
#include "tools/job/device_plan.h"

namespace tactus {
namespace {

GpuList PlannedGpus(const PlanMachine& machine) {
  GpuList list{.gpus = {}, .why_none = "cores are planned"};
  for (int i = 0; machine.gpus && i < machine.devices; ++i) {
    list.gpus.push_back({.index = i,
                         .name = "a planned GPU",
                         .total_bytes = machine.gpu_bytes,
                         .free_bytes = std::nullopt,
                         .compute_major = 9,
                         .compute_minor = 0});
  }
  return list;
}

// Ranks and actors that can stand on the machine: a GPU each, or each GPU with one of both; of cores as many as each
// kind has room for alone.
bool Stands(const PlanRequest& request, int learners, int actors) {
  const PlanMachine& machine = request.machine;
  if (machine.gpus) return learners + actors == machine.devices || (learners == machine.devices && actors == learners);
  const int cores = machine.devices;
  const bool one_each = learners == 1 || learners * LearnerCores(*request.run, cores, learners) <= cores;
  return one_each && (actors == 1 || actors * ActorCores(*request.run) <= cores);
}

std::vector<PlanSplit> Splits(const PlanRequest& request) {
  const config::RunConfig& run = *request.run;
  const int devices = request.machine.devices;
  const int most_actors = std::min(devices, run.rollout().prompts_per_step());
  std::vector<PlanSplit> splits;
  const auto add = [&](int learners, int actors) {
    PlanSplit split{.devices = devices, .learners = learners, .actors = actors};
    if (!request.machine.gpus) {
      split.learner_devices = LearnerCores(run, devices, learners);
      split.actor_devices = ActorCores(run);
    }
    splits.push_back(split);
  };
  if (request.learners.has_value() && request.actors.has_value()) {
    add(*request.learners, *request.actors);
    return splits;
  }
  for (int learners = 1; learners <= devices; ++learners) {
    for (int actors = 1; actors <= most_actors; ++actors) {
      const bool wanted = request.learners.value_or(learners) == learners && request.actors.value_or(actors) == actors;
      if (wanted && Stands(request, learners, actors)) add(learners, actors);
    }
  }
  return splits;
}

// Rates are of a rank on the devices of one alone; on fewer cores it takes longer in proportion.
PlanInputs ScaledTo(const PlanRequest& request, const PlanSplit& split) {
  PlanInputs inputs = request.inputs;
  if (request.machine.gpus) return inputs;
  const double slower =
      static_cast<double>(LearnerCores(*request.run, request.machine.devices, 1)) / split.learner_devices;
  inputs.train_s.value *= slower;
  inputs.optimizer_s.value *= slower;
  return inputs;
}

PlannedSplit Planned(const PlanRequest& request, const ModelConfig& model, const GpuList& gpus, PlanSplit split) {
  const config::RunConfig& run = *request.run;
  const Device device = request.machine.gpus ? Device{0} : Device{};
  const int64_t available = AvailableBytes(device, gpus);
  const int64_t budget = RankBudgetBytes(run, device, split.learners, gpus);
  split.shard = ChooseShard(model, run, device, split.learners, budget);
  PlannedSplit planned{.split = split, .figures = PredictStep(ScaledTo(request, split), split)};
  planned.learner_bytes =
      LearnerMemory("learner-0", model, run, device, {.shard = split.shard, .rank = 0, .world = split.learners})
          .total();
  // Of credit that can't be measured the run itself says so.
  const ops::AttentionProbe probe =
      ProbeOfRun(run.credit(), model.num_layers, model.num_heads).value_or(ops::AttentionProbe());
  planned.actor_bytes = ActorMemory("actor-0", model, run, device, probe).total();
  if (!request.machine.gpus) {
    planned.fits = split.learners * planned.learner_bytes + split.actors * planned.actor_bytes <= available;
  } else {
    const bool shared = split.learners + split.actors > split.devices;
    const int64_t most =
        shared ? planned.learner_bytes + planned.actor_bytes : std::max(planned.learner_bytes, planned.actor_bytes);
    planned.fits = most <= available;
  }
  return planned;
}

}  // namespace

int LearnerCores(const config::RunConfig& run, int cores, int learners) {
  return run.learner().threads() > 0 ? run.learner().threads() : std::max(1, cores / learners);
}

int ActorCores(const config::RunConfig& run) { return std::max(1, run.actor().threads()); }

absl::StatusOr<Plan> MakePlan(const PlanRequest& request, const ModelConfig& model) {
  const GpuList gpus = PlannedGpus(request.machine);
  Plan plan{.machine = request.machine, .inputs = request.inputs, .splits = {}, .memory = {}};
  for (const PlanSplit& split : Splits(request)) plan.splits.push_back(Planned(request, model, gpus, split));
  if (plan.splits.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--learners and --actors do not fit ", request.machine.devices,
                                                   request.machine.gpus ? " GPUs" : " cores",
                                                   ": expected fewer, or both of them."));
  }
  std::ranges::stable_sort(plan.splits, [](const PlannedSplit& a, const PlannedSplit& b) {
    return std::pair(!a.fits, a.figures.step_s) < std::pair(!b.fits, b.figures.step_s);
  });
  const PlanSplit& best = plan.best().split;
  plan.inputs = ScaledTo(request, best);
  ASSIGN_OR_RETURN(
      const DevicePlan devices,
      PlanDevices({.learners = best.learners, .actors = best.actors, .learner = {}, .actor = {}, .gpus = gpus}));
  ASSIGN_OR_RETURN(plan.memory, PredictMemory(*request.run, request.model_file, devices, gpus));
  return plan;
}

}  // namespace tactus
