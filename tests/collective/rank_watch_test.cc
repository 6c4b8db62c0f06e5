// Who is missing, as the ranks of one process tell each other over a board in memory.
#include "common/collective/rank_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/collective/shared_gpus.h"
#include "tests/collective/faulty_comm.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kSum[] = "AllReduceSum 7 of 40 bytes";

class RankWatchTest : public testing::Test {
 protected:
  // The grace is long for a loaded machine; only what looks dead or late takes it.
  std::unique_ptr<RankWatch> Watch(int rank, int world, const std::shared_ptr<MemoryBoard>& board = nullptr) {
    RankWatch::Options options;
    options.rank = rank;
    options.world = world;
    options.beat = absl::Milliseconds(10);
    options.grace = absl::Milliseconds(600);
    return std::make_unique<RankWatch>(options, board ? board : Board());
  }
  std::shared_ptr<MemoryBoard> Board() { return std::make_shared<MemoryBoard>(texts_); }

  std::string VerdictOf(RankWatch& watch) {
    watch.Arrived(7, kSum);
    watch.Failed();
    return watch.WhoIsMissing(7, kSum);
  }

  const std::shared_ptr<MemoryBoard::Texts> texts_ = std::make_shared<MemoryBoard::Texts>();
};

TEST_F(RankWatchTest, ARankThatHasNotComeIsNamedWithItsLastOperation) {
  const auto judge = Watch(1, 3), late = Watch(0, 3), fresh = Watch(2, 3);
  late->Arrived(6, "Barrier 6 of 4 bytes");
  EXPECT_EQ(VerdictOf(*judge),
            "rank 0 is alive but has not come, its last being Barrier 6 of 4 bytes, rank 2 is alive but has not come");
}

TEST_F(RankWatchTest, ARankThatDiedInTheOperationIsNamed) {
  const auto board = Board();
  const auto judge = Watch(1, 3), victim = Watch(0, 3), dead = Watch(2, 3, board);
  dead->Arrived(7, kSum);
  while (Board()->Read("record/2")->find(kSum) == std::string::npos) std::this_thread::yield();
  board->Silence();
  victim->Arrived(7, kSum);
  victim->Failed();
  EXPECT_EQ(VerdictOf(*judge), "rank 2 shows no sign of life, its last being AllReduceSum 7 of 40 bytes");
  EXPECT_EQ(victim->WhoIsMissing(7, kSum), "rank 2 shows no sign of life, its last being AllReduceSum 7 of 40 bytes");
}

TEST_F(RankWatchTest, ARankThatNeverWroteAnythingIsNamed) {
  const auto judge = Watch(0, 2);
  EXPECT_EQ(VerdictOf(*judge), "rank 1 shows no sign of life");
}

TEST_F(RankWatchTest, ARankThatLeftOrAbortedIsNamed) {
  const auto judge = Watch(1, 4), aborted = Watch(2, 4);
  Watch(0, 4).reset();
  aborted->Aborted();
  const auto failed = Watch(3, 4);
  failed->Arrived(3, "Barrier 3 of 4 bytes");
  failed->Failed();  // a victim like the judge
  EXPECT_EQ(VerdictOf(*judge), "rank 0 has left the group, rank 2 has aborted");
}

TEST_F(RankWatchTest, AFailedRankThatLeavesIsStillAVictim) {
  const auto judge = Watch(1, 2);
  auto failed = Watch(0, 2);
  failed->Arrived(7, kSum);
  failed->Failed();
  failed.reset();
  EXPECT_EQ(VerdictOf(*judge), "every rank came and lives");
}

TEST_F(RankWatchTest, AnotherOperationOrSizeIsNamed) {
  const auto judge = Watch(1, 2), other = Watch(0, 2);
  other->Arrived(7, "AllReduceSum 7 of 44 bytes");
  EXPECT_EQ(VerdictOf(*judge),
            "rank 0 came with AllReduceSum 7 of 44 bytes where this rank has AllReduceSum 7 of 40 bytes");
}

TEST_F(RankWatchTest, ARankAheadIsNotToBlame) {
  const auto judge = Watch(1, 2), other = Watch(0, 2);
  other->Arrived(9, "Barrier 9 of 4 bytes");
  EXPECT_EQ(VerdictOf(*judge), "every rank came and lives");
}

TEST_F(RankWatchTest, WithoutItsBoardRankZeroIsNamed) {
  const auto judge = Watch(1, 3);
  {
    absl::MutexLock lock(&texts_->mutex);
    texts_->gone = true;
  }
  EXPECT_THAT(VerdictOf(*judge), HasSubstr("rank 0, which holds the store"));
}

TEST_F(RankWatchTest, ABoardThatHangsIsNotWaitedFor) {
  static auto* const answers = new absl::Notification;  // the call that is left behind may still hold it at the end
  texts_->answers_after = answers;
  const auto judge = Watch(1, 3);
  EXPECT_THAT(VerdictOf(*judge), HasSubstr("rank 0, which holds the store"));
  answers->Notify();
}

