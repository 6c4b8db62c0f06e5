// Exit codes of all programs; docs/ARCHITECTURE.md tells a cluster what to do at each. Thread-safe: no state.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

enum ExitCode {
  kExitOk = 0,
  kExitFailure = 1,        // ours, or of a peer or the machine: may pass when it is started again
  kExitUsersMistake = 2,   // in flags, configuration or files: will not pass
  kExitStoppedEarly = 3,   // a learner, asked to stop before its last step; its checkpoint is complete
  kExitInterrupted = 130,  // `tactus`, after a clean stop
};

// The code of a program that ends with `status`; `cancelled`: what Cancelled, a clean stop, means to that program.
ExitCode ExitCodeOf(const absl::Status& status, ExitCode cancelled);

// What the end of another of our programs, with `code` other than 0 (128 + n: signal n), is to the one that started
// it: InvalidArgument for a user's mistake, else Internal. "<who> ended with exit code 1<rest>".
absl::Status ErrorOfExit(absl::string_view who, int code, absl::string_view rest);

}  // namespace tactus
