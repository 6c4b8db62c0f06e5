// What the processes of a job on one machine will need of its memory, device by device. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/device/device_spec.h"
#include "common/model/memory_need.h"
#include "tools/job/device_plan.h"

namespace tactus {

struct DeviceMemory {
  Device device;
  int64_t available_bytes = 0;    // to all its processes
  std::vector<MemoryNeed> needs;  // of the processes placed there: learners first
  std::vector<int64_t> budgets;   // of each, by its gpu_memory_mib; available_bytes where that is 0
};

struct MemoryReport {
  std::string model;  // one line: file, parameters, dtype
  std::string shard;  // another: what the learner's ranks divide among themselves; "" for one rank
  std::vector<DeviceMemory> devices;

  // The first process that is over its budget, or the first device whose processes are over what it has, as
  // CheckMemory.
  absl::Status Check() const;
  // A table for a terminal: a column for each kind of process on a device, a row for each part. Devices that are used
  // alike are shown once.
  std::string Table() const;
};

// `model_config` is a config.json; no weights are read. InvalidArgument, NotFound: names the file and the field.
absl::StatusOr<MemoryReport> PredictMemory(const config::RunConfig& run, const std::string& model_config,
                                           const DevicePlan& plan, const GpuList& gpus);

}  // namespace tactus
