#include "learner/ledger/submission_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/base/file.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct SubmissionLogTest : ::testing::Test {
  void SetUp() override { std::filesystem::remove_all(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::unique_ptr<SubmissionLog> Open() {
    absl::StatusOr<std::unique_ptr<SubmissionLog>> log = SubmissionLog::Open(folder);
    EXPECT_TRUE(log.ok()) << log.status();
    return std::move(*log);
  }
  static absl::Status Append(SubmissionLog& log, std::vector<absl::string_view> payloads) {
    return log.Append(payloads);
  }
  static std::vector<std::string> Replay(const SubmissionLog& log, uint64_t first_segment = 0) {
    std::vector<std::string> payloads;
    EXPECT_TRUE(log.Replay(first_segment, 1000, [&](absl::string_view p) { payloads.emplace_back(p); }).ok());
    return payloads;
  }
  std::string Segment(int number) const { return folder + "/group-0000000" + std::to_string(number) + ".log"; }

  const std::string folder =
      ::testing::TempDir() + "/submission_log_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(SubmissionLogTest, ReplaysWhatWasAppendedBeforeARestart) {
  {
    const auto log = Open();
    EXPECT_FALSE(log->HasEarlierRecords());
    EXPECT_TRUE(Append(*log, {"one", "two"}).ok());
    EXPECT_TRUE(Append(*log, {std::string("three\0", 6)}).ok());
    EXPECT_THAT(Replay(*log), IsEmpty()) << "its own records are not earlier ones";
  }
  const auto log = Open();
  EXPECT_TRUE(log->HasEarlierRecords());
  EXPECT_THAT(Replay(*log), ElementsAre("one", "two", std::string("three\0", 6)));
  EXPECT_TRUE(Append(*log, {"four"}).ok());
  EXPECT_THAT(Replay(*Open()), ElementsAre("one", "two", std::string("three\0", 6), "four"));
}

TEST_F(SubmissionLogTest, ASnapshotCutsTheLog) {
  uint64_t segment = 0;
  {
    const auto log = Open();
    EXPECT_TRUE(Append(*log, {"in the snapshot"}).ok());
    segment = *log->StartSegment();
    EXPECT_TRUE(Append(*log, {"after it"}).ok());
  }
  EXPECT_THAT(Replay(*Open(), segment), ElementsAre("after it")) << "also when stopped before the old part was removed";
  const auto log = Open();
  EXPECT_TRUE(log->RemoveBefore(segment).ok());
  EXPECT_THAT(Replay(*log), ElementsAre("after it"));
}

TEST_F(SubmissionLogTest, EveryDamagedByteIsDetected) {
  { EXPECT_TRUE(Append(*Open(), {"first", "second"}).ok()); }
  const std::string good = *ReadFile(Segment(1));
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x21);
    ASSERT_TRUE(WriteFileAtomic(Segment(1), bad).ok());
    const std::vector<std::string> payloads = Replay(*Open());
    if (at < good.size() / 2) {
      EXPECT_THAT(payloads, IsEmpty()) << at;
    } else {
      EXPECT_THAT(payloads, ElementsAre("first")) << at;
    }
  }
}

TEST_F(SubmissionLogTest, ATornTailIsLeftOut) {
  { EXPECT_TRUE(Append(*Open(), {"first", "second"}).ok()); }
  const std::string good = *ReadFile(Segment(1));
  for (size_t size = 0; size < good.size(); ++size) {
    ASSERT_TRUE(WriteFileAtomic(Segment(1), good.substr(0, size)).ok());
    EXPECT_EQ(Replay(*Open()).size(), size >= 25 ? 1u : 0u) << size;
  }
}

TEST_F(SubmissionLogTest, RecordsAboveTheLimitAreNotBelieved) {
  { EXPECT_TRUE(Append(*Open(), {std::string(1001, 'x')}).ok()); }
  EXPECT_THAT(Replay(*Open()), IsEmpty());
}

TEST_F(SubmissionLogTest, AFailedWriteAcknowledgesNothingAndTheNextOneWorks) {
  const auto log = Open();
  EXPECT_TRUE(Append(*log, {"before"}).ok());
  std::filesystem::rename(folder, folder + "_away");
  EXPECT_FALSE(log->StartSegment().ok());
  EXPECT_FALSE(Append(*log, {"lost"}).ok());
  std::filesystem::rename(folder + "_away", folder);
  EXPECT_TRUE(Append(*log, {"after"}).ok());
  EXPECT_THAT(Replay(*Open()), ElementsAre("before", "after"));
}

TEST_F(SubmissionLogTest, NamesAFolderItCannotMake) {
  ASSERT_TRUE(WriteFileAtomic(folder, "a file").ok());
  EXPECT_THAT(std::string(SubmissionLog::Open(folder + "/log").status().message()), ::testing::HasSubstr(folder));
}

}  // namespace
}  // namespace tactus
