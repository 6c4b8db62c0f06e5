// One rank of a collective test: collective_rank SCENARIO RANK WORLD STORE TIMEOUT_MS DEVICE. Prints one line about the
// outcome. Exits 0 when the scenario went as it must on this rank, 3 when the group could not be made.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "common/base/host_port.h"
#include "common/collective/collective.h"
#ifdef TACTUS_HAS_NCCL
#include "tests/collective/device_floats_cuda.h"
#endif

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

// Not integers: rounded sums. The same on every call for a rank.
std::vector<float> RoughValues(int rank, size_t n) {
  std::vector<float> values(n);
  uint32_t state = 17 + static_cast<uint32_t>(rank);
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state) * 1e-7f - 200.0f;
  }
  return values;
}

bool Fail(const std::string& what) {
  std::printf("%s\n", what.c_str());
  return false;
}

template <typename T>
bool CheckSums(Collective& group) {
  const size_t longer_than_a_piece = (size_t{16} << 20) / sizeof(T) + 5001;
  for (size_t n : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{17}, size_t{100003}, longer_than_a_piece}) {
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
  }
  std::vector<double> wrong(static_cast<size_t>(group.size()) + 1);
  if (group.AllGather(Values<double>(0, 1), wrong).code() != absl::StatusCode::kInvalidArgument) {
    return Fail("AllGather took a wrong size");
  }
  return true;
}

// This rank's slice of `values`, which may be in the GPU's memory.
template <typename T>
std::span<T> Mine(Collective& group, std::span<T> values) {
  const Slice slice = SliceOf(values.size(), group.size(), group.rank());
  return values.subspan(slice.begin, slice.size());
}

// Even and uneven splits, ranks without a slice, elements of two bytes; then what a sharded step does: all sums started
// at once, then all gathers. There and back they are an all-reduce.
bool CheckSlices(Collective& group) {
  const std::vector<size_t> sizes = {0, 1, 2, 3, 17, 240, 100003, 1 << 20, 50021, 4, 9999};
  std::vector<std::vector<float>> values;
  std::vector<std::vector<int16_t>> shorts;
  for (const size_t n : sizes) {
    values.push_back(Values<float>(group.rank(), n));
    if (!group.StartReduceScatterSum(values.back()).ok()) return Fail("StartReduceScatterSum failed");
  }
  if (!group.Wait().ok()) return Fail("Wait failed");
  for (size_t b = 0; b < sizes.size(); ++b) {
    std::vector<float> sum = SumOfRanks<float>(group.size(), sizes[b]);
    const std::span<float> mine = Mine(group, std::span(values[b])), expected = Mine(group, std::span(sum));
    if (!std::equal(mine.begin(), mine.end(), expected.begin())) return Fail("wrong reduce-scatter");
    shorts.emplace_back(sizes[b], int16_t{-1});
    for (int16_t& value : Mine(group, std::span(shorts.back()))) value = static_cast<int16_t>(300 + group.rank());
    const auto bytes = [](auto& v) {
      return std::span<char>(reinterpret_cast<char*>(v.data()), v.size() * sizeof(v[0]));
    };
    if (!group.StartAllGather(bytes(values[b]), sizeof(float)).ok()) return Fail("StartAllGather failed");
    if (!group.StartAllGather(bytes(shorts[b]), sizeof(int16_t)).ok()) return Fail("StartAllGather failed");
  }
  if (!group.Wait().ok()) return Fail("Wait failed");
  for (size_t b = 0; b < sizes.size(); ++b) {
    if (values[b] != SumOfRanks<float>(group.size(), sizes[b])) return Fail("wrong gather of sums");
    for (int rank = 0; rank < group.size(); ++rank) {
      const Slice slice = SliceOf(sizes[b], group.size(), rank);
      for (size_t i = slice.begin; i < slice.end; ++i) {
        if (shorts[b][i] != 300 + rank) return Fail("wrong gather of " + std::to_string(sizes[b]) + " shorts");
      }
    }
  }
  return true;
}

