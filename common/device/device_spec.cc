#include "common/device/device_spec.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace tactus {
namespace {

constexpr int kMaxIndex = 1023;

absl::Status NotThere(const Device& wanted, absl::string_view subject, const GpuList& list) {
  const std::string begin = absl::StrCat(subject, " is \"", wanted.Text(), "\" and ");
  if (list.gpus.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(begin, list.why_none, ": expected \"cpu\", or \"auto\" to use a GPU where there is one."));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      begin, "the GPUs here are cuda:", list.gpus.front().index,
      list.gpus.size() == 1 ? "" : " to cuda:", list.gpus.size() == 1 ? "" : absl::StrCat(list.gpus.back().index),
      ": expected one of them, \"cpu\" or \"auto\"."));
}

}  // namespace

std::string Device::Text() const { return is_gpu() ? absl::StrCat("cuda:", *gpu) : "cpu"; }

absl::StatusOr<DeviceSpec> ParseDeviceSpec(absl::string_view text) {
  absl::string_view digits = text;
  int index = 0;
  if (text == "auto") return DeviceSpec{};
  if (text == "cpu") return DeviceSpec{.automatic = false, .device = {}};
  const bool numbered = absl::ConsumePrefix(&digits, "cuda:") && !digits.empty() &&
                        absl::ascii_isdigit(static_cast<unsigned char>(digits.front()));
  if (numbered && absl::SimpleAtoi(digits, &index) && index <= kMaxIndex) {
    return DeviceSpec{.automatic = false, .device = {index}};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("is \"", text, "\": expected \"auto\", \"cpu\" or \"cuda:N\", N counting the GPUs from 0"));
}

std::optional<int64_t> FreeBytesOf(std::optional<int64_t> told, int64_t total_bytes) {
  return told.has_value() ? std::optional(std::min(*told, total_bytes)) : std::nullopt;
}

const GpuInfo* FindGpu(const GpuList& list, int index) {
  for (const GpuInfo& gpu : list.gpus) {
    if (gpu.index == index) return &gpu;
  }
  return nullptr;
}

absl::StatusOr<DeviceChoice> ChooseDevice(const DeviceSpec& spec, absl::string_view subject, const GpuList& list) {
  if (spec.automatic && list.gpus.empty()) return DeviceChoice{{}, list.why_none};
  if (spec.automatic) return DeviceChoice{{list.gpus.front().index}, GpuText(list.gpus.front())};
  if (!spec.device.is_gpu()) return DeviceChoice{{}, absl::StrCat("as ", subject, " says")};
  const GpuInfo* gpu = FindGpu(list, *spec.device.gpu);
  if (gpu == nullptr) return NotThere(spec.device, subject, list);
  return DeviceChoice{spec.device, absl::StrCat("as ", subject, " says: ", GpuText(*gpu))};
}

std::string BytesText(int64_t bytes) {
  constexpr double kMiB = 1 << 20, kGiB = 1 << 30;
  const double value = static_cast<double>(bytes);
  return value < kGiB ? absl::StrFormat("%.0f MiB", value / kMiB) : absl::StrFormat("%.1f GiB", value / kGiB);
}

std::string GpuText(const GpuInfo& gpu) {
  return absl::StrCat(gpu.name, ", ", BytesText(gpu.total_bytes),
                      gpu.free_bytes ? absl::StrCat(", ", BytesText(*gpu.free_bytes), " free") : "",
                      ", compute capability ", gpu.compute_major, ".", gpu.compute_minor);
}

}  // namespace tactus
