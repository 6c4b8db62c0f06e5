#include "common/device/devices.h"

namespace tactus {

GpuList ListGpus() { return {.gpus = {}, .why_none = "this build is for CPUs only"}; }

}  // namespace tactus
