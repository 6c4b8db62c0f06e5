#include "learner/ledger/submission_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/base/file.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct SubmissionLogTest : ::testing::Test {
  void SetUp() override { std::filesystem::remove_all(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::unique_ptr<SubmissionLog> Open() {
    absl::StatusOr<std::unique_ptr<SubmissionLog>> log = SubmissionLog::Open(*OpenSegmentFolder(folder), segment_bytes);
    EXPECT_TRUE(log.ok()) << log.status();
    return std::move(*log);
  }
  static absl::Status Append(SubmissionLog& log, std::vector<absl::string_view> payloads) {
    std::vector<SubmissionLog::Payload> whole;
    for (const absl::string_view payload : payloads) whole.push_back({payload});
    return log.Append(whole);
  }
  static std::vector<std::string> Replay(const SubmissionLog& log, uint64_t first_segment = 0, size_t most = 1000) {
    std::vector<std::string> payloads;
    EXPECT_TRUE(log.Replay(first_segment, most, [&](absl::string_view p) { payloads.emplace_back(p); }).ok());
    return payloads;
  }
  std::string Segment(int number) const { return folder + "/group-0000000" + std::to_string(number) + ".log"; }

  uint64_t segment_bytes = SubmissionLog::kSegmentBytes;
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

// A snapshot that came from another machine needs segments from 57 on, and nothing of what is written now may be
// before.
TEST_F(SubmissionLogTest, BeginsWhereASnapshotFromElsewhereEnds) {
  const auto open = [this](uint64_t first) {
    return *SubmissionLog::Open(*OpenSegmentFolder(folder), segment_bytes, first);
  };
  {
    const auto log = open(57);
    EXPECT_THAT(Replay(*log, 57), IsEmpty());
    EXPECT_TRUE(Append(*log, {"one"}).ok());
  }
  EXPECT_THAT(Replay(*open(57), 57), ElementsAre("one"));
  EXPECT_THAT(Replay(*open(3), 57), ElementsAre("one")) << "and never goes back";
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

TEST_F(SubmissionLogTest, ADamagedByteCostsItsRecordOnly) {
  { EXPECT_TRUE(Append(*Open(), {"first", "second", "third"}).ok()); }
  const std::string good = *ReadFile(Segment(1));
  const size_t second = 20 + 5, third = second + 20 + 6;
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x21);
    ASSERT_TRUE(WriteFileAtomic(Segment(1), bad).ok());
    std::filesystem::remove(Segment(1) + ".damaged");
    const std::vector<std::string> payloads = Replay(*Open());
    if (at < second) {
      EXPECT_THAT(payloads, ElementsAre("second", "third")) << at;
    } else if (at < third) {
      EXPECT_THAT(payloads, ElementsAre("first", "third")) << at;
    } else {
      EXPECT_THAT(payloads, ElementsAre("first", "second")) << at;
    }
    // A last record that seems to go on is what a kill leaves.
    const bool torn = at == third;
    EXPECT_EQ(std::filesystem::exists(Segment(1) + ".damaged"), !torn) << at;
  }
}

TEST_F(SubmissionLogTest, WhatIsLostMayBeLongOrShort) {
  { EXPECT_TRUE(Append(*Open(), {"first", std::string(500, '7'), "third"}).ok()); }
  const std::string good = *ReadFile(Segment(1));
  for (const size_t cut : {1, 7, 25, 300}) {  // bytes are missing, from the middle of the second
    ASSERT_TRUE(WriteFileAtomic(Segment(1), good.substr(0, 60) + good.substr(60 + cut)).ok());
    EXPECT_THAT(Replay(*Open()), ElementsAre("first", "third")) << cut;
  }
  for (const std::string& noise : {std::string(3000, '\0'), std::string(3000, 'a'), good.substr(0, 40)}) {
    ASSERT_TRUE(WriteFileAtomic(Segment(1), good.substr(0, 25) + noise + good.substr(25)).ok());
    EXPECT_EQ(Replay(*Open()).size(), noise.size() == 40 ? 4u : 3u) << "one of the noises begins with a record";
  }
}

TEST_F(SubmissionLogTest, ADamagedSegmentOutlivesTheLogThatIsDoneWithIt) {
  { EXPECT_TRUE(Append(*Open(), {"first", "second"}).ok()); }
  std::string bytes = *ReadFile(Segment(1));
  bytes[22] ^= 1;
  ASSERT_TRUE(WriteFileAtomic(Segment(1), bytes).ok());
  ::testing::internal::CaptureStderr();
  EXPECT_THAT(Replay(*Open()), ElementsAre("second"));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr(Segment(1) + ": 25 of 51 bytes are damaged and were passed over, the first is byte 0"),
                    HasSubstr(Segment(1) + ".damaged is the segment as it is")));
  const auto log = Open();
  EXPECT_THAT(Replay(*log), ElementsAre("second")) << "again after another restart";
  ASSERT_TRUE(log->RemoveBefore(9).ok());
  EXPECT_EQ(*ReadFile(Segment(1) + ".damaged"), bytes);
  EXPECT_FALSE(std::filesystem::exists(Segment(1) + ".damaged-2"));
  EXPECT_FALSE(std::filesystem::exists(Segment(1)));
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

