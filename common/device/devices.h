// The GPUs of this machine. Implemented with CUDA (devices_cuda.cc), and for CPU builds, which have none
// (devices_none.cc).
#pragma once

#include "common/device/device_spec.h"

namespace tactus {

// Asks the driver; takes no memory on any GPU and makes no context, so that a process that only plans may call it.
// GPUs older than this build's kernels (below compute capability 8.0) are left out. Never fails: without a GPU,
// why_none says why in a clause. Blocks while the driver starts, some 0.1 s a GPU. Thread-safe.
GpuList ListGpus();

}  // namespace tactus
