#include "common/device/runtime_cuda.h"

#include <ATen/ops/empty.h>
#include <c10/core/Allocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/monotonic_clock.h"

namespace tactus::device {
namespace {

thread_local int64_t synchronize_count = 0;

// The host spins this long before it starts to sleep between two looks: a decode step is shorter than a wake-up.
constexpr absl::Duration kSpin = absl::Milliseconds(20);

// What a destructor gives back belongs to one GPU, and its thread may be at another, or at none: then CUDA would make a
// context on GPU 0, half a GB that nobody asked for. Does not throw.
class AtDevice {
 public:
  explicit AtDevice(int index) {
    C10_CUDA_CHECK_WARN(cudaGetDevice(&before_));
    C10_CUDA_CHECK_WARN(cudaSetDevice(index));
  }
  ~AtDevice() { C10_CUDA_CHECK_WARN(cudaSetDevice(before_)); }
  AtDevice(const AtDevice&) = delete;
  AtDevice& operator=(const AtDevice&) = delete;

 private:
  int before_ = 0;
};

int CurrentDevice() {
  int index = 0;
  C10_CUDA_CHECK(cudaGetDevice(&index));
  return index;
}

// Counts the device memory that the thread takes from libtorch's allocator while it is told to.
class AllocationCount : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device device) override {
    if (bytes > 0 && device.is_cuda()) ++count_;
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t count() const { return count_; }

 private:
  int64_t count_ = 0;
};

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
  ~Impl() {
    const AtDevice at(device);
    C10_CUDA_CHECK_WARN(cudaEventDestroy(event));
  }
  const int device = CurrentDevice();
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
  ~Impl() {
    if (launchable == nullptr) return;
    const AtDevice at(device);
    C10_CUDA_CHECK_WARN(cudaGraphExecDestroy(launchable));
  }
  const int device = CurrentDevice();
  cudaGraphExec_t launchable = nullptr;
};
Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

namespace {

struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { C10_CUDA_CHECK_WARN(cudaGraphDestroy(graph)); }
};
using CapturedGraph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, DestroyGraph>;

// What `record` enqueues on the current stream. The capture is ended whatever happens.
CapturedGraph Capture(absl::FunctionRef<void()> record) {
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  // Other threads of the process may go on allocating and copying.
  C10_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  std::exception_ptr failure;
  const auto allocations = std::make_shared<AllocationCount>();
  try {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, allocations);
    record();
  } catch (...) {
    failure = std::current_exception();
  }
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &captured);
  CapturedGraph graph(captured);
  if (ended != cudaSuccess) cudaGetLastError();  // so that no later call is blamed for it
  if (failure != nullptr) std::rethrow_exception(failure);
  if (ended != cudaSuccess) {
    throw std::runtime_error(absl::StrCat("a graph can't be recorded: ", cudaGetErrorString(ended)));
  }
  // libtorch's allocator knows nothing of the graph, and would give the same memory to others.
  if (allocations->count() > 0) throw std::logic_error("device memory is allocated while a graph is recorded");
  return graph;
}

}  // namespace

void Graph::Record(absl::FunctionRef<void()> record) {
  const CapturedGraph graph = Capture(record);
  auto impl = std::make_unique<Impl>();
  const cudaError_t made = cudaGraphInstantiate(&impl->launchable, graph.get(), 0);
  if (made != cudaSuccess) {
    cudaGetLastError();
    impl->launchable = nullptr;
    throw std::runtime_error(absl::StrCat("a recorded graph can't be launched: ", cudaGetErrorString(made)));
  }
  impl_ = std::move(impl);
}
void Graph::Launch() {
  if (impl_ == nullptr) throw std::logic_error("a graph is launched before it is recorded");
  C10_CUDA_CHECK(cudaGraphLaunch(impl_->launchable, c10::cuda::getCurrentCUDAStream()));
}
bool Graph::recorded() const { return impl_ != nullptr; }

// cudaMalloc itself, as the caching allocator's blocks are parts of what a handle would stand for.
struct ExportedMemory::Impl {
  explicit Impl(int index) : device(index) {}
  ~Impl() {
    if (data == nullptr) return;
    const AtDevice at(device);
    C10_CUDA_CHECK_WARN(cudaFree(data));
  }
  const int device;
  void* data = nullptr;
  cudaIpcMemHandle_t handle = {};
};
ExportedMemory::ExportedMemory(int index, size_t bytes) : impl_(std::make_unique<Impl>(index)) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(index));
  C10_CUDA_CHECK(cudaMalloc(&impl_->data, bytes));
  ZeroAsync(impl_->data, bytes);
  C10_CUDA_CHECK(cudaIpcGetMemHandle(&impl_->handle, impl_->data));
}
ExportedMemory::~ExportedMemory() = default;
ExportedMemory::ExportedMemory(ExportedMemory&&) noexcept = default;
ExportedMemory& ExportedMemory::operator=(ExportedMemory&&) noexcept = default;
void* ExportedMemory::data() const { return impl_->data; }
std::string ExportedMemory::handle() const { return {impl_->handle.reserved, sizeof(impl_->handle.reserved)}; }

struct ImportedMemory::Impl {
  explicit Impl(int index) : device(index) {}
  ~Impl() {
    if (data == nullptr) return;
    const AtDevice at(device);
    C10_CUDA_CHECK_WARN(cudaIpcCloseMemHandle(data));
  }
  const int device;
  void* data = nullptr;
};
ImportedMemory::ImportedMemory(int index, const std::string& handle) : impl_(std::make_unique<Impl>(index)) {
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
