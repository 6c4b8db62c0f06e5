// Arrays on their way to where a backend computes: gathered in host memory, then sent in one piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace tactus::ops {

// The host's half: arrays one after the other, each at a multiple of 16 bytes. Not thread-safe.
class HostArrays {
 public:
  void Clear() { bytes_.clear(); }

  // The array's place. Places hold until Clear.
  template <typename T>
  int64_t Add(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= kAlignment);
    const size_t place = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.resize(place + values.size_bytes());
    if (!values.empty()) std::memcpy(bytes_.data() + place, values.data(), values.size_bytes());
    return static_cast<int64_t>(place);
  }
  template <typename T>
  int64_t Add(const std::vector<T>& values) {
    return Add(std::span<const T>(values));
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  static constexpr size_t kAlignment = 16;
  std::vector<std::byte> bytes_;
};

}  // namespace tactus::ops
