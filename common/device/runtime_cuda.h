// The host's side of one GPU: in-order work, copies, waiting, graphs. The only way the rest of Tactus talks to one.
//
// Two implementations of this header are linked one at a time: CUDA (preset `cuda`), and an emulation on the CPU that
// tests use, so that every line above it (kernels, the actor's runner, the learner's passes) runs on a machine without
// a GPU. docs/GPU.md tells what that proves and what it can't.
//
// Device memory is at::Tensor memory on TorchDevice(). All calls act on the calling thread's current queue (libtorch's
// current stream), in order, and return at once unless they say that they block. A queue is used by one thread.
// Failures of the device or of libtorch throw std::exception; component boundaries turn them into a Status.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"

namespace tactus::device {

// True where kernels run on the CPU.
bool Emulated();

// Where the tensors of GPU `index` live; the CPU in the emulation.
c10::Device TorchDevice(int index);

// A queue of GPU `index` that outlives a guard: for who works in slices, maybe of several threads one after the other.
class Queue {
 public:
  explicit Queue(int index);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

 private:
  friend class QueueGuard;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Makes a queue (one of its own on GPU `index`, or the given one) current for the calling thread, for as long as the
// guard lives.
class QueueGuard {
 public:
  explicit QueueGuard(int index);
  explicit QueueGuard(const Queue& queue);
  ~QueueGuard();
  QueueGuard(const QueueGuard&) = delete;
  QueueGuard& operator=(const QueueGuard&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Uninitialised memory. Host memory is page-locked: only then do copies from and to it overlap with work.
at::Tensor DeviceEmpty(int index, at::IntArrayRef sizes, at::ScalarType type);
at::Tensor PinnedEmpty(at::IntArrayRef sizes, at::ScalarType type);

// Between any two of device and pinned host memory. Both must stay until the queue has come this far.
void CopyAsync(void* to, const void* from, size_t bytes);
void ZeroAsync(void* to, size_t bytes);

// Blocks until the queue is empty, at most `timeout`, then throws naming it; reports what failed on the device.
void Synchronize(absl::Duration timeout = absl::Minutes(10));
// How often this thread called Synchronize: a decode step may do it once.
int64_t SynchronizeCount();

// A place in a queue that another queue, or the host, can wait for.
class Event {
 public:
  Event();
  ~Event();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;
  void Record();         // in the current queue
  void WaitFor() const;  // what the current queue gets from now on runs after the recorded place; never blocks the host
  bool Reached() const;  // asks, without blocking

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A recorded sequence of kernels, copies and products that is enqueued by one call. What it reads and writes is fixed
// by address when it is recorded. Nothing that blocks or allocates may happen inside `record`, which runs nothing
// itself: run the same work once before, so that libraries have made what they keep. Where `record` throws, allocates
// device memory, or the library will not have the graph, Record throws and leaves the queue as it was: the same work
// can be run without a graph.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  void Record(absl::FunctionRef<void()> record);
  void Launch();
  bool recorded() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Device memory that another process of this machine can open by a handle. Zero once the queue that was current when it
// was made has come so far: what this queue gets afterwards finds it so.
class ExportedMemory {
 public:
  ExportedMemory(int index, size_t bytes);
  ~ExportedMemory();
  ExportedMemory(ExportedMemory&&) noexcept;
  ExportedMemory& operator=(ExportedMemory&&) noexcept;
  void* data() const;
  std::string handle() const;  // any bytes

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Another process's ExportedMemory, for as long as this object lives; its end leaves what is mapped invalid. Throws
// where it can't be opened: another machine, a GPU out of reach, its owner gone. In the emulation the owner is this
// process.
class ImportedMemory {
 public:
  ImportedMemory(int index, const std::string& handle);
  ~ImportedMemory();
  ImportedMemory(ImportedMemory&&) noexcept;
  ImportedMemory& operator=(ImportedMemory&&) noexcept;
  const void* data() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tactus::device
