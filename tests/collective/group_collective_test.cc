// The logic of a group over a twin that hangs, fails and dies at will.
#include "common/collective/group_collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "common/collective/connect_bounded.h"
#include "tests/collective/faulty_comm.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = CommRequest::Kind;

// Rank 0 of a world of two, whose rank 1 is what a test makes of it.
class GroupCollectiveTest : public testing::Test {
 protected:
  std::unique_ptr<GroupCollective> Group(absl::Duration timeout = absl::Seconds(30)) {
    CollectiveOptions options;
    options.world = 2;
    options.timeout = timeout;
    options.on_overdue = [this](const std::string& what) {
      absl::MutexLock lock(&told_mutex_);
      overdue_.push_back(what);
    };
    RankWatch::Options watch;
    watch.world = 2;
    watch.grace = absl::Milliseconds(100);
    GroupPatience patience;
    patience.abort = abort_patience_;
    patience.end_process = [this](const std::string& sentence) {
      absl::MutexLock lock(&told_mutex_);
      last_words_.push_back(sentence);
      if (!script_.unstuck.HasBeenNotified()) script_.unstuck.Notify();
    };
    return std::make_unique<GroupCollective>(options, std::make_shared<FaultyBackend>(script_),
                                             std::make_unique<RankWatch>(watch, std::make_shared<MemoryBoard>(texts_)),
                                             patience);
  }
  std::vector<std::string> Overdue() {
    absl::MutexLock lock(&told_mutex_);
    return overdue_;
  }
  // What the process would have ended with.
  std::vector<std::string> LastWords() {
    absl::MutexLock lock(&told_mutex_);
    return last_words_;
  }

  std::vector<size_t> RequestBytes() {
    absl::MutexLock lock(&script_.mutex);
    std::vector<size_t> bytes;
    for (const CommRequest& request : script_.requests) bytes.push_back(request.values.size());
    return bytes;
  }
  std::vector<size_t> Collected() {
    absl::MutexLock lock(&script_.mutex);
    return script_.collected;
  }
  int Aborts() {
    absl::MutexLock lock(&script_.mutex);
    return script_.aborts;
  }

  // Every call after an error.
  void ExpectUnusable(Collective& group) {
    std::vector<float> values(3);
    std::vector<double> doubles(4);
    std::vector<char> bytes(5);
    for (const absl::Status& status :
         {group.StartAllReduceSum(values), group.StartReduceScatterSum(values), group.StartAllGather(bytes, 1),
          group.Wait(), group.AllReduceSum(std::span<float>(values)), group.AllReduceSum(std::span<double>(doubles)),
          group.Barrier(), group.Broadcast(bytes, 0), group.AllGather(std::span(doubles).first(2), doubles)})
      EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  }

  FaultyScript script_;
  absl::Duration abort_patience_ = absl::Seconds(30);
  absl::Mutex told_mutex_;
  std::vector<std::string> overdue_ ABSL_GUARDED_BY(told_mutex_), last_words_ ABSL_GUARDED_BY(told_mutex_);
  const std::shared_ptr<MemoryBoard::Texts> texts_ = std::make_shared<MemoryBoard::Texts>();
};

TEST_F(GroupCollectiveTest, StartedOperationsAreCollectedInOrderByWait) {
  const auto group = Group();
  std::vector<float> a = {1, 2}, b = {3}, c = {4, 5, 6};
  ASSERT_TRUE(group->StartAllReduceSum(a).ok());
  ASSERT_TRUE(group->StartAllReduceSum(b).ok());
  ASSERT_TRUE(group->StartAllReduceSum(c).ok());
  EXPECT_THAT(Collected(), ElementsAre());
  EXPECT_THAT(a, ElementsAre(1, 2));  // nothing happens to it before Wait
  ASSERT_TRUE(group->Wait().ok());
  EXPECT_THAT(Collected(), ElementsAre(0u, 1u, 2u));
  EXPECT_THAT(a, ElementsAre(2, 4));
  EXPECT_THAT(b, ElementsAre(6));
  EXPECT_THAT(c, ElementsAre(8, 10, 12));
  EXPECT_TRUE(group->Wait().ok());  // for nothing
}

