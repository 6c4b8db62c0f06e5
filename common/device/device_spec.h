// Which processor a process computes on, as the configuration says it and as it was decided. No CUDA here; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// A processor: the CPU, or the GPU with an index as CUDA counts the visible ones.
struct Device {
  std::optional<int> gpu;  // none = the CPU

  bool is_gpu() const { return gpu.has_value(); }
  std::string Text() const;  // "cpu", "cuda:1": what ParseDeviceSpec reads
  bool operator==(const Device&) const = default;
};

// What was asked for: a device, or "auto" = a GPU where the build and the machine have one, else the CPU.
struct DeviceSpec {
  bool automatic = true;
  Device device;  // where not automatic
};

// "auto", "cpu" or "cuda:N" with N from 0 to 1023. InvalidArgument without a subject, for the caller to prefix:
// `is "gpu": expected "auto", "cpu" or "cuda:N"`.
absl::StatusOr<DeviceSpec> ParseDeviceSpec(absl::string_view text);

struct GpuInfo {
  int index = 0;
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int64_t total_bytes = 0;
  std::optional<int64_t> free_bytes;  // now, over all processes; none where the driver's library does not say
  int compute_major = 0, compute_minor = 0;
};

// What is free of a GPU of `total_bytes` where the driver tells `told`: of a slice of a GPU (MIG) it tells what is free
// of the whole, more than the slice has.
std::optional<int64_t> FreeBytesOf(std::optional<int64_t> told, int64_t total_bytes);

// The GPUs a process may use. Without any, why: a clause such as "this build is for CPUs only".
struct GpuList {
  std::vector<GpuInfo> gpus;
  std::string why_none;
};

// The GPU with this index, or nothing.
const GpuInfo* FindGpu(const GpuList& list, int index);

// The decision of one process on its own. Automatic takes the first GPU. `subject` ("learner.device", "--device")
// begins the sentence of a refusal. FailedPrecondition: a GPU that is not there.
struct DeviceChoice {
  Device device;
  std::string why;  // a clause, for the log: "device cuda:0, " + why
};
absl::StatusOr<DeviceChoice> ChooseDevice(const DeviceSpec& spec, absl::string_view subject, const GpuList& list);

// "NVIDIA H100 80GB HBM3, 79.6 GiB, 78.9 free, compute capability 9.0".
std::string GpuText(const GpuInfo& gpu);

// Bytes for a person: "79.6 GiB", "310 MiB".
std::string BytesText(int64_t bytes);

}  // namespace tactus
