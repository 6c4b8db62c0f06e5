// One rank of a collective test: collective_rank SCENARIO RANK WORLD PORT TIMEOUT_MS. Prints one line about the
// outcome; exits 0 when the scenario went as it must on this rank.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "common/collective/collective.h"

namespace tactus {
namespace {

// An integer, so sums over ranks are exact in any order.
template <typename T>
T Value(int rank, size_t i) {
  return static_cast<T>((i * 7 + static_cast<size_t>(rank) * 13) % 101) - T{50};
}

template <typename T>
std::vector<T> Values(int rank, size_t n) {
  std::vector<T> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = Value<T>(rank, i);
  return values;
}

template <typename T>
std::vector<T> SumOfRanks(int world, size_t n) {
  std::vector<T> sum(n, 0);
  for (int rank = 0; rank < world; ++rank) {
    for (size_t i = 0; i < n; ++i) sum[i] += Value<T>(rank, i);
  }
  return sum;
}

bool Fail(const std::string& what) {
  std::printf("%s\n", what.c_str());
  return false;
}

template <typename T>
bool CheckSums(Collective& group) {
  for (size_t n : {0, 1, 2, 3, 17, 1000, 100003, 4200001}) {  // the last does not fit one piece
    std::vector<T> values = Values<T>(group.rank(), n);
    const absl::Status status = group.AllReduceSum(std::span<T>(values));
    if (!status.ok()) return Fail(std::string(status.message()));
    if (values != SumOfRanks<T>(group.size(), n)) return Fail("wrong sum of " + std::to_string(n));
  }
  return true;
}

bool CheckGathers(Collective& group) {
  for (size_t n : {0, 1, 5, 1001}) {
    const size_t world = static_cast<size_t>(group.size());
    std::vector<double> all(n * world), expected;
    for (int rank = 0; rank < group.size(); ++rank) {
      const std::vector<double> part = Values<double>(rank, n);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    if (!group.AllGather(Values<double>(group.rank(), n), all).ok()) return Fail("AllGather failed");
    if (all != expected) return Fail("wrong gather of " + std::to_string(n));

    const std::vector<float> sum = SumOfRanks<float>(group.size(), n * world);
    std::vector<float> mine(n);
    if (!group.ReduceScatterSum(Values<float>(group.rank(), n * world), mine).ok()) return Fail("ReduceScatter failed");
    for (size_t i = 0; i < n; ++i) {
      if (mine[i] != sum[static_cast<size_t>(group.rank()) * n + i]) return Fail("wrong reduce-scatter");
    }
  }
  std::vector<double> wrong(1);
  if (group.AllGather(Values<double>(0, 1), wrong).code() != absl::StatusCode::kInvalidArgument) {
    return Fail("AllGather took a wrong size");
  }
  return true;
}

bool CheckBroadcasts(Collective& group) {
  for (int root = 0; root < group.size(); ++root) {
    for (size_t n : {0, 1, 1000, 17 << 20}) {
      std::vector<char> bytes(n, group.rank() == root ? 'r' : '-');
      if (!group.Broadcast(bytes, root).ok()) return Fail("Broadcast failed");
      if (bytes != std::vector<char>(n, 'r')) return Fail("wrong broadcast");
    }
  }
  if (group.Broadcast({}, group.size()).ok()) return Fail("Broadcast took a root outside the group");
  return group.Barrier().ok() || Fail("Barrier failed");
}

// Rounded sums: the same bits on every rank. Prints them, so that the test can compare runs.
bool CheckBits(Collective& group) {
  std::vector<float> values(50021);
  uint32_t state = 17 + static_cast<uint32_t>(group.rank());
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state) * 1e-7f - 200.0f;
  }
  if (!group.AllReduceSum(std::span<float>(values)).ok()) return Fail("AllReduceSum failed");
  uint32_t hash = 0;
  for (float value : values) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    hash = (hash ^ bits) * 16777619u;
  }
  std::vector<double> hashes(static_cast<size_t>(group.size()));
  const double mine[] = {static_cast<double>(hash)};
  if (!group.AllGather(mine, hashes).ok()) return Fail("AllGather failed");
  for (double other : hashes) {
    if (other != mine[0]) return Fail("ranks disagree");
  }
  std::printf("bits %08x\n", hash);
  return true;
}

// What a rank whose partner is gone must see: an error of the given kind, then Aborted for good.
bool ExpectBroken(Collective& group, const absl::Status& status, std::initializer_list<absl::StatusCode> codes) {
  const std::string message(status.message());
  bool expected = false;
  for (absl::StatusCode code : codes) expected = expected || status.code() == code;
  if (!expected) return Fail("unexpected: " + status.ToString());
  if (message.find("AllReduceSum on rank " + std::to_string(group.rank())) == std::string::npos) {
    return Fail("does not name the operation and the rank: " + message);
  }
  if (group.Barrier().code() != absl::StatusCode::kAborted) return Fail("usable after an error");
  std::printf("%s\n", status.ToString().c_str());
  return true;
}

bool Run(const std::string& scenario, Collective& group) {
  std::vector<float> values(1 << 20, 1.0f);
  const int last = group.size() - 1;
  if (scenario == "sums") {
    return CheckSums<float>(group) && CheckSums<double>(group) && CheckGathers(group) && CheckBroadcasts(group) &&
           CheckBits(group);
  }
  if (scenario == "timeout") {  // the last rank comes too late
    if (group.rank() == last) {
      sleep(8);
      return true;
    }
    return ExpectBroken(group, group.AllReduceSum(std::span<float>(values)),
                        {absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kUnavailable});
  }
  if (scenario == "abort") {  // rank 0 gives up while the last rank never comes
    if (group.rank() == last) {
      sleep(2);
      return true;
    }
    std::thread abort([&] {
      if (group.rank() != 0) return;
      usleep(300000);
      group.Abort();
      group.Abort();
    });
    const absl::Status status = group.AllReduceSum(std::span<float>(values));
    abort.join();
    if (group.rank() == 0) return ExpectBroken(group, status, {absl::StatusCode::kAborted});
    return ExpectBroken(group, status, {absl::StatusCode::kUnavailable});
  }
  if (scenario == "kill") {
    if (!group.AllReduceSum(std::span<float>(values)).ok()) return Fail("the first sum failed");
    if (group.rank() == last) raise(SIGKILL);
    return ExpectBroken(group, group.AllReduceSum(std::span<float>(values)), {absl::StatusCode::kUnavailable});
  }
  return Fail("unknown scenario " + scenario);
}

int Main(char** argv) {
  CollectiveOptions options;
  options.rank = std::atoi(argv[2]);
  options.world = std::atoi(argv[3]);
  options.store_port = std::atoi(argv[4]);
  options.timeout = absl::Milliseconds(std::atoi(argv[5]));
  auto group = CreateCollective(options);
  if (!group.ok()) {
    std::printf("%s\n", group.status().ToString().c_str());
    return 3;
  }
  return Run(argv[1], **group) ? 0 : 1;
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) { return argc == 6 ? tactus::Main(argv) : 2; }