TEST_F(GroupCollectiveTest, ABlockingCallWaitsForWhatWasStarted) {
  const auto group = Group();
  std::vector<float> a = {1}, b = {2};
  ASSERT_TRUE(group->StartAllReduceSum(a).ok());
  ASSERT_TRUE(group->AllReduceSum(std::span<float>(b)).ok());
  EXPECT_THAT(a, ElementsAre(2));
  EXPECT_THAT(b, ElementsAre(4));
}

TEST_F(GroupCollectiveTest, LongValuesAreCutAtWholeElements) {
  script_.limits.piece_bytes = 20;
  const auto group = Group();
  std::vector<float> floats = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  ASSERT_TRUE(group->AllReduceSum(std::span<float>(floats)).ok());
  EXPECT_THAT(RequestBytes(), ElementsAre(20u, 20u, 8u));
  EXPECT_THAT(floats, ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22));
  std::vector<double> doubles(3);
  ASSERT_TRUE(group->AllReduceSum(std::span<double>(doubles)).ok());
  EXPECT_THAT(RequestBytes(), ElementsAre(20u, 20u, 8u, 16u, 8u));
}

TEST_F(GroupCollectiveTest, ABoundedNumberIsInFlight) {
  script_.limits.max_in_flight = 2;
  const auto group = Group();
  std::vector<float> values(5, 1.0f);
  for (float& value : values) ASSERT_TRUE(group->StartAllReduceSum(std::span<float>(&value, 1)).ok());
  EXPECT_THAT(Collected(), ElementsAre(0u, 1u, 2u));
  ASSERT_TRUE(group->Wait().ok());
  EXPECT_THAT(values, testing::Each(2.0f));
}

TEST_F(GroupCollectiveTest, NothingToSendStillMeetsTheOthers) {
  const auto group = Group();
  ASSERT_TRUE(group->AllReduceSum(std::span<float>()).ok());
  ASSERT_TRUE(group->AllReduceSum(std::span<double>()).ok());
  ASSERT_TRUE(group->Broadcast({}, 1).ok());
  ASSERT_TRUE(group->AllGather({}, {}).ok());
  ASSERT_TRUE(group->StartReduceScatterSum({}).ok());
  ASSERT_TRUE(group->Wait().ok());
  EXPECT_THAT(RequestBytes(), ElementsAre(4u, 4u, 4u, 4u, 4u));
}

TEST_F(GroupCollectiveTest, SlicesAreOfWholeElementsAndNeverCut) {
  script_.limits.piece_bytes = 8;
  const auto group = Group();
  std::vector<float> floats(7);
  std::vector<char> halves(14);
  ASSERT_TRUE(group->StartReduceScatterSum(floats).ok());
  ASSERT_TRUE(group->StartAllGather(halves, 2).ok());
  ASSERT_TRUE(group->Wait().ok());
  EXPECT_THAT(RequestBytes(), ElementsAre(28u, 14u));
  absl::MutexLock lock(&script_.mutex);
  EXPECT_EQ(script_.requests[0].slice_bytes, 16u);
  EXPECT_EQ(script_.requests[1].slice_bytes, 8u);
}

TEST(SliceOfTest, SlicesAreEvenBeginAtTheFrontAndCoverAll) {
  EXPECT_EQ(SliceOf(8, 2, 1), (Slice{4, 8}));
  EXPECT_EQ(SliceOf(7, 2, 1), (Slice{4, 7}));
  EXPECT_EQ(SliceOf(5, 4, 3), (Slice{5, 5}));
  EXPECT_EQ(SliceOf(0, 3, 2), (Slice{0, 0}));
  for (size_t count = 0; count < 40; ++count) {
    for (int size = 1; size < 9; ++size) {
      size_t end = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Slice slice = SliceOf(count, size, rank);
        EXPECT_EQ(slice.begin, end);
        EXPECT_TRUE(slice.size() == SliceOf(count, size, 0).size() || slice.end == count);
        end = slice.end;
      }
      EXPECT_EQ(end, count);
    }
  }
}

TEST_F(GroupCollectiveTest, ALibraryWithoutCallbacksIsPolled) {
  script_.wakes = false;
  script_.limits.poll_interval = absl::Milliseconds(1);
  const auto group = Group();
  EXPECT_TRUE(group->Barrier().ok());
}

