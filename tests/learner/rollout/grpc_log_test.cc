// A peer must not fill the disk with what libraries say about it.
#include "common/rollout/grpc_log.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "proto/weight_service.pb.h"

namespace tactus {
namespace {

int LinesWith(const std::string& text, const char* part) {
  int count = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) count += absl::StrContains(line, part) ? 1 : 0;
  return count;
}

TEST(GrpcLogTest, APeersFaultsAreSaidAFewTimes) {
  RouteLibraryLogs();
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);  // as grpc_init does
  wire::WeightManifest manifest;
  testing::internal::CaptureStderr();
  for (int i = 0; i < 1000; ++i) {
    gpr_log(GPR_ERROR, "handshake %d failed", i);
    EXPECT_FALSE(manifest.ParseFromString("\n\x01\xff"));  // run_id, no UTF-8
  }
  const std::string logged = testing::internal::GetCapturedStderr();
  EXPECT_EQ(LinesWith(logged, "gRPC: handshake"), 10) << logged;
  EXPECT_EQ(LinesWith(logged, "protobuf: String field 'tactus.wire.WeightManifest.run_id'"), 10) << logged;
  EXPECT_EQ(LinesWith(logged, ""), 21);
}

}  // namespace
}  // namespace tactus