TEST_F(RankWatchTest, ARecordThatIsNoneIsNotTaken) {
  const auto judge = Watch(1, 2);
  for (const char* text : {"nonsense", "9 1 2 x", "0 x 2 y", "-1 1 1 z"}) {
    ASSERT_TRUE(Board()->Write("record/0", text).ok());
    EXPECT_THAT(VerdictOf(*judge), HasSubstr("rank 0, which holds the store")) << text;
  }
}

TEST_F(RankWatchTest, TheLateRankLearnsThatTheOthersWaited) {
  const auto judge = Watch(1, 2), other = Watch(0, 2);
  other->Arrived(8, "Barrier 8 of 4 bytes");
  other->Failed();
  EXPECT_EQ(VerdictOf(*judge), "the others had waited for this rank");
}

TEST_F(RankWatchTest, TroubleOfOneRankReachesTheOthersOnce) {
  const auto board = Board();
  const auto failing = Watch(0, 3), first = Watch(1, 3), second = Watch(2, 3);
  std::atomic<int> calls = 0;
  absl::Notification first_called, second_called;
  first->OnTrouble([&] {
    ++calls;
    first_called.Notify();  // twice would be fatal
  });
  second->OnTrouble([&] {
    ++calls;
    second_called.Notify();
  });
  EXPECT_EQ(calls, 0);
  failing->Failed();
  EXPECT_TRUE(first_called.WaitForNotificationWithTimeout(absl::Seconds(30)));
  EXPECT_TRUE(second_called.WaitForNotificationWithTimeout(absl::Seconds(30)));
  first->Failed();
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(calls, 2);
}

// The rank that holds the board may be gone before anybody has read that it gave up.
TEST_F(RankWatchTest, ABoardThatIsGoneIsTrouble) {
  const auto watch = Watch(1, 3);
  absl::Notification called;
  watch->OnTrouble([&] { called.Notify(); });
  EXPECT_FALSE(called.WaitForNotificationWithTimeout(absl::Milliseconds(100)));
  {
    absl::MutexLock lock(&texts_->mutex);
    texts_->gone = true;
  }
  EXPECT_TRUE(called.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST_F(RankWatchTest, RanksMeetAndTellTheirPlaces) {
  std::vector<std::thread> others;
  for (int rank : {1, 2}) {
    others.emplace_back([this, rank] {
      const auto places = MeetRanks(*Board(), rank, 3, "gpu" + std::to_string(rank), absl::Seconds(30));
      EXPECT_TRUE(places.ok()) << places.status();
    });
  }
  const auto places = MeetRanks(*Board(), 0, 3, "a place", absl::Seconds(30));
  for (std::thread& other : others) other.join();
  ASSERT_TRUE(places.ok()) << places.status();
  EXPECT_THAT(*places, ElementsAre("a place", "gpu1", "gpu2"));
}

TEST_F(RankWatchTest, WhoDoesNotComeIsNamed) {
  const absl::Status status = MeetRanks(*Board(), 1, 4, "", absl::Milliseconds(50)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "ranks 0, 2, 3 did not come within 50ms");
}

TEST_F(RankWatchTest, ARankOfAnotherWorldIsRefused) {
  ASSERT_FALSE(MeetRanks(*Board(), 0, 2, "", absl::ZeroDuration()).ok());
  const absl::Status status = MeetRanks(*Board(), 1, 3, "", absl::Seconds(30)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "rank 0 was started for a world of 2, rank 1 for one of 3");
}

TEST_F(RankWatchTest, ASecondProcessOfARankIsRefused) {
  ASSERT_FALSE(MeetRanks(*Board(), 0, 2, "", absl::ZeroDuration()).ok());
  const absl::Status status = MeetRanks(*Board(), 0, 2, "", absl::Seconds(30)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(status.message(), "two processes came as rank 0");
}

TEST_F(RankWatchTest, ARefusalEndsTheWaitOfAllOthers) {
  std::thread refused([this] {
    while (MeetRanks(*Board(), 1, 2, "", absl::ZeroDuration()).status().code() != absl::StatusCode::kAlreadyExists) {
    }
  });
  const absl::Status status = MeetRanks(*Board(), 0, 3, "", absl::Seconds(60)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  refused.join();
}

TEST(SharedGpusTest, RanksShareAGpuOnlyWhereNcclCan) {
  EXPECT_TRUE(CheckSharedGpus({"a", "b", "c"}, 22809, false).ok());
  EXPECT_TRUE(CheckSharedGpus({"a", "b", "a"}, 23000, true).ok());
  const absl::Status old = CheckSharedGpus({"a", "b", "b"}, 22809, true);
  EXPECT_EQ(old.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(old.message(),
            "Ranks 1 and 2 share the GPU b: NCCL 2.28.9 cannot do that, 2.30.0 and newer can; give each rank a GPU.");
  const absl::Status unset = CheckSharedGpus({"a", "b", "a"}, 23004, false);
  EXPECT_EQ(unset.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(unset.message(),
            "Ranks 0 and 2 share the GPU a: give each rank a GPU, or set NCCL_MULTI_RANK_GPU_ENABLE=1 for NCCL "
            "2.30.4.");
}

}  // namespace
}  // namespace tactus
