#include "common/device/runtime_cuda.h"

#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include <cstring>
#include <optional>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/monotonic_clock.h"

namespace tactus::device {
namespace {

thread_local int64_t synchronize_count = 0;

// The host spins this long before it starts to sleep between two looks: a decode step is shorter than a wake-up.
constexpr absl::Duration kSpin = absl::Milliseconds(20);

}  // namespace

bool Emulated() { return false; }
c10::Device TorchDevice(int index) { return {c10::kCUDA, static_cast<c10::DeviceIndex>(index)}; }

struct Queue::Impl {
  explicit Impl(int index) : stream(c10::cuda::getStreamFromPool(false, static_cast<c10::DeviceIndex>(index))) {}
  c10::cuda::CUDAStream stream;
};
Queue::Queue(int index) : impl_(std::make_unique<Impl>(index)) {}
Queue::~Queue() = default;

struct QueueGuard::Impl {
  explicit Impl(c10::cuda::CUDAStream stream) : guard(stream) {}
  c10::cuda::CUDAStreamGuard guard;
};
QueueGuard::QueueGuard(int index)
    : impl_(std::make_unique<Impl>(c10::cuda::getStreamFromPool(false, static_cast<c10::DeviceIndex>(index)))) {}
QueueGuard::QueueGuard(const Queue& queue) : impl_(std::make_unique<Impl>(queue.impl_->stream)) {}
QueueGuard::~QueueGuard() = default;

at::Tensor DeviceEmpty(int index, at::IntArrayRef sizes, at::ScalarType type) {
  return at::empty(sizes, at::TensorOptions().dtype(type).device(TorchDevice(index)));
}
at::Tensor PinnedEmpty(at::IntArrayRef sizes, at::ScalarType type) {
  return at::empty(sizes, at::TensorOptions().dtype(type).pinned_memory(true));
}

void CopyAsync(void* to, const void* from, size_t bytes) {
  C10_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, c10::cuda::getCurrentCUDAStream()));
}
void ZeroAsync(void* to, size_t bytes) {
  C10_CUDA_CHECK(cudaMemsetAsync(to, 0, bytes, c10::cuda::getCurrentCUDAStream()));
}

void Synchronize(absl::Duration timeout) {
  ++synchronize_count;
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  const absl::Time start = MonotonicNow();
  for (;;) {
    const cudaError_t state = cudaStreamQuery(stream);
    if (state == cudaSuccess) return;
    if (state != cudaErrorNotReady) C10_CUDA_CHECK(state);
    const absl::Duration waited = MonotonicNow() - start;
    if (waited > timeout)
      throw std::runtime_error(absl::StrCat("the GPU did not finish its work in ", absl::FormatDuration(timeout)));
    if (waited > kSpin) absl::SleepFor(absl::Microseconds(50));
  }
}
int64_t SynchronizeCount() { return synchronize_count; }

struct Event::Impl {
  Impl() { C10_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming)); }
  ~Impl() { C10_CUDA_CHECK_WARN(cudaEventDestroy(event)); }
  cudaEvent_t event = nullptr;
};
Event::Event() = default;
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
void Event::Record() {
  if (impl_ == nullptr) impl_ = std::make_unique<Impl>();  // made here, on the device that is current
  C10_CUDA_CHECK(cudaEventRecord(impl_->event, c10::cuda::getCurrentCUDAStream()));
}
void Event::WaitFor() const {
  if (impl_ != nullptr) C10_CUDA_CHECK(cudaStreamWaitEvent(c10::cuda::getCurrentCUDAStream(), impl_->event, 0));
}
bool Event::Reached() const {
  if (impl_ == nullptr) return true;
  const cudaError_t state = cudaEventQuery(impl_->event);
  if (state != cudaErrorNotReady) C10_CUDA_CHECK(state);
  return state == cudaSuccess;
}

struct Graph::Impl {
  at::cuda::CUDAGraph graph;
};
Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

void Graph::Record(absl::FunctionRef<void()> record) {
  auto impl = std::make_unique<Impl>();
  // Other threads of the process may go on allocating and copying.
  impl->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  try {
    record();
  } catch (...) {
    try {
      impl->graph.capture_end();
    } catch (const std::exception&) {  // the first failure is the one to report
    }
    throw;
  }
  impl->graph.capture_end();
  impl_ = std::move(impl);
}
void Graph::Launch() {
  if (impl_ == nullptr) throw std::logic_error("a graph is launched before it is recorded");
  impl_->graph.replay();
}
bool Graph::recorded() const { return impl_ != nullptr; }

// cudaMalloc itself, as the caching allocator's blocks are parts of what a handle would stand for.
struct ExportedMemory::Impl {
  ~Impl() {
    if (data != nullptr) C10_CUDA_CHECK_WARN(cudaFree(data));
  }
  void* data = nullptr;
  cudaIpcMemHandle_t handle = {};
};
ExportedMemory::ExportedMemory(int index, size_t bytes) : impl_(std::make_unique<Impl>()) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(index));
  C10_CUDA_CHECK(cudaMalloc(&impl_->data, bytes));
  C10_CUDA_CHECK(cudaMemset(impl_->data, 0, bytes));
  C10_CUDA_CHECK(cudaIpcGetMemHandle(&impl_->handle, impl_->data));
}
ExportedMemory::~ExportedMemory() = default;
ExportedMemory::ExportedMemory(ExportedMemory&&) noexcept = default;
ExportedMemory& ExportedMemory::operator=(ExportedMemory&&) noexcept = default;
void* ExportedMemory::data() const { return impl_->data; }
std::string ExportedMemory::handle() const { return {impl_->handle.reserved, sizeof(impl_->handle.reserved)}; }

struct ImportedMemory::Impl {
  ~Impl() {
    if (data != nullptr) C10_CUDA_CHECK_WARN(cudaIpcCloseMemHandle(data));
  }
  void* data = nullptr;
};
ImportedMemory::ImportedMemory(int index, const std::string& handle) : impl_(std::make_unique<Impl>()) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(index));
  cudaIpcMemHandle_t opened;
  if (handle.size() != sizeof(opened.reserved)) throw std::invalid_argument("the handle of shared memory is malformed");
  std::memcpy(opened.reserved, handle.data(), handle.size());
  C10_CUDA_CHECK(cudaIpcOpenMemHandle(&impl_->data, opened, cudaIpcMemLazyEnablePeerAccess));
}
ImportedMemory::~ImportedMemory() = default;
ImportedMemory::ImportedMemory(ImportedMemory&&) noexcept = default;
ImportedMemory& ImportedMemory::operator=(ImportedMemory&&) noexcept = default;
const void* ImportedMemory::data() const { return impl_->data; }

}  // namespace tactus::device
