#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/device/devices.h"

namespace tactus {

absl::StatusOr<Device> OwnDevice(absl::string_view text, absl::string_view subject) {
  ASSIGN_OR_RETURN(const DeviceSpec spec, ParseDeviceSpec(text));
  ASSIGN_OR_RETURN(const DeviceChoice choice, ChooseDevice(spec, subject, ListGpus()));
  TACTUS_LOG(INFO) << "computing on " << choice.device.Text() << ": " << choice.why;
  return choice.device;
}

}  // namespace tactus
