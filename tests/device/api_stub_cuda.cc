#include "tests/device/api_stub_cuda.h"

#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <set>
#include <utility>

// In no header; libtorch_cuda, which is not here, calls it.
namespace c10::cuda::_internal {
C10_CUDA_API void setHasPrimaryContext(bool (*has)(DeviceIndex));
}

namespace tactus::device::api_stub {
namespace {

constexpr int kDevices = 2;

struct State {
  std::vector<Call> calls;
  std::set<std::string> failing;
  cudaError_t last = cudaSuccess;
  std::uintptr_t next_handle = 0x1000;
};
State& Stub() {
  static State state;
  return state;
}
thread_local int current = 0;

cudaError_t Note(const char* name, const void* stream = nullptr, const void* object = nullptr) {
  State& stub = Stub();
  stub.calls.push_back({.name = name, .stream = stream, .object = object, .device = current});
  if (!stub.failing.contains(name)) return cudaSuccess;
  return stub.last = cudaErrorStreamCaptureUnsupported;
}

template <typename Handle>
cudaError_t Make(const char* name, Handle* handle, const void* stream = nullptr) {
  *handle = reinterpret_cast<Handle>(Stub().next_handle += 16);
  return Note(name, stream, *handle);
}

}  // namespace

void Reset() {
  c10::cuda::_internal::setHasPrimaryContext([](c10::DeviceIndex) { return true; });
  Stub().calls.clear();
  Stub().failing.clear();
  Stub().last = cudaSuccess;
}
std::vector<Call> Calls() { return Stub().calls; }
std::vector<Call> Calls(const std::string& name) {
  std::vector<Call> calls;
  std::ranges::copy_if(Stub().calls, std::back_inserter(calls), [&](const Call& call) { return call.name == name; });
  return calls;
}
void Fail(const std::string& name) { Stub().failing.insert(name); }
bool ErrorIsPending() { return Stub().last != cudaSuccess; }

}  // namespace tactus::device::api_stub

using tactus::device::api_stub::current;
using tactus::device::api_stub::kDevices;
using tactus::device::api_stub::Make;
using tactus::device::api_stub::Note;
using tactus::device::api_stub::Stub;

// NOLINTBEGIN(readability-identifier-naming): CUDA's own names.
extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = kDevices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  current = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return Note("cudaDeviceSynchronize"); }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  properties->major = 9;
  properties->multiProcessorCount = 1;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return std::exchange(Stub().last, cudaSuccess); }
const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : "the stub refuses"; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorOfTheStub"; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::calloc(bytes, 1);
  return Note("cudaMalloc", nullptr, *memory);
}
cudaError_t cudaFree(void* memory) {
  const cudaError_t freed = Note("cudaFree", nullptr, memory);
  std::free(memory);
  return freed;
}
cudaError_t cudaMemset(void* to, int, size_t) { return Note("cudaMemset", nullptr, to); }
cudaError_t cudaMemsetAsync(void* to, int, size_t, cudaStream_t stream) { return Note("cudaMemsetAsync", stream, to); }
cudaError_t cudaMemcpy(void* to, const void*, size_t, cudaMemcpyKind) { return Note("cudaMemcpy", nullptr, to); }
cudaError_t cudaMemcpyAsync(void* to, const void*, size_t, cudaMemcpyKind, cudaStream_t stream) {
  return Note("cudaMemcpyAsync", stream, to);
}
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* memory) {
  std::memcpy(handle->reserved, &memory, sizeof memory);
  return Note("cudaIpcGetMemHandle", nullptr, memory);
}
cudaError_t cudaIpcOpenMemHandle(void** memory, cudaIpcMemHandle_t handle, unsigned) {
  std::memcpy(memory, handle.reserved, sizeof *memory);
  return Note("cudaIpcOpenMemHandle", nullptr, *memory);
}
cudaError_t cudaIpcCloseMemHandle(void* memory) { return Note("cudaIpcCloseMemHandle", nullptr, memory); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  return Make("cudaStreamCreateWithPriority", stream);
}
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return Note("cudaStreamWaitEvent", stream, event);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return Make("cudaEventCreateWithFlags", event); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return Note("cudaEventRecord", stream, event); }
cudaError_t cudaEventQuery(cudaEvent_t event) { return Note("cudaEventQuery", nullptr, event); }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return Note("cudaEventSynchronize", nullptr, event); }
cudaError_t cudaEventElapsedTime(float* elapsed_ms, cudaEvent_t, cudaEvent_t) {
  *elapsed_ms = 0;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return Note("cudaEventDestroy", nullptr, event); }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return Note("cudaStreamBeginCapture", stream);
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const cudaError_t ended = Make("cudaStreamEndCapture", graph, stream);
  if (ended != cudaSuccess) *graph = nullptr;
  return ended;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* launchable, cudaGraph_t, unsigned long long) {
  return Make("cudaGraphInstantiate", launchable);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t launchable, cudaStream_t stream) {
  return Note("cudaGraphLaunch", stream, launchable);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return Note("cudaGraphDestroy", nullptr, graph); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t launchable) {
  return Note("cudaGraphExecDestroy", nullptr, launchable);
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming)
