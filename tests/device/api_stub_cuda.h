// CUDA's runtime library, as far as runtime_cuda.cc and c10 call it, without a GPU: two devices that do nothing but
// write down what is asked of them. Linked in the library's place, so a test of the real runtime_cuda.cc sees each
// call, its stream and the device that was current.
//
// Not thread-safe.
#pragma once

#include <string>
#include <vector>

namespace tactus::device::api_stub {

struct Call {
  std::string name;
  const void* stream = nullptr;  // null: the legacy stream, or a call that has none
  const void* object = nullptr;  // memory, an event, a graph
  int device = 0;                // current on the calling thread

  bool operator==(const Call&) const = default;
};

// Forgets what was called, and lets everything succeed again.
void Reset();
std::vector<Call> Calls();
// Those of one function.
std::vector<Call> Calls(const std::string& name);
// From now on the function fails, as a graph does that holds what can't be recorded.
void Fail(const std::string& name);
// What the library would say of the last call, without taking it back.
bool ErrorIsPending();

}  // namespace tactus::device::api_stub
