#include "common/collective/connect_bounded.h"

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/collective/bounded_call.h"

namespace tactus {

absl::Status ConnectBounded(const std::shared_ptr<CommBackend>& backend, absl::Duration timeout,
                            absl::Duration abort_patience, const std::function<absl::Status()>& connect) {
  absl::Status connected = CallBounded(timeout, connect)
                               .value_or(absl::DeadlineExceededError(
                                   absl::StrCat("no communicator within ", absl::FormatDuration(timeout))));
  if (connected.ok()) return connected;
  const std::function<bool()> abort = [backend] {
    backend->Abort();
    return true;
  };
  if (!CallBounded(abort_patience, abort).has_value()) {
    TACTUS_LOG(WARNING) << "a communicator that was never connected could not be aborted within "
                        << absl::FormatDuration(abort_patience) << ", and is left behind with its thread";
  }
  return connected;
}

}  // namespace tactus
