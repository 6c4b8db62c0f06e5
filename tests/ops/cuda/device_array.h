// What the tests of kernels share: arrays in device memory, rounding to a storage type, thread orders.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "common/device/runtime_cuda.h"
#include "tests/device/need_gpu.h"
#ifdef TACTUS_CUDA_EMULATED
#include "common/device/emulator_cuda.h"
#endif

namespace tactus::ops::cuda {

// A host array's copy on GPU 0. Elements that no copy covers are 0xff bytes, which are NaNs.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) { Write(host); }
  explicit DeviceArray(size_t count) : count_(count) {
    const int64_t bytes = static_cast<int64_t>(count * sizeof(T));
    memory_ = device::DeviceEmpty(0, {bytes == 0 ? 1 : bytes}, at::ScalarType::Byte);
    Write(std::vector<T>(count, NotANumber()));
  }

  void Write(const std::vector<T>& host) {
    device::CopyAsync(memory_.data_ptr(), host.data(), count_ * sizeof(T));
    device::Synchronize();
  }
  std::vector<T> Read() const {
    std::vector<T> host(count_);
    device::CopyAsync(host.data(), memory_.data_ptr(), count_ * sizeof(T));
    device::Synchronize();
    return host;
  }
  T* get() { return static_cast<T*>(memory_.data_ptr()); }
  const T* get() const { return static_cast<const T*>(memory_.data_ptr()); }

 private:
  static T NotANumber() {
    T value;
    std::memset(static_cast<void*>(&value), 0xff, sizeof(T));
    return value;
  }
  size_t count_;
  at::Tensor memory_;
};

template <typename T>
constexpr at::ScalarType TypeOf() {
  if constexpr (std::is_same_v<T, float>) return at::ScalarType::Float;
  if constexpr (std::is_same_v<T, c10::BFloat16>) return at::ScalarType::BFloat16;
  return at::ScalarType::Half;
}

// Half the distance between 1 and the next number of T: what one rounding to T may change, relatively.
template <typename T>
constexpr double Roundoff() {
  if constexpr (std::is_same_v<T, float>) return 0x1p-24;
  if constexpr (std::is_same_v<T, c10::BFloat16>) return 0x1p-8;
  return 0x1p-11;
}

// What it may change besides where numbers are so small that they have fewer digits: half's step there is 2^-24.
template <typename T>
constexpr double TinyRoundoff() {
  return std::is_same_v<T, c10::Half> ? 0x1p-25 : 0.0;
}

using StorageTypes = testing::Types<float, c10::BFloat16, c10::Half>;

template <typename T>
std::vector<T> RandomArray(size_t count, uint64_t seed, float scale = 1.0f) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(normal(generator));
  return values;
}

// |actual - expected| is at most `sum_error` (the kernel's float32 arithmetic) and one rounding to T.
template <typename T>
void ExpectNear(T actual, double expected, double sum_error, const char* what, int64_t at) {
  ASSERT_NEAR(static_cast<double>(static_cast<float>(actual)), expected,
              sum_error + Roundoff<T>() * (std::abs(expected) + sum_error) + TinyRoundoff<T>())
      << what << " at " << at;
}

template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  static_assert(std::is_trivially_copyable_v<T>);
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
// Runs `run`, which returns a result's bits, in several orders of threads and blocks; all must agree. On a GPU, whose
// order nobody sets, twice.
template <typename Run>
auto InEveryOrder(Run run) {
#ifdef TACTUS_CUDA_EMULATED
  device::emulated::SetOrder(0);
  auto first = run();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    device::emulated::SetOrder(seed);
    const auto again = run();
    EXPECT_TRUE(SameBits(again, first)) << "in thread order " << seed;
  }
  device::emulated::SetOrder(0);
#else
  auto first = run();
  EXPECT_TRUE(SameBits(run(), first)) << "in a second run";
#endif
  return first;
}

}  // namespace tactus::ops::cuda
