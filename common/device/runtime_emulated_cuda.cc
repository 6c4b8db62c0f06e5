// runtime_cuda.h on the CPU: work runs when it is enqueued, so every queue is always empty.
#include <ATen/ops/empty.h>

#include <cstring>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/device/emulator_cuda.h"
#include "common/device/runtime_cuda.h"

namespace tactus::device {
namespace {

using Recording = std::vector<std::function<void()>>;
thread_local Recording* recording = nullptr;
thread_local int64_t synchronize_count = 0;

void RefuseWhileRecording(const char* what) {
  if (recording != nullptr) throw std::logic_error(std::string(what) + " while a graph is recorded");
}

}  // namespace

namespace emulated {

void Enqueue(std::function<void()> work) {
  if (recording != nullptr) {
    recording->push_back(std::move(work));
  } else {
    work();
  }
}

}  // namespace emulated

bool Emulated() { return true; }
c10::Device TorchDevice(int) { return c10::Device(c10::kCPU); }

struct QueueGuard::Impl {};
QueueGuard::QueueGuard(int) {}
QueueGuard::~QueueGuard() = default;

at::Tensor DeviceEmpty(int, at::IntArrayRef sizes, at::ScalarType type) {
  RefuseWhileRecording("memory is allocated");
  return at::empty(sizes, at::TensorOptions().dtype(type));
}
at::Tensor PinnedEmpty(at::IntArrayRef sizes, at::ScalarType type) { return DeviceEmpty(0, sizes, type); }

void CopyAsync(void* to, const void* from, size_t bytes) {
  emulated::Enqueue([=] { std::memcpy(to, from, bytes); });
}
void ZeroAsync(void* to, size_t bytes) {
  emulated::Enqueue([=] { std::memset(to, 0, bytes); });
}

void Synchronize(absl::Duration) {
  RefuseWhileRecording("the host waits");
  ++synchronize_count;
}
int64_t SynchronizeCount() { return synchronize_count; }

struct Event::Impl {};
Event::Event() = default;
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
void Event::Record() {}
void Event::WaitFor() const {}
bool Event::Reached() const { return true; }

struct Graph::Impl {
  Recording work;
};
Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

void Graph::Record(absl::FunctionRef<void()> record) {
  RefuseWhileRecording("a graph is recorded");
  auto impl = std::make_unique<Impl>();
  recording = &impl->work;
  try {
    record();
  } catch (...) {
    recording = nullptr;
    throw;
  }
  recording = nullptr;
  impl_ = std::move(impl);
}
void Graph::Launch() {
  if (impl_ == nullptr) throw std::logic_error("a graph is launched before it is recorded");
  for (const auto& work : impl_->work) emulated::Enqueue(work);
}
bool Graph::recorded() const { return impl_ != nullptr; }

}  // namespace tactus::device
