// The Collective's contract, with one real process per rank.
#include "common/collective/collective.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/base/listen_socket.h"
#include "common/collective/gloo_collective.h"
#include "common/collective/own_address.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Clock = std::chrono::steady_clock;

struct RankResult {
  int wait_status = -1;
  double seconds = 0;  // until the process was gone
  std::string output;
  bool ExitedWith(int code) const { return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == code; }
};
std::ostream& operator<<(std::ostream& out, const RankResult& rank) {
  return out << "wait status " << rank.wait_status << " after " << rank.seconds << " s: " << rank.output;
}

struct Launch {
  std::string scenario;
  int world = 2;
  int timeout_ms = 30000;
  std::vector<std::string> devices = {};  // by rank; the last for all after it; none: cpu
  std::vector<int> ranks = {};            // none: all of the world
  std::vector<int> worlds = {};           // told to each; none: the true one
  std::string host = "127.0.0.1";         // of the store
  std::string interfaces = {};            // GLOO_SOCKET_IFNAME
};

// The processes of one group.
class Ranks {
 public:
  explicit Ranks(const Launch& launch) : start_(Clock::now()) {
    const std::string program = BuildPath("bin/collective_rank");
    const std::string port = std::to_string(FreePort().value());
    std::vector<int> ranks = launch.ranks;
    for (int rank = 0; launch.ranks.empty() && rank < launch.world; ++rank) ranks.push_back(rank);
    for (size_t i = 0; i < ranks.size(); ++i) {
      outputs_.push_back(testing::TempDir() + "/collective_" + launch.scenario + port + "_" + std::to_string(i));
      const size_t place = std::min(i, std::max<size_t>(launch.devices.size(), 1) - 1);
      std::vector<std::string> arguments = {
          program,
          launch.scenario,
          std::to_string(ranks[i]),
          std::to_string(launch.worlds.empty() ? launch.world : launch.worlds[i]),
          HostPort{launch.host, std::stoi(port)}.Text(),
          std::to_string(launch.timeout_ms),
          launch.devices.empty() ? "cpu" : launch.devices[place],
      };
      std::vector<char*> argv;
      argv.reserve(arguments.size() + 1);
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      const pid_t pid = fork();
      if (pid == 0) {
        const int out = open(outputs_.back().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, STDOUT_FILENO);
        if (!launch.interfaces.empty()) setenv("GLOO_SOCKET_IFNAME", launch.interfaces.c_str(), 1);
        execv(program.c_str(), argv.data());
        _exit(127);
      }
      pids_.push_back(pid);
    }
  }

