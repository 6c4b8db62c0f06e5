// Floats in the memory of the current GPU, for tests.
#pragma once

#include <span>
#include <vector>

namespace tactus {

class DeviceFloats {
 public:
  // The copy is on the current stream and may still be under way.
  explicit DeviceFloats(const std::vector<float>& values);
  ~DeviceFloats();
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;
  std::span<float> span() { return {data_, size_}; }  // not for the host to read
  std::vector<float> ToHost() const;                  // on the current stream; blocks

 private:
  float* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tactus
