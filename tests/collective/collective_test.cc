// The Collective's contract, with one real process per rank.
#include "common/collective/collective.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace tactus {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

struct RankResult {
  int wait_status = -1;
  double seconds = 0;  // until the process was gone
  std::string output;
  bool Succeeded() const { return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0; }
};

class Ranks {
 public:
  Ranks(const std::string& scenario, int first, int world, int timeout_ms) : start_(Clock::now()) {
    const std::string program = std::string(TACTUS_BINARY_DIR) + "/bin/collective_rank";
    const std::string port = std::to_string(FreePort());
    for (int rank = first; rank < world; ++rank) {
      outputs_.push_back(testing::TempDir() + "/collective_" + scenario + port + "_" + std::to_string(rank));
      const std::string rank_text = std::to_string(rank), world_text = std::to_string(world),
                        timeout_text = std::to_string(timeout_ms);
      const pid_t pid = fork();
      if (pid == 0) {
        const int out = open(outputs_.back().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, STDOUT_FILENO);
        execl(program.c_str(), program.c_str(), scenario.c_str(), rank_text.c_str(), world_text.c_str(), port.c_str(),
              timeout_text.c_str(), nullptr);
        _exit(127);
      }
      pids_.push_back(pid);
    }
  }

  // A rank still there after 30 s is killed: its wait status tells.
  std::vector<RankResult> Join() {
    std::vector<RankResult> results(pids_.size());
    for (size_t left = pids_.size(); left > 0; std::this_thread::sleep_for(std::chrono::milliseconds(10))) {
      const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
      for (size_t i = 0; i < pids_.size(); ++i) {
        if (results[i].wait_status != -1) continue;
        if (seconds > 30) kill(pids_[i], SIGKILL);
        if (waitpid(pids_[i], &results[i].wait_status, seconds > 30 ? 0 : WNOHANG) != pids_[i]) {
          results[i].wait_status = -1;
          continue;
        }
        results[i].seconds = seconds;
        std::ostringstream text;
        text << std::ifstream(outputs_[i]).rdbuf();
        results[i].output = text.str();
        unlink(outputs_[i].c_str());
        --left;
      }
    }
    return results;
  }

 private:
  const Clock::time_point start_;
  std::vector<pid_t> pids_;
  std::vector<std::string> outputs_;
};

TEST(CollectiveTest, AGroupOfOneNeedsNothing) {
  auto group = CreateCollective({});
  ASSERT_TRUE(group.ok());
  std::vector<float> values = {1, 2};
  std::vector<double> doubles = {3}, gathered(1);
  EXPECT_TRUE((*group)->AllReduceSum(std::span<float>(values)).ok());
  EXPECT_EQ(values, (std::vector<float>{1, 2}));
  EXPECT_TRUE((*group)->AllGather(doubles, gathered).ok());
  EXPECT_EQ(gathered[0], 3);
  EXPECT_FALSE((*group)->AllGather(doubles, {}).ok());
  EXPECT_FALSE((*group)->Broadcast({}, 1).ok());
  (*group)->Abort();
  EXPECT_EQ((*group)->Barrier().code(), absl::StatusCode::kAborted);
  EXPECT_EQ((*group)->AllReduceSum(std::span<float>(values)).code(), absl::StatusCode::kAborted);
}

TEST(CollectiveTest, ImpossibleOptionsAreRefused) {
  CollectiveOptions options;
  options.world = 0;
  EXPECT_EQ(CreateCollective(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.world = 2;
  options.rank = 2;
  EXPECT_THAT(std::string(CreateCollective(options).status().message()), HasSubstr("rank 2 does not exist"));
  options.rank = 1;
  EXPECT_THAT(std::string(CreateCollective(options).status().message()), HasSubstr("port 0"));
  options.store_port = 80;
  options.timeout = absl::ZeroDuration();
  EXPECT_THAT(std::string(CreateCollective(options).status().message()), HasSubstr("timeout"));
}

TEST(CollectiveTest, AMissingStoreIsNamed) {
  CollectiveOptions options;
  options.world = 2;
  options.rank = 1;
  options.store_port = FreePort();
  options.timeout = absl::Seconds(1);
  const absl::Status status = CreateCollective(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:" + std::to_string(options.store_port)));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Rank 1 of 2"));
}

class CollectiveWorldTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Worlds, CollectiveWorldTest, testing::Values(2, 3, 4));

TEST_P(CollectiveWorldTest, EveryOperationIsExactAndRepeats) {
  std::string first_bits;
  for (int run = 0; run < (GetParam() == 3 ? 2 : 1); ++run) {
    for (const RankResult& rank : Ranks("sums", 0, GetParam(), 30000).Join()) {
      EXPECT_TRUE(rank.Succeeded()) << rank.output;
      EXPECT_THAT(rank.output, HasSubstr("bits"));
      if (first_bits.empty()) first_bits = rank.output;
      EXPECT_EQ(rank.output, first_bits);
    }
  }
}

// The timeout also bounds the meeting at the start, so it leaves room for a slow one.
TEST(CollectiveTest, AMissingRankEndsInATimeout) {
  const std::vector<RankResult> ranks = Ranks("timeout", 0, 3, 5000).Join();
  bool deadline_seen = false;
  for (const RankResult& rank : ranks) {
    EXPECT_TRUE(rank.Succeeded()) << rank.output;
    deadline_seen = deadline_seen || rank.output.find("DEADLINE_EXCEEDED") != std::string::npos;
  }
  EXPECT_TRUE(deadline_seen);
}

// The timeout of 60 s is longer than Join's patience: only Abort and the closed connections can end the waits.
TEST_P(CollectiveWorldTest, AbortFreesThisRankAndTheOthers) {
  for (const RankResult& rank : Ranks("abort", 0, GetParam(), 60000).Join()) {
    EXPECT_TRUE(rank.Succeeded()) << rank.output << " after " << rank.seconds << " s";
  }
}

TEST_P(CollectiveWorldTest, AKilledRankEndsTheOthers) {
  const std::vector<RankResult> ranks = Ranks("kill", 0, GetParam(), 60000).Join();
  for (const RankResult& rank : ranks) {
    if (&rank == &ranks.back()) {
      EXPECT_TRUE(WIFSIGNALED(rank.wait_status));
    } else {
      EXPECT_TRUE(rank.Succeeded()) << rank.output << " after " << rank.seconds << " s";
    }
  }
}

TEST(CollectiveTest, ARankThatNeverJoinsIsNotWaitedForLonger) {
  for (const RankResult& rank : Ranks("sums", 1, 3, 1000).Join()) {
    EXPECT_TRUE(WIFEXITED(rank.wait_status) && WEXITSTATUS(rank.wait_status) == 3) << rank.output;
    EXPECT_THAT(rank.output, HasSubstr("UNAVAILABLE"));
  }
}

}  // namespace
}  // namespace tactus
