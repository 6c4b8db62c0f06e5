#include "common/base/exit_code.h"

#include "absl/strings/str_cat.h"

namespace tactus {

ExitCode ExitCodeOf(const absl::Status& status, ExitCode cancelled) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kCancelled:
      return cancelled;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnimplemented:  // asked for something we do not have
      return kExitUsersMistake;
    default:  // full disks, lost peers, our own bugs, and codes of later versions of Abseil
      return kExitFailure;
  }
}

absl::Status InPhase(Phase phase, absl::Status status) {
  const bool mistake = ExitCodeOf(status, kExitFailure) == kExitUsersMistake;
  if (!mistake || phase == Phase::kStarting) return status;
  if (phase == Phase::kResuming && absl::IsInvalidArgument(status)) return status;
  return absl::UnavailableError(status.message());
}

absl::Status ErrorOfExit(absl::string_view who, int code, absl::string_view rest) {
  const std::string text = code > 128 ? absl::StrCat(who, " was ended by signal ", code - 128, rest)
                                      : absl::StrCat(who, " ended with exit code ", code, rest);
  return code == kExitUsersMistake ? absl::InvalidArgumentError(text) : absl::InternalError(text);
}

}  // namespace tactus
