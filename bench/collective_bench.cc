// All-reduce between two ranks beside what the wire gives: the same bytes over a plain TCP connection on loopback.
//
//   build/release/bin/collective_bench [--mib 1,16,64] [--rounds 9] [--devices cpu,cpu]
//
// Each rank is a process; --devices cuda:0,cuda:1 takes NCCL, in GPU memory. Prints one JSON line per figure: the
// median with its range over the rounds. Two ranks that add N bytes up must each send N and receive N, so gb_per_s,
// bytes per second in each direction, compares all of:
//   allreduce   one blocking AllReduceSum of N bytes of float32
//   started     eight StartAllReduceSum of N/8, then Wait
//   tcp         N bytes each way at once over one connection (not with GPUs)
#include <ATen/ops/full.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/listen_socket.h"
#include "common/base/status_macros.h"
#include "common/collective/collective.h"
#include "common/config/flags.h"

namespace tactus {
namespace {

struct BenchFlags {
  std::string mib = "1,16,64", devices = "cpu,cpu";
  int rounds = 9;

  void Declare(CLI::App& app) {
    AddFlag(app, "--mib LIST", mib, "sizes in MiB");
    AddFlag(app, "--rounds N", rounds, "of each", 3, 999);
    AddFlag(app, "--devices LIST", devices, "of the two ranks");
  }
};
constexpr int kRanks = 2, kAcceptTimeoutMs = 60'000;
constexpr size_t kBuckets = 8;

struct Plan {
  std::vector<size_t> bytes;
  int rounds = 0;
  std::vector<std::string> devices;
};

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

absl::Status SystemError(const char* what) { return absl::ErrnoToStatus(errno, what); }

using Round = std::function<absl::Status()>;

// `meet` before each round, so that both ranks begin together.
absl::Status Measure(const char* name, const Plan& plan, int rank, size_t bytes, const Round& meet,
                     const Round& round) {
  std::vector<double> rates;
  for (int i = 0; i <= plan.rounds; ++i) {
    RETURN_IF_ERROR(meet());
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(round());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) rates.push_back(static_cast<double>(bytes) / seconds / 1e9);  // the first warms up
  }
  if (rank != 0) return absl::OkStatus();
  std::sort(rates.begin(), rates.end());
  const nlohmann::ordered_json line = {
      {"what", name},          {"device", plan.devices[0]},           {"mib", bytes >> 20},
      {"rounds", plan.rounds}, {"gb_per_s", rates[rates.size() / 2]}, {"min", rates.front()},
      {"max", rates.back()}};
  std::printf("%s\n", line.dump().c_str());
  return absl::OkStatus();
}

absl::Status MeasureCollective(const Plan& plan, int rank, int port) {
  CollectiveOptions options;
  options.rank = rank;
  options.world = kRanks;
  options.store_port = port;
  options.timeout = absl::Seconds(60);
  options.device = plan.devices[static_cast<size_t>(rank)];
  ASSIGN_OR_RETURN(const std::unique_ptr<Collective> group, CreateCollective(options));
  const Round meet = [&] { return group->Barrier(); };
  for (const size_t bytes : plan.bytes) {
    const size_t numel = bytes / sizeof(float);
    const at::Tensor tensor = at::full({static_cast<int64_t>(numel)}, 0.0f, c10::Device(options.device));
    const std::span<float> values(static_cast<float*>(tensor.data_ptr()), numel);
    RETURN_IF_ERROR(Measure("allreduce", plan, rank, bytes, meet, [&] { return group->AllReduceSum(values); }));
    const Round start_all = [&]() -> absl::Status {
      for (size_t b = 0; b < kBuckets; ++b) {
        const size_t begin = numel * b / kBuckets, end = numel * (b + 1) / kBuckets;
        RETURN_IF_ERROR(group->StartAllReduceSum(values.subspan(begin, end - begin)));
      }
      return group->Wait();
    };
    RETURN_IF_ERROR(Measure("started", plan, rank, bytes, meet, start_all));
  }
  return absl::OkStatus();
}

// Sends `bytes` and receives as many, at once.
absl::Status Exchange(int fd, std::vector<char>& out, std::vector<char>& in, size_t bytes) {
  bool sent = true;
  std::thread sender([&] {
    for (size_t done = 0; sent && done < bytes;) {
      const ssize_t n = send(fd, out.data() + done, bytes - done, MSG_NOSIGNAL);
      sent = n > 0;
      done += static_cast<size_t>(std::max<ssize_t>(n, 0));
    }
  });
  bool received = true;
  for (size_t done = 0; received && done < bytes;) {
    const ssize_t n = recv(fd, in.data() + done, bytes - done, 0);
    received = n > 0;
    done += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  sender.join();
  return sent && received ? absl::OkStatus() : SystemError("the TCP connection");
}

absl::Status MeasureTcp(const Plan& plan, int rank, int listening, int port) {
  int fd = -1;
  if (rank == 0) {
    pollfd waiting{listening, POLLIN, 0};
    if (poll(&waiting, 1, kAcceptTimeoutMs) == 1) fd = accept(listening, nullptr, nullptr);
  } else {
    fd = socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = Loopback(port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return SystemError("connect");
  }
  if (fd < 0) return SystemError("accept");
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const size_t largest = *std::max_element(plan.bytes.begin(), plan.bytes.end());
  std::vector<char> out(largest, 1), in(largest);
  const Round meet = [&] { return Exchange(fd, out, in, 1); };
  for (const size_t bytes : plan.bytes)
    RETURN_IF_ERROR(Measure("tcp", plan, rank, bytes, meet, [&] { return Exchange(fd, out, in, bytes); }));
  close(fd);
  return absl::OkStatus();
}

absl::StatusOr<Plan> PlanOf(const std::vector<std::string>& args) {
  BenchFlags flags;
  RETURN_IF_ERROR(ParseFlags([&flags](CLI::App& app) { flags.Declare(app); }, args));
  Plan plan;
  plan.rounds = flags.rounds;
  plan.devices = absl::StrSplit(flags.devices, ',');
  if (plan.devices.size() != kRanks)
    return absl::InvalidArgumentError("--devices: expected two, separated by a comma.");
  for (const auto text : absl::StrSplit(flags.mib, ',')) {
    int mib = 0;
    if (!absl::SimpleAtoi(text, &mib) || mib < 1 || mib > 4096)
      return absl::InvalidArgumentError("--mib: expected numbers from 1 to 4096, separated by commas.");
    plan.bytes.push_back(static_cast<size_t>(mib) << 20);
  }
  return plan;
}

absl::Status RunRank(const Plan& plan, int rank, int listening, int tcp_port, int store_port) {
  if (plan.devices[0] == "cpu") RETURN_IF_ERROR(MeasureTcp(plan, rank, listening, tcp_port));
  return MeasureCollective(plan, rank, store_port);
}

// This process is rank 0, its child rank 1: forked before libtorch has any thread.
absl::Status RunMain(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const Plan plan, PlanOf(args));
  ASSIGN_OR_RETURN(const ListenSocket listening, ListenSocket::Open({"127.0.0.1", 0}));
  ASSIGN_OR_RETURN(const int store_port, FreePort());
  const pid_t child = fork();
  if (child < 0) return SystemError("fork");
  const int rank = child == 0 ? 1 : 0;
  const absl::Status status = RunRank(plan, rank, listening.fd(), listening.address().port, store_port);
  if (rank == 0) waitpid(child, nullptr, 0);
  return status;
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::RunMain(std::vector<std::string>(argv + 1, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "collective_bench: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