TEST_F(GroupCollectiveTest, WrongSizesAreRefusedAndHarmless) {
  const auto group = Group();
  std::vector<double> doubles(3);
  EXPECT_EQ(group->AllGather(std::span(doubles).first(1), doubles).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(group->Broadcast({}, 2).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(group->Broadcast({}, -1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(group->Barrier().ok());
}

TEST_F(GroupCollectiveTest, AHangEndsInATimeoutThatNamesTheSilentRank) {
  script_.faults[1] = Fault::kHang;
  const auto group = Group(absl::Milliseconds(50));
  std::vector<float> a = {1}, b = {2}, c = {3};
  ASSERT_TRUE(group->StartAllReduceSum(a).ok());
  ASSERT_TRUE(group->StartAllReduceSum(b).ok());
  ASSERT_TRUE(group->StartAllReduceSum(c).ok());
  const absl::Status status = group->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "AllReduceSum on rank 0 of 2: timed out after 50ms; rank 1 shows no sign of life.");
  EXPECT_THAT(a, ElementsAre(2));
  EXPECT_THAT(b, ElementsAre(2));
  EXPECT_THAT(c, ElementsAre(3));
  EXPECT_EQ(Aborts(), 1);
  ExpectUnusable(*group);
  EXPECT_EQ(Aborts(), 1);
}

TEST_F(GroupCollectiveTest, AnErrorOnTheWayIsToldInTheLibrarysWords) {
  script_.faults[1] = Fault::kError;
  const auto group = Group();
  std::vector<float> a = {1}, b = {2}, c = {3};
  ASSERT_TRUE(group->StartAllReduceSum(a).ok());
  ASSERT_TRUE(group->StartAllReduceSum(b).ok());
  ASSERT_TRUE(group->StartAllReduceSum(c).ok());
  const absl::Status status = group->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("AllReduceSum on rank 0 of 2: the twin's cable was cut; rank 1"));
  EXPECT_THAT(Collected(), ElementsAre(0u, 1u));
  EXPECT_THAT(c, ElementsAre(3));
  EXPECT_EQ(Aborts(), 1);
  ExpectUnusable(*group);
}

TEST_F(GroupCollectiveTest, AnOperationThatCannotStartBreaksTheGroup) {
  script_.faults[0] = Fault::kRefuse;
  const auto group = Group();
  const absl::Status status = group->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Barrier on rank 0 of 2: the twin refuses"));
  EXPECT_EQ(Aborts(), 1);
  ExpectUnusable(*group);
}

TEST_F(GroupCollectiveTest, StartingBeyondTheBoundFailsWithTheOldest) {
  script_.limits.max_in_flight = 1;
  script_.faults[0] = Fault::kError;
  const auto group = Group();
  std::vector<float> a = {1}, b = {2};
  ASSERT_TRUE(group->StartAllReduceSum(a).ok());
  EXPECT_EQ(group->StartAllReduceSum(b).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(group->Wait().code(), absl::StatusCode::kAborted);
}

// As NCCL's first operation does, where a rank is gone that it would be connected to: no operation is there to be
// waited for, and the thread that trains is inside the library.
TEST_F(GroupCollectiveTest, AStartThatHangsEndsInATimeoutWithTheCommunicatorAborted) {
  script_.faults[0] = Fault::kStartHangs;
  const auto group = Group(absl::Milliseconds(50));
  const absl::Status status = group->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "Barrier on rank 0 of 2: timed out after 50ms; rank 1 shows no sign of life.");
  EXPECT_EQ(Aborts(), 1);
  ASSERT_EQ(Overdue().size(), 1u);
  EXPECT_THAT(Overdue()[0], testing::MatchesRegex("starting Barrier 1 of 4 bytes has not returned for .*ms, longer "
                                                  "than 50ms"));
  EXPECT_THAT(LastWords(), ElementsAre());
  ExpectUnusable(*group);
}

TEST_F(GroupCollectiveTest, ACollectThatHangsIsAbortedToo) {
  script_.faults[0] = Fault::kCollectHangs;
  const auto group = Group(absl::Milliseconds(50));
  EXPECT_EQ(group->Barrier().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Aborts(), 1);
  EXPECT_THAT(LastWords(), ElementsAre());
}

TEST_F(GroupCollectiveTest, ACallThatNotEvenAnAbortEndsEndsTheProcess) {
  script_.faults[0] = Fault::kStartIsStuck;
  abort_patience_ = absl::Milliseconds(60);
  const auto group = Group(absl::Milliseconds(50));
  EXPECT_FALSE(group->Barrier().ok());  // as the process did not really end
  EXPECT_EQ(Aborts(), 1);
  EXPECT_THAT(LastWords(),
              ElementsAre("Rank 0 of 2: starting Barrier 1 of 4 bytes did not return within 60ms after the "
                          "communicator was aborted: the process ends."));
}

TEST_F(GroupCollectiveTest, AnAbortThatHangsEndsTheProcess) {
  script_.faults[0] = Fault::kHang;
  script_.before_abort_ends = &script_.unstuck;
  abort_patience_ = absl::Milliseconds(60);
  const auto group = Group(absl::Milliseconds(50));
  EXPECT_EQ(group->Barrier().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(LastWords(), ElementsAre("Rank 0 of 2: the communicator was not aborted within 60ms, and may still use "
                                       "memory: the process ends."));
}

// The other rank's trouble does not wait for the timeout.
TEST_F(GroupCollectiveTest, AnotherRanksTroubleEndsAStartThatHangs) {
  script_.faults[0] = Fault::kStartHangs;
  const auto group = Group(absl::Minutes(10));
  RankWatch::Options options;
  options.rank = 1;
  options.world = 2;
  RankWatch neighbour(options, std::make_shared<MemoryBoard>(texts_));
  neighbour.Aborted();
  EXPECT_EQ(group->Barrier().message(), "Barrier on rank 0 of 2: another rank has given up; rank 1 has aborted.");
  EXPECT_EQ(Aborts(), 1);
}

TEST_F(GroupCollectiveTest, AnOperationWhoseEndCannotBeAskedForBreaksTheGroup) {
  script_.faults[0] = Fault::kLost;
  const auto group = Group();
  const absl::Status status = group->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Barrier on rank 0 of 2: the twin lost its event"));
  EXPECT_THAT(Collected(), ElementsAre());
  ExpectUnusable(*group);
}

// The board is rank 0's, a network away.
TEST_F(GroupCollectiveTest, NoOperationWritesToTheBoardOnItsThread) {
  const auto group = Group();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(group->Barrier().ok());
  absl::MutexLock lock(&texts_->mutex);
  EXPECT_EQ(texts_->writes[std::this_thread::get_id()], 0);
  EXPECT_FALSE(texts_->writes.empty()) << "signs of life";
}

TEST_F(GroupCollectiveTest, ACommunicatorThatNeverConnectsIsLeftBehindInTime) {
  const auto backend = std::make_shared<FaultyBackend>(script_);
  std::atomic<int> over = 0;
  const auto connect = [this, &over](bool aborts) {
    return [this, &over, aborts] {
      (aborts ? script_.aborted : script_.unstuck).WaitForNotification();
      ++over;
      return absl::UnavailableError("too late");
    };
  };
  const absl::Duration soon = absl::Milliseconds(50);
  EXPECT_EQ(ConnectBounded(backend, soon, soon, connect(true)),
            absl::DeadlineExceededError("no communicator within 50ms"));
  EXPECT_EQ(Aborts(), 1);
  script_.before_abort_ends = &script_.unstuck;  // now its end hangs as well
  EXPECT_EQ(ConnectBounded(backend, soon, soon, connect(false)),
            absl::DeadlineExceededError("no communicator within 50ms"));
  EXPECT_EQ(Aborts(), 2);
  script_.unstuck.Notify();
  while (over < 2 || backend.use_count() > 1) std::this_thread::yield();  // the threads that were left behind
  EXPECT_EQ(ConnectBounded(backend, soon, soon, [] { return absl::OkStatus(); }), absl::OkStatus());
  EXPECT_EQ(ConnectBounded(backend, soon, soon, [] { return absl::UnavailableError("no route"); }),
            absl::UnavailableError("no route"));
  EXPECT_EQ(Aborts(), 3);
}

// The waiting thread may give its memory back when it returns: only after the library has let go of it.
TEST_F(GroupCollectiveTest, AbortFromAnotherThreadFreesTheWaitingOneWhenTheLibraryHasLetGo) {
  absl::Notification end_abort;
  script_.before_abort_ends = &end_abort;
  script_.faults[0] = Fault::kHang;
  const auto group = Group();
  std::thread abort([&] { group->Abort(); });
  std::thread end([&] {
    while (Aborts() == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    end_abort.Notify();
  });
  const absl::Status status = group->Barrier();
  {
    absl::MutexLock lock(&script_.mutex);
    EXPECT_TRUE(script_.abort_ended || script_.requests.empty());
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  abort.join();
  end.join();
  group->Abort();
  EXPECT_EQ(Aborts(), 1);
  ExpectUnusable(*group);
}

TEST_F(GroupCollectiveTest, LeavingOperationsBehindAborts) {
  script_.faults[0] = Fault::kHang;
  std::vector<float> values = {1};
  auto group = Group();
  ASSERT_TRUE(group->StartAllReduceSum(values).ok());
  group.reset();
  EXPECT_EQ(Aborts(), 1);
  group = Group();
  group.reset();
  EXPECT_EQ(Aborts(), 1);  // nothing was in flight
}

// Its connections are closed, its threads freed, though nobody called it after the other rank's trouble.
TEST_F(GroupCollectiveTest, ABrokenGroupEndsItsBackendAtTheLatestWhenItGoes) {
  auto group = Group();
  RankWatch::Options options;
  options.rank = 1;
  options.world = 2;
  RankWatch neighbour(options, std::make_shared<MemoryBoard>(texts_));
  neighbour.Aborted();
  absl::SleepFor(absl::Milliseconds(300));  // more than a beat; without the news the group just goes
  group.reset();
  EXPECT_EQ(Aborts(), 1);
}

// The blame is for the operation that failed, not for the later ones that this rank has started as well.
TEST_F(GroupCollectiveTest, ARankThatIsAheadOfTheFailureIsNotBlamed) {
  script_.faults[1] = Fault::kError;
  const auto group = Group();
  RankWatch::Options options;
  options.rank = 1;
  options.world = 2;
  RankWatch neighbour(options, std::make_shared<MemoryBoard>(texts_));
  neighbour.Arrived(2, "AllReduceSum 2 of 4 bytes");
  std::vector<float> values(4, 1.0f);
  for (float& value : values) ASSERT_TRUE(group->StartAllReduceSum(std::span<float>(&value, 1)).ok());
  EXPECT_THAT(std::string(group->Wait().message()), testing::Not(HasSubstr("has not come")));
}

TEST_F(GroupCollectiveTest, AWakeThatComesTooLateIsHarmless) {
  auto group = Group();
  ASSERT_TRUE(group->Barrier().ok());
  group.reset();
  absl::MutexLock lock(&script_.mutex);
  ASSERT_EQ(script_.wakers.size(), 1u);
  script_.wakers[0]();
}

// NCCL does not notice that another rank has given up; the board tells.
TEST_F(GroupCollectiveTest, AnotherRanksTroubleEndsAHang) {
  script_.faults[0] = Fault::kHang;
  const auto group = Group();
  RankWatch::Options options;
  options.rank = 1;
  options.world = 2;
  RankWatch neighbour(options, std::make_shared<MemoryBoard>(texts_));
  neighbour.Aborted();
  const absl::Status status = group->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "Barrier on rank 0 of 2: another rank has given up; rank 1 has aborted.");
  EXPECT_EQ(Aborts(), 1);
  ExpectUnusable(*group);
}

TEST_F(GroupCollectiveTest, TroubleBetweenTwoCallsIsToldByTheNext) {
  const auto group = Group();
  RankWatch::Options options;
  options.rank = 1;
  options.world = 2;
  RankWatch neighbour(options, std::make_shared<MemoryBoard>(texts_));
  neighbour.Aborted();
  absl::Status status;
  while (status.ok()) status = group->Wait();
  EXPECT_EQ(status.message(), "Wait on rank 0 of 2: another rank has given up; rank 1 has aborted.");
  ExpectUnusable(*group);
}

TEST_F(GroupCollectiveTest, TheNeighbourReadsOfAnAbort) {
  const auto group = Group();
  group->Abort();
  RankWatch::Options options;
  options.rank = 1;
  options.world = 2;
  RankWatch neighbour(options, std::make_shared<MemoryBoard>(texts_));
  neighbour.Arrived(1, "Barrier 1 of 4 bytes");
  neighbour.Failed();
  EXPECT_EQ(neighbour.WhoIsMissing(1, "Barrier 1 of 4 bytes"), "rank 0 has aborted");
}

}  // namespace
}  // namespace tactus