// On the CPU the order of a reduce-scatter's sums is that of the ranks.
bool CheckOrderOfSums(Collective& group) {
  std::vector<float> values = RoughValues(group.rank(), 70001), expected = RoughValues(0, values.size());
  for (int rank = 1; rank < group.size(); ++rank) {
    const std::vector<float> part = RoughValues(rank, values.size());
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += part[i];
  }
  if (!group.StartReduceScatterSum(values).ok() || !group.Wait().ok()) return Fail("the reduce-scatter failed");
  const std::span<float> mine = Mine(group, std::span(values)), sum = Mine(group, std::span(expected));
  return std::equal(mine.begin(), mine.end(), sum.begin()) || Fail("a reduce-scatter in another order");
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

// Sums against float64, the same bits on every rank, and started all at once the same bits as one by one. Prints them,
// so that the test can compare runs.
bool CheckBits(Collective& group) {
  constexpr size_t kBuckets[] = {50021, 0, 1, 333, 70000, 4, 4096, 9999};  // more than are in flight at a time
  std::vector<std::vector<float>> blocking, started;
  uint32_t hash = 0;
  for (const size_t n : kBuckets) {
    blocking.push_back(RoughValues(group.rank(), n));
    started.push_back(blocking.back());
    if (!group.AllReduceSum(std::span<float>(blocking.back())).ok()) return Fail("AllReduceSum failed");
    std::vector<double> exact(n);
    for (int rank = 0; rank < group.size(); ++rank) {
      const std::vector<float> part = RoughValues(rank, n);
      for (size_t i = 0; i < n; ++i) exact[i] += static_cast<double>(part[i]);
    }
    for (size_t i = 0; i < n; ++i) {
      // World - 1 roundings of partial sums of at most World * 230.
      const double bound = group.size() * group.size() * 230 * 6e-8;
      if (std::abs(blocking.back()[i] - exact[i]) > bound) return Fail("a sum is too far from float64");
      uint32_t bits = 0;
      std::memcpy(&bits, &blocking.back()[i], sizeof(bits));
      hash = (hash ^ bits) * 16777619u;
    }
  }
  for (std::vector<float>& bucket : started) {
    if (!group.StartAllReduceSum(bucket).ok()) return Fail("StartAllReduceSum failed");
  }
  if (!group.Wait().ok()) return Fail("Wait failed");
  if (started != blocking) return Fail("started sums differ from blocking ones");
  std::vector<double> hashes(static_cast<size_t>(group.size()));
  const double mine[] = {static_cast<double>(hash)};
  if (!group.AllGather(mine, hashes).ok()) return Fail("AllGather failed");
  for (double other : hashes) {
    if (other != mine[0]) return Fail("ranks disagree");
  }
  std::printf("bits %08x\n", hash);
  return true;
}

// Memory of the GPU, in place, behind a kernel of the current stream.
bool CheckDeviceMemory(Collective& group) {
#ifdef TACTUS_HAS_NCCL
  for (size_t n : {1, 1000, 1 << 20, 20000003}) {
    DeviceFloats first(Values<float>(group.rank(), n)), second(Values<float>(group.rank(), n));
    if (!group.StartAllReduceSum(first.span()).ok() || !group.StartAllReduceSum(second.span()).ok() ||
        !group.Wait().ok())
      return Fail("a sum in GPU memory failed");
    const std::vector<float> expected = SumOfRanks<float>(group.size(), n);
    if (first.ToHost() != expected || second.ToHost() != expected) return Fail("a wrong sum in GPU memory");
    DeviceFloats sliced(Values<float>(group.rank(), n));
    const std::span<float> all = sliced.span();
    if (!group.StartReduceScatterSum(all).ok() || !group.Wait().ok())
      return Fail("a reduce-scatter in GPU memory failed");
    if (!group.StartAllGather({reinterpret_cast<char*>(all.data()), all.size_bytes()}, sizeof(float)).ok() ||
        !group.Wait().ok())
      return Fail("a gather in GPU memory failed");
    if (sliced.ToHost() != expected) return Fail("a wrong reduce-scatter or gather in GPU memory");
  }
#endif
  return group.Barrier().ok();
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

// Rank `victim` dies in the middle of an operation that the others are in as well.
bool Kill(Collective& group, int victim) {
  std::vector<float> values(8 << 20, 1.0f);  // two pieces: far from done when it dies
  if (!group.Barrier().ok()) return Fail("the first barrier failed");
  if (group.rank() != victim)
    return ExpectBroken(group, group.AllReduceSum(std::span<float>(values)),
                        {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded});
  if (!group.StartAllReduceSum(values).ok()) return Fail("the start failed");
  raise(SIGKILL);
  return false;
}

bool Abort(Collective& group) {
  std::vector<float> values(1 << 20, 1.0f);
  std::thread abort([&] {
    if (group.rank() != 0) return;
    usleep(300000);
    group.Abort();
    group.Abort();
  });
  const absl::Status status = group.AllReduceSum(std::span<float>(values));
  abort.join();
  return ExpectBroken(group, status, {group.rank() == 0 ? absl::StatusCode::kAborted : absl::StatusCode::kUnavailable});
}

bool Run(const std::string& scenario, bool on_gpu, Collective& group) {
  std::vector<float> values(1 << 20, 1.0f);
  const int last = group.size() - 1;
  if (scenario == "probe") return group.Barrier().ok();
  if (scenario == "sums") {
    if (group.rank() == last) usleep(300000);  // comes late, within the timeout
    return CheckSums<float>(group) && CheckSums<double>(group) && CheckGathers(group) && CheckSlices(group) &&
           CheckBroadcasts(group) && (on_gpu ? CheckDeviceMemory(group) : CheckOrderOfSums(group)) && CheckBits(group);
  }
  if (scenario == "kill") return Kill(group, last);
  if (scenario == "kill_first") return Kill(group, 0);
  if (group.rank() == last) {  // never comes: the test ends it when the others are through
    pause();
    return false;
  }
  if (scenario == "abort") return Abort(group);
  if (scenario == "timeout")
    return ExpectBroken(group, group.AllReduceSum(std::span<float>(values)),
                        {absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kUnavailable});
  return Fail("unknown scenario " + scenario);
}

int Main(char** argv) {
  CollectiveOptions options;
  options.rank = std::atoi(argv[2]);
  options.world = std::atoi(argv[3]);
  const HostPort store = HostPort::Parse(argv[4], "STORE").value();
  options.store_host = store.host;
  options.store_port = store.port;
  options.timeout = absl::Milliseconds(std::atoi(argv[5]));
  options.device = argv[6];
  auto group = CreateCollective(options);
  if (!group.ok()) {
    std::printf("%s\n", group.status().ToString().c_str());
    return 3;
  }
  return Run(argv[1], options.device != "cpu", **group) ? 0 : 1;
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) { return argc == 7 ? tactus::Main(argv) : 2; }
