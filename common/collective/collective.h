// Data-parallel communication between learner ranks. Only this folder includes c10d, Gloo or NCCL headers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tactus {

// [begin, end) of some values.
struct Slice {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
  bool operator==(const Slice&) const = default;
};

// What is `rank`'s of `count` values split among `size` ranks: ceil(count / size) of them, in the order of the ranks,
// so that the last slices may be shorter, or empty at the end.
Slice SliceOf(size_t count, int size, int rank);

// One rank's end of a fixed group. Owned by one thread, except Abort, which any thread may call.
//
// All ranks make the same calls in the same order, with the same sizes. Every call but Start... and Abort
// blocks until all operations of this rank so far are finished, which takes all ranks; at most the timeout given at
// creation for each of them (long sums and broadcasts are cut into several). Then DeadlineExceeded, or Unavailable when
// the connection to a rank broke, naming the operation, this rank and who is missing, which takes up to four seconds to
// find out. After any error but InvalidArgument the group is unusable: Aborted from then on, and no memory is touched
// any more.
//
// Memory: on device `cpu` host memory, which may be given back at once after an error. On device `cuda:N` each span is
// either host memory, staged through a buffer on the GPU, or memory of that GPU, worked on in place: ordered after what
// the calling thread's current CUDA stream (c10's) holds at the call; a finished operation is finished for the host and
// for that stream.
//
// Results are the same bits on every rank, and for a fixed world size the same bits in every run (on GPUs: as far as
// NCCL chooses the same algorithm for the same machines, sizes and settings). An all-reduce gives the same bits started
// or blocking. On the CPU a reduce-scatter adds in the order of the ranks, however its values are split.
class Collective {
 public:
  virtual ~Collective() = default;  // with operations in flight: aborts
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Adds `values` up in place while the caller goes on: they are the collective's until Wait has returned. A bounded
  // number of operations is in flight: beyond it, blocks for the oldest.
  virtual absl::Status StartAllReduceSum(std::span<float> values) = 0;
  // Likewise, but only this rank's slice of `values` (SliceOf) holds the sum afterwards; the rest is undefined. One
  // operation, never cut: many values are the caller's to split.
  virtual absl::Status StartReduceScatterSum(std::span<float> values) = 0;
  // Likewise the way back: afterwards `values`, elements of `element_bytes`, hold each rank's slice as that rank had
  // it.
  virtual absl::Status StartAllGather(std::span<char> values, size_t element_bytes) = 0;
  virtual absl::Status Wait() = 0;  // for all that was started
  absl::Status AllReduceSum(std::span<float> values) {
    const absl::Status started = StartAllReduceSum(values);
    return started.ok() ? Wait() : started;
  }
  virtual absl::Status AllReduceSum(std::span<double> values) = 0;              // in place
  absl::Status AllGather(std::span<const double> mine, std::span<double> all);  // all: [size * mine.size()]
  virtual absl::Status Broadcast(std::span<char> bytes, int root) = 0;
  virtual absl::Status Barrier() = 0;
  // Unblocks this rank's pending and future calls with Aborted. Idempotent; takes up to half a minute on a GPU. Where
  // the library does not let go of the memory by then, the process ends with a sentence.
  virtual void Abort() = 0;
};

struct CollectiveOptions {
  int rank = 0;
  int world = 1;
  std::string store_host = "127.0.0.1";  // rank 0 hosts the TCP store here
  int store_port = 0;
  absl::Duration timeout = absl::Minutes(5);
  std::string device = "cpu";  // or cuda:N
  // Told, on another thread, what has not returned in time, before the group is aborted and, where that does not help,
  // the process ended. Does not block.
  std::function<void(const std::string&)> on_overdue = [](const std::string&) {};
};

// `cpu`: Gloo over TCP; a world of 1 needs no store and no threads. `cuda:N`: NCCL, also in a world of 1.
// Unavailable: the store could not be reached, or a rank did not come, in time; names the address and the ranks.
// InvalidArgument: options, also those that differ between ranks. FailedPrecondition: there is no such GPU, this build
// has no NCCL, or ranks share a GPU and NCCL is too old for it.
absl::StatusOr<std::unique_ptr<Collective>> CreateCollective(const CollectiveOptions& options);

}  // namespace tactus
