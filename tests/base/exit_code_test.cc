#include "common/base/exit_code.h"

#include <gtest/gtest.h>

#include <map>

namespace tactus {
namespace {

using absl::StatusCode;

// 2 will not pass, 1 may; 3 is what the program says of a clean stop.
const std::map<StatusCode, int> kContract = {
    {StatusCode::kOk, 0},
    {StatusCode::kCancelled, 3},
    {StatusCode::kUnknown, 1},
    {StatusCode::kInvalidArgument, 2},
    {StatusCode::kDeadlineExceeded, 1},
    {StatusCode::kNotFound, 2},
    {StatusCode::kAlreadyExists, 2},
    {StatusCode::kPermissionDenied, 2},
    {StatusCode::kResourceExhausted, 1},
    {StatusCode::kFailedPrecondition, 2},
    {StatusCode::kAborted, 1},
    {StatusCode::kOutOfRange, 2},
    {StatusCode::kUnimplemented, 2},
    {StatusCode::kInternal, 1},
    {StatusCode::kUnavailable, 1},
    {StatusCode::kDataLoss, 1},
    {StatusCode::kUnauthenticated, 1},
};

TEST(ExitCodeTest, EveryStatusHasTheCodeOfTheContract) {
  for (int code = 0; code <= static_cast<int>(StatusCode::kUnauthenticated); ++code) {
    const auto expected = kContract.find(static_cast<StatusCode>(code));
    ASSERT_NE(expected, kContract.end()) << code;
    EXPECT_EQ(ExitCodeOf(absl::Status(expected->first, "why"), kExitStoppedEarly), expected->second)
        << absl::StatusCodeToString(expected->first);
  }
}

TEST(ExitCodeTest, ACleanStopIsWhatTheProgramSays) {
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("stopped"), kExitInterrupted), 130);
}

// A lost mount (NotFound), a folder that was deleted, a lock or a GPU's memory that a process still has.
TEST(ExitCodeTest, AfterTheStartNothingIsTheUsersMistake) {
  for (const auto& [code, exit] : kContract) {
    const absl::Status status(code, "why");
    EXPECT_EQ(InPhase(Phase::kStarting, status), status);
    const int working = ExitCodeOf(InPhase(Phase::kWorking, status), kExitStoppedEarly);
    EXPECT_EQ(working, exit == 2 ? 1 : exit) << absl::StatusCodeToString(code);
    const int resuming = ExitCodeOf(InPhase(Phase::kResuming, status), kExitStoppedEarly);
    EXPECT_EQ(resuming, code == StatusCode::kInvalidArgument ? 2 : working) << absl::StatusCodeToString(code);
    EXPECT_EQ(InPhase(Phase::kWorking, status).message(), status.message());
  }
}

TEST(ExitCodeTest, TellsHowAnotherProgramEnded) {
  EXPECT_EQ(ErrorOfExit("actor-0", 2, "; see its log"),
            absl::InvalidArgumentError("actor-0 ended with exit code 2; see its log"));
  EXPECT_EQ(ErrorOfExit("actor-0", 1, "."), absl::InternalError("actor-0 ended with exit code 1."));
  EXPECT_EQ(ErrorOfExit("learner-1", 137, "."), absl::InternalError("learner-1 was ended by signal 9."));
}

}  // namespace
}  // namespace tactus
