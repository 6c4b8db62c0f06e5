// The plan of a run: its figures and memory on the given devices, for the best split between learner ranks and actors,
// or for a given one. Thread-safe; reads this machine's memory where cores are planned.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/model/folder/model_config.h"
#include "tools/job/memory_report.h"
#include "tools/plan/plan_figures.h"

namespace tactus {

struct PlanMachine {
  bool gpus = false;  // the devices; false: cores of one machine
  int devices = 1;
  int64_t gpu_bytes = 0;  // memory of each
};

// A split that was looked at.
struct PlannedSplit {
  PlanSplit split;
  PlanFigures figures;
  int64_t learner_bytes = 0, actor_bytes = 0;  // of rank 0, of an actor
  bool fits = false;
};

struct Plan {
  PlanMachine machine;
  PlanInputs inputs;
  std::vector<PlannedSplit> splits;  // the best first: those that fit, then by their step's seconds
  MemoryReport memory;               // of the first

  const PlannedSplit& best() const { return splits.front(); }
};

struct PlanRequest {
  const config::RunConfig* run = nullptr;
  std::string model_file;  // config.json
  PlanMachine machine;
  PlanInputs inputs;
  std::optional<int> learners, actors;  // given; else the best are looked for
};

// How many cores a rank computes on, of so many ranks; and an actor.
int LearnerCores(const config::RunConfig& run, int cores, int learners);
int ActorCores(const config::RunConfig& run);

// InvalidArgument: more processes than the devices take.
absl::StatusOr<Plan> MakePlan(const PlanRequest& request, const ModelConfig& model);

// For a terminal; and one JSON object (tools/plan/plan_text.cc has its keys).
std::string PlanText(const Plan& plan);
std::string PlanJson(const Plan& plan);

}  // namespace tactus
