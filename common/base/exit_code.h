// Exit codes of all programs; docs/OPERATIONS.md lists what gives each, docs/ARCHITECTURE.md tells a cluster what to do
// about it. Thread-safe: no state.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

enum ExitCode {
  kExitOk = 0,
  kExitFailure = 1,        // ours, or of a peer or the machine: may pass when it is started again
  kExitUsersMistake = 2,   // in flags, configuration or files: will not pass
  kExitStoppedEarly = 3,   // a learner, asked to stop before its last step; what it has trained is in a checkpoint
  kExitInterrupted = 130,  // `tactus`, after a clean stop
};

// The code of a program that ends with `status`; `cancelled`: what Cancelled, a clean stop, means to that program.
ExitCode ExitCodeOf(const absl::Status& status, ExitCode cancelled);

// What an error means depends on when it comes, not on the call that failed. Once work has begun, what it was begun
// with was good: a file that is missing now is a lost mount and no wrong path.
enum class Phase {
  kStarting,  // flags, configuration and files are seen for the first time
  kResuming,  // the run has trained before: only the configuration itself may be wrong
  kWorking,   // nothing is the user's mistake
};
// `status`, as Unavailable with the same message where its code says more against the user than the phase allows.
absl::Status InPhase(Phase phase, absl::Status status);

// What the end of another of our programs, with `code` other than 0 (128 + n: signal n), is to the one that started
// it: InvalidArgument for a user's mistake, else Internal. "<who> ended with exit code 1<rest>".
absl::Status ErrorOfExit(absl::string_view who, int code, absl::string_view rest);

}  // namespace tactus
