// Data-parallel communication between learner ranks. Only this folder includes c10d, Gloo or NCCL headers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tactus {

// One rank's end of a fixed group. Owned by one thread, except Abort, which any thread may call.
// Every call blocks until all ranks have made the same call, at most the timeout given at creation, then returns
// DeadlineExceeded naming the operation and the rank. After any error the group is unusable: Aborted from then on.
// Results are the same bits on every rank, and for a fixed world size the same bits in every run.
class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual absl::Status AllReduceSum(std::span<float> values) = 0;                           // in place
  virtual absl::Status AllReduceSum(std::span<double> values) = 0;                          // in place
  virtual absl::Status AllGather(std::span<const double> mine, std::span<double> all) = 0;  // all: [size * mine.size()]
  virtual absl::Status ReduceScatterSum(std::span<const float> all, std::span<float> mine) = 0;
  virtual absl::Status Broadcast(std::span<char> bytes, int root) = 0;
  virtual absl::Status Barrier() = 0;
  // Unblocks this rank's pending and future calls with Aborted. Idempotent.
  virtual void Abort() = 0;
};

struct CollectiveOptions {
  int rank = 0;
  int world = 1;
  std::string store_host = "127.0.0.1";  // rank 0 hosts the TCP store here
  int store_port = 0;
  absl::Duration timeout = absl::Minutes(5);
};

// world == 1 needs no store and no threads. Otherwise Gloo over TCP.
// Unavailable: the store could not be reached in time; names the address and the rank.
absl::StatusOr<std::unique_ptr<Collective>> CreateCollective(const CollectiveOptions& options);

}  // namespace tactus
