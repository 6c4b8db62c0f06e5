// Which GPU each process of a job on one machine computes on. Pure; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/device/device_spec.h"

namespace tactus {

struct DevicePlanInput {
  int learners = 1, actors = 1;
  DeviceSpec learner, actor;  // learner.device and actor.device
  GpuList gpus;
};

struct Placement {
  std::string process;  // "learner-0", "actor-3"
  Device device;
  std::string why;  // a clause
};

struct DevicePlan {
  std::vector<Placement> learners, actors;  // by rank, by index

  // The processes on one device: learners first.
  std::vector<std::string> On(const Device& device) const;
  // One line for each process, or one in all where every process computes on the CPU for the same reason.
  std::vector<std::string> Lines() const;
};

// "auto": rank r takes the r-th GPU; actors take turns on the GPUs without a rank, or on all when every GPU has one.
// Without a GPU all compute on the CPU. "cuda:N": all actors share that GPU; a learner has to be alone, as ranks on one
// GPU can't talk to each other over NCCL. FailedPrecondition: more ranks than GPUs, or a GPU that is not there.
absl::StatusOr<DevicePlan> PlanDevices(const DevicePlanInput& input);

}  // namespace tactus
