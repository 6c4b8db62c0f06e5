// The GPUs of this machine. Implemented with CUDA (devices_cuda.cc), and for CPU builds, which have none
// (devices_none.cc).
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/device/device_spec.h"

namespace tactus {

// Asks the driver; takes no memory on any GPU and makes no context, so that a process that only plans may call it.
// GPUs older than this build's kernels (below compute capability 8.0) are left out. Never fails: without a GPU,
// why_none says why in a clause. Blocks while the driver starts, some 0.1 s a GPU. Thread-safe.
GpuList ListGpus();

// The device that `text` (auto, cpu, cuda:N) means on this machine, for a process that computes there; logs which and
// why. Errors are those of ParseDeviceSpec and ChooseDevice, which name `subject`.
absl::StatusOr<Device> OwnDevice(absl::string_view text, absl::string_view subject);

}  // namespace tactus