TEST_F(SubmissionLogTest, ASegmentEndsWhereTheNextRecordWouldMakeItTooLarge) {
  segment_bytes = 100;
  const std::string large(150, 'x');
  {
    const auto log = Open();
    for (const char* payload : {"one", "two", "three", "four", "five"}) EXPECT_TRUE(Append(*log, {payload}).ok());
    EXPECT_TRUE(Append(*log, {large}).ok()) << "larger than a segment: has one of its own";
    EXPECT_TRUE(Append(*log, {"six", "seven"}).ok());
  }
  EXPECT_EQ(std::filesystem::file_size(Segment(1)), 23u + 23 + 25 + 24) << "the fifth would have made it 119";
  EXPECT_EQ(std::filesystem::file_size(Segment(2)), 24u);
  EXPECT_EQ(std::filesystem::file_size(Segment(3)), 170u);
  EXPECT_THAT(Replay(*Open()), ElementsAre("one", "two", "three", "four", "five", large, "six", "seven"));
  EXPECT_THAT(Replay(*Open(), 3), ElementsAre(large, "six", "seven"));
}

TEST_F(SubmissionLogTest, RecordsLieInMemoryOneAtATime) {
  constexpr size_t kMiB = size_t{1} << 20;
  const std::string a(3 * kMiB + 11, 'a'), b(kMiB - 7, 'b'), c(5 * kMiB, 'c');
  { EXPECT_TRUE(Append(*Open(), {a, "between", b, c, "end"}).ok()); }
  EXPECT_THAT(Replay(*Open(), 0, 6 * kMiB), ElementsAre(a, "between", b, c, "end"));
  std::string bytes = *ReadFile(Segment(1));
  bytes[30 + 2 * kMiB] ^= 1;
  ASSERT_TRUE(WriteFileAtomic(Segment(1), bytes).ok());
  EXPECT_THAT(Replay(*Open(), 0, 6 * kMiB), ElementsAre("between", b, c, "end"));
  bytes[1] ^= 1;  // nor is the length to be believed
  ASSERT_TRUE(WriteFileAtomic(Segment(1), bytes).ok());
  EXPECT_THAT(Replay(*Open(), 0, 6 * kMiB), ElementsAre("between", b, c, "end"));
  EXPECT_THAT(Replay(*Open(), 0, 4 * kMiB), ElementsAre("between", b, "end")) << "what is too large for the run";
}

TEST_F(SubmissionLogTest, APayloadMayLieInPieces) {
  {
    const auto log = Open();
    std::vector<SubmissionLog::Payload> payloads = {{"o", "", "ne"}, {}};
    for (int i = 0; i < 3000; ++i) payloads[1].push_back("x");  // more than a system takes at once
    EXPECT_TRUE(log->Append(payloads).ok());
  }
  EXPECT_THAT(Replay(*Open(), 0, 5000), ElementsAre("one", std::string(3000, 'x')));
}

TEST_F(SubmissionLogTest, NamesAFolderItCannotMake) {
  ASSERT_TRUE(WriteFileAtomic(folder, "a file").ok());
  EXPECT_THAT(std::string(OpenSegmentFolder(folder + "/log").status().message()), HasSubstr(folder));
}

}  // namespace
}  // namespace tactus
