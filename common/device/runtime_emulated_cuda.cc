// runtime_cuda.h on the CPU: work runs when it is enqueued, so every queue is always empty.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/device/emulator_cuda.h"
#include "common/device/runtime_cuda.h"

namespace tactus::device {
namespace {

using Recording = std::vector<std::function<void()>>;
thread_local Recording* recording = nullptr;
thread_local int64_t synchronize_count = 0;
std::atomic<bool> graphs_refused = false;

// What is taken of a GPU's memory, and its largest.
struct Account {
  std::mutex mutex;
  emulated::DeviceBytes bytes;
  void Add(int64_t more) {
    const std::lock_guard lock(mutex);
    bytes.now += more;
    bytes.peak = std::max(bytes.peak, bytes.now);
  }
};
Account& AccountOf(int index) {
  static auto* const mutex = new std::mutex;
  static auto* const accounts = new std::map<int, Account>;  // tensors of the process's end still tell them
  const std::lock_guard lock(*mutex);
  return (*accounts)[index];
}

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

DeviceBytes TakenBytes(int index) {
  Account& account = AccountOf(index);
  const std::lock_guard lock(account.mutex);
  return account.bytes;
}
void ResetPeak(int index) {
  Account& account = AccountOf(index);
  const std::lock_guard lock(account.mutex);
  account.bytes.peak = account.bytes.now;
}

void RefuseGraphs(bool refuse) { graphs_refused = refuse; }

}  // namespace emulated

bool Emulated() { return true; }
c10::Device TorchDevice(int) { return c10::Device(c10::kCPU); }

struct Queue::Impl {};
Queue::Queue(int) {}
Queue::~Queue() = default;

struct QueueGuard::Impl {};
QueueGuard::QueueGuard(int) {}
QueueGuard::QueueGuard(const Queue&) {}
QueueGuard::~QueueGuard() = default;

at::Tensor DeviceEmpty(int index, at::IntArrayRef sizes, at::ScalarType type) {
  at::Tensor memory = PinnedEmpty(sizes, type);
  const auto bytes = static_cast<int64_t>(memory.nbytes());
  AccountOf(index).Add(bytes);
  void* const data = memory.data_ptr();
  return at::from_blob(
      data, sizes, [memory = std::move(memory), index, bytes](void*) { AccountOf(index).Add(-bytes); },
      at::TensorOptions().dtype(type));
}
at::Tensor PinnedEmpty(at::IntArrayRef sizes, at::ScalarType type) {
  RefuseWhileRecording("memory is allocated");
  return at::empty(sizes, at::TensorOptions().dtype(type));
}

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
  if (graphs_refused) throw std::runtime_error("a graph can't be recorded: the emulation refuses");
  impl_ = std::move(impl);
}
void Graph::Launch() {
  if (impl_ == nullptr) throw std::logic_error("a graph is launched before it is recorded");
  for (const auto& work : impl_->work) emulated::Enqueue(work);
}
bool Graph::recorded() const { return impl_ != nullptr; }

namespace {

// What this process exports, by handle.
struct Exports {
  std::mutex mutex;
  int64_t next = 0;
  std::map<std::string, std::shared_ptr<std::vector<char>>> by_handle;
};
Exports& AllExports() {
  static Exports exports;
  return exports;
}

}  // namespace

struct ExportedMemory::Impl {
  ~Impl() {
    AccountOf(index).Add(-static_cast<int64_t>(memory->size()));
    const std::lock_guard lock(AllExports().mutex);
    AllExports().by_handle.erase(handle);
  }
  int index = 0;
  std::string handle;
  std::shared_ptr<std::vector<char>> memory;
};
ExportedMemory::ExportedMemory(int index, size_t bytes) : impl_(std::make_unique<Impl>()) {
  impl_->memory = std::make_shared<std::vector<char>>(bytes);
  impl_->index = index;
  AccountOf(index).Add(static_cast<int64_t>(bytes));
  Exports& exports = AllExports();
  const std::lock_guard lock(exports.mutex);
  impl_->handle = "emulated " + std::to_string(exports.next++);
  exports.by_handle[impl_->handle] = impl_->memory;
}
ExportedMemory::~ExportedMemory() = default;
ExportedMemory::ExportedMemory(ExportedMemory&&) noexcept = default;
ExportedMemory& ExportedMemory::operator=(ExportedMemory&&) noexcept = default;
void* ExportedMemory::data() const { return impl_->memory->data(); }
std::string ExportedMemory::handle() const { return impl_->handle; }

struct ImportedMemory::Impl {
  std::shared_ptr<std::vector<char>> memory;
};
ImportedMemory::ImportedMemory(int, const std::string& handle) : impl_(std::make_unique<Impl>()) {
  Exports& exports = AllExports();
  const std::lock_guard lock(exports.mutex);
  const auto found = exports.by_handle.find(handle);
  if (found == exports.by_handle.end()) throw std::invalid_argument("nobody exports memory by this handle");
  impl_->memory = found->second;
}
ImportedMemory::~ImportedMemory() = default;
ImportedMemory::ImportedMemory(ImportedMemory&&) noexcept = default;
ImportedMemory& ImportedMemory::operator=(ImportedMemory&&) noexcept = default;
const void* ImportedMemory::data() const { return impl_->memory->data(); }

}  // namespace tactus::device