  // By rank. A rank still there after 30 s is killed: its wait status tells. With `last_waits` the last rank is one
  // that waits to be killed when the others are through.
  std::vector<RankResult> Join(bool last_waits = false) {
    std::vector<RankResult> results(pids_.size());
    for (size_t left = pids_.size(); left > 0; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
      const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
      const bool too_long = seconds > 30;
      if (last_waits && left == 1) kill(pids_.back(), SIGKILL);
      for (size_t i = 0; i < pids_.size(); ++i) {
        if (results[i].wait_status != -1) continue;
        if (too_long) kill(pids_[i], SIGKILL);
        if (waitpid(pids_[i], &results[i].wait_status, too_long ? 0 : WNOHANG) != pids_[i]) {
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

// c10d keeps one map of the process's groups, which threads that form groups at once used to break.
TEST(CollectiveTest, GroupsOfOneProcessAreFormedAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([] {
      for (int group = 0; group < 100; ++group) ASSERT_TRUE(CreateGlooCollective({.store_host = "127.0.0.1"}).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
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
  options.store_port = FreePort().value();
  options.timeout = absl::Seconds(1);
  const absl::Status status = CreateCollective(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:" + std::to_string(options.store_port)));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Rank 1 of 2"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("nobody served it for 1s"));
}

TEST(CollectiveTest, DevicesThatAreNoneAreRefused) {
  CollectiveOptions options;
  for (const char* device : {"", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "cuda:128", "CPU"}) {
    options.device = device;
    EXPECT_EQ(CreateCollective(options).status().code(), absl::StatusCode::kInvalidArgument) << device;
    EXPECT_THAT(std::string(CreateCollective(options).status().message()), HasSubstr("must be cpu or cuda:N"));
  }
}

TEST(CollectiveTest, RanksThatNeverJoinAreNamed) {
  const auto ranks = Ranks({.scenario = "sums", .world = 4, .timeout_ms = 1500, .ranks = {0, 2}}).Join();
  for (const RankResult& rank : ranks) {
    EXPECT_TRUE(rank.ExitedWith(3)) << rank;
    EXPECT_THAT(rank.output, HasSubstr("UNAVAILABLE"));
  }
  // Rank 2 may find rank 0 gone by then, and the store with it.
  EXPECT_THAT(ranks[0].output, HasSubstr("Rank 0 of 4 joining the store at 127.0.0.1"));
  EXPECT_THAT(ranks[0].output, ContainsRegex("ranks? (1, )?(2, )?3 did not come within 1.5s"));
}

TEST(CollectiveTest, RanksOfDifferentWorldsDoNotJoin) {
  const std::vector<RankResult> ranks =
      Ranks({.scenario = "sums", .world = 2, .timeout_ms = 20000, .worlds = {3, 2}}).Join();
  for (const RankResult& rank : ranks) EXPECT_TRUE(rank.ExitedWith(3)) << rank;
  EXPECT_THAT(ranks[0].output + ranks[1].output, HasSubstr("was started for a world of"));
}

TEST(CollectiveTest, TwoProcessesOfOneRankDoNotJoin) {
  const auto ranks = Ranks({.scenario = "sums", .world = 3, .timeout_ms = 20000, .ranks = {0, 1, 1}}).Join();
  for (const RankResult& rank : ranks) EXPECT_TRUE(rank.ExitedWith(3)) << rank;
  EXPECT_THAT(ranks[1].output + ranks[2].output, HasSubstr("two processes came as rank 1"));
}

TEST(CollectiveTest, RanksMeetOverIpv6) {
  if (!ListenSocket::Open({"::1", 0}).ok()) GTEST_SKIP() << "this machine has no IPv6";
  for (const RankResult& rank : Ranks({.scenario = "probe", .host = "::1"}).Join())
    EXPECT_TRUE(rank.ExitedWith(0)) << rank;
  const auto alone = Ranks({.scenario = "probe", .timeout_ms = 1000, .ranks = {1}, .host = "::1"}).Join();
  EXPECT_THAT(alone[0].output, HasSubstr("joining the store at [::1]:")) << alone[0];
}

TEST(CollectiveTest, TheEnvironmentMayNameTheInterfaces) {
  for (const RankResult& rank : Ranks({.scenario = "probe", .interfaces = "lo"}).Join()) {
    EXPECT_TRUE(rank.ExitedWith(0)) << rank;
  }
  const auto ranks = Ranks({.scenario = "probe", .timeout_ms = 2000, .interfaces = "lo,none7"}).Join();
  for (const RankResult& rank : ranks) EXPECT_TRUE(rank.ExitedWith(3)) << rank;
  // The other may find that the host of the store is gone before it looks at its own interfaces.
  EXPECT_THAT(ranks[0].output,
              StartsWith("INVALID_ARGUMENT: GLOO_SOCKET_IFNAME is lo,none7: this machine has no interface none7"));
}

TEST(OwnAddressTest, IsTheOneThatTheHostIsReachedBy) {
  EXPECT_EQ(AddressTowards("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(AddressTowards("no-such-host.invalid"), "");
  EXPECT_EQ(RankAddress("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(RankAddress("::1"), ListenSocket::Open({"::1", 0}).ok() ? "::1" : "");
}

// A name of this machine that stands for loopback, as Debian gives it one: others cannot connect to that.
TEST(OwnAddressTest, ANameOfLoopbackIsNotTakenFromOthers) {
  constexpr char kName[] = "ip6-localhost";
  const std::string way = AddressTowards("192.0.2.1");
  if (!HostPort{AddressTowards(kName), 0}.IsLoopback() || way.empty())
    GTEST_SKIP() << kName << " is no name, or there is no network";
  EXPECT_EQ(RankAddress(kName), way);
}

// The same for every device that is here; groups of different worlds run side by side, since they mostly wait.
class ConformanceTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (OnCpu()) {
      worlds_ = {2, 3, 4};
      return;
    }
    static const Gpus gpus = ProbeGpus();
    if (gpus.worlds.empty()) GTEST_SKIP() << "NCCL cannot be tested here: " << gpus.why_not;
    worlds_ = gpus.worlds;
    devices_ = gpus.devices;
  }

  struct Gpus {
    std::vector<int> worlds;  // that can be made
    std::vector<std::string> devices;
    std::string why_not;
  };
  static Gpus ProbeGpus() {
    const RankResult alone = Ranks({.scenario = "probe", .world = 1, .devices = {"cuda:0"}}).Join()[0];
    if (!alone.ExitedWith(0)) return {.worlds = {}, .devices = {}, .why_not = alone.output};
    for (const std::vector<std::string>& devices : {std::vector<std::string>{"cuda:0", "cuda:1"}, {"cuda:0"}}) {
      const RankResult pair = Ranks({.scenario = "probe", .world = 2, .devices = devices}).Join()[1];
      if (pair.ExitedWith(0)) return {.worlds = {1, 2}, .devices = devices, .why_not = ""};
      std::printf("Two ranks of NCCL cannot be tested here: %s", pair.output.c_str());
    }
    return {.worlds = {1}, .devices = {"cuda:0"}, .why_not = ""};
  }

  bool OnCpu() const { return std::string(GetParam()) == "cpu"; }

  // The results of each of these worlds that this device can have.
  std::vector<std::vector<RankResult>> RunWorlds(Launch launch, const std::vector<int>& worlds,
                                                 bool last_waits = false) {
    std::vector<Ranks> groups;
    for (const int world : worlds) {
      if (std::find(worlds_.begin(), worlds_.end(), world) == worlds_.end()) continue;
      launch.world = world;
      launch.devices = devices_;
      groups.emplace_back(launch);
    }
    std::vector<std::vector<RankResult>> results;
    results.reserve(groups.size());
    for (Ranks& group : groups) results.push_back(group.Join(last_waits));
    return results;
  }

  std::vector<int> worlds_;
  std::vector<std::string> devices_;
};
INSTANTIATE_TEST_SUITE_P(Devices, ConformanceTest, testing::Values("cpu", "cuda"),
                         [](const auto& device) { return std::string(device.param); });

TEST_P(ConformanceTest, EveryOperationIsExactAndRepeats) {
  const auto first = RunWorlds({.scenario = "sums"}, {1, 2, 3, 4});
  const auto second = RunWorlds({.scenario = "sums"}, {OnCpu() ? 3 : worlds_.back()});
  for (const auto& runs : {first, second}) {
    for (const std::vector<RankResult>& ranks : runs) {
      for (const RankResult& rank : ranks) {
        EXPECT_TRUE(rank.ExitedWith(0)) << rank;
        EXPECT_THAT(rank.output, StartsWith("bits "));
        EXPECT_EQ(rank.output, ranks[0].output);
      }
    }
  }
  ASSERT_EQ(second.size(), 1u);
  for (const std::vector<RankResult>& ranks : first) {
    if (ranks.size() != second[0].size()) continue;
    EXPECT_EQ(ranks[0].output, second[0][0].output);
  }
}

// The timeout also bounds the meeting at the start, so it leaves room for a slow one.
TEST_P(ConformanceTest, ARankThatDoesNotComeEndsInATimeoutThatNamesIt) {
  for (const auto& ranks : RunWorlds({.scenario = "timeout", .timeout_ms = 3000}, {2, 3}, true)) {
    const std::string last = std::to_string(ranks.size() - 1);
    bool named = false, deadline_seen = false;
    for (size_t rank = 0; rank + 1 < ranks.size(); ++rank) {
      EXPECT_TRUE(ranks[rank].ExitedWith(0)) << ranks[rank];
      named = named || ranks[rank].output.find("rank " + last + " is alive but has not come") != std::string::npos;
      deadline_seen = deadline_seen || ranks[rank].output.find("DEADLINE_EXCEEDED") != std::string::npos;
    }
    EXPECT_TRUE(named && deadline_seen) << ranks[0].output;
  }
}

// The timeout of 60 s is longer than Join's patience: only Abort and what it does to the others can end the waits.
TEST_P(ConformanceTest, AbortFreesThisRankAndTheOthers) {
  for (const auto& ranks : RunWorlds({.scenario = "abort", .timeout_ms = 60000}, {2, 4}, true)) {
    for (size_t rank = 0; rank + 1 < ranks.size(); ++rank) {
      EXPECT_TRUE(ranks[rank].ExitedWith(0)) << ranks[rank];
      EXPECT_THAT(ranks[rank].output, HasSubstr("rank 0"));
    }
  }
}

TEST_P(ConformanceTest, AKilledRankEndsTheOthersWhichNameIt) {
  for (const auto& ranks : RunWorlds({.scenario = "kill", .timeout_ms = OnCpu() ? 60000 : 5000}, {2, 3, 4})) {
    const std::string last = std::to_string(ranks.size() - 1);
    EXPECT_TRUE(WIFSIGNALED(ranks.back().wait_status));
    for (size_t rank = 0; rank + 1 < ranks.size(); ++rank) {
      EXPECT_TRUE(ranks[rank].ExitedWith(0)) << ranks[rank];
      EXPECT_THAT(ranks[rank].output, HasSubstr("rank " + last + " shows no sign of life"));
    }
  }
}

TEST_P(ConformanceTest, TheKilledRankThatHeldTheStoreIsNamedToo) {
  for (const auto& ranks : RunWorlds({.scenario = "kill_first", .timeout_ms = OnCpu() ? 60000 : 5000}, {2, 3})) {
    EXPECT_TRUE(WIFSIGNALED(ranks[0].wait_status));
    for (size_t rank = 1; rank < ranks.size(); ++rank) {
      EXPECT_TRUE(ranks[rank].ExitedWith(0)) << ranks[rank];
      EXPECT_THAT(ranks[rank].output, HasSubstr("rank 0, which holds the store, does not answer"));
    }
  }
}

}  // namespace
}  // namespace tactus
