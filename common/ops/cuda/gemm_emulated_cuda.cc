// gemm_cuda.h on the CPU: plain loops. As cuBLAS chooses another algorithm for another number of rows, so the order of
// a sum depends here on that number: who relies on equal bits between two numbers of rows fails in the emulation too.
#include "common/device/emulator_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"
#include "common/ops/cuda/gemm_cuda.h"

namespace tactus::ops::cuda {
namespace {

// Both factors by strides: element (i, k) of a, (k, j) of b. C [rows, columns] is dense.
template <typename T>
struct Factor {
  const T* data;
  int64_t row, column;
};

// The products of [begin, end) of the depth.
template <typename T>
float SumOf(Factor<T> a, Factor<T> b, int64_t i, int64_t j, int64_t begin, int64_t end) {
  constexpr int64_t kLanes = 4;  // sums that the processor can work on side by side
  float sums[kLanes] = {};
  for (int64_t k = begin; k < end; ++k) {
    sums[k % kLanes] +=
        static_cast<float>(a.data[i * a.row + k * a.column]) * static_cast<float>(b.data[k * b.row + j * b.column]);
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

template <typename T, typename Out>
void Multiply(Factor<T> a, Factor<T> b, int64_t rows, int64_t columns, int64_t depth, bool accumulate, Out* c) {
  const int64_t cut = depth * (rows % 8) / 8;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const float sum = SumOf(a, b, i, j, 0, cut) + SumOf(a, b, i, j, cut, depth);
      Out& to = c[i * columns + j];
      to = static_cast<Out>(accumulate ? static_cast<float>(to) + sum : sum);
    }
  }
}

}  // namespace

void Linear(const void* x, int64_t rows, const void* w, int64_t columns, int64_t depth, at::ScalarType type, void* y,
            at::ScalarType y_type) {
  ForStorageType(type, "Linear", [=](auto tag) {
    using T = typename decltype(tag)::type;
    const Factor<T> a{static_cast<const T*>(x), depth, 1}, b{static_cast<const T*>(w), 1, depth};
    if (y_type != type && y_type != at::ScalarType::Float) {
      throw std::invalid_argument("Linear: the result's type is neither the factors' nor float32");
    }
    device::emulated::Enqueue([=] {
      if (y_type == at::ScalarType::Float) {
        Multiply(a, b, rows, columns, depth, false, static_cast<float*>(y));
      } else {
        Multiply(a, b, rows, columns, depth, false, static_cast<T*>(y));
      }
    });
  });
}

void LinearBackwardInput(const void* dy, int64_t rows, int64_t columns, const void* w, int64_t depth,
                         at::ScalarType type, void* dx) {
  ForStorageType(type, "LinearBackwardInput", [=](auto tag) {
    using T = typename decltype(tag)::type;
    const Factor<T> a{static_cast<const T*>(dy), columns, 1}, b{static_cast<const T*>(w), depth, 1};
    device::emulated::Enqueue([=] { Multiply(a, b, rows, depth, columns, false, static_cast<T*>(dx)); });
  });
}

void LinearBackwardWeight(const void* dy, int64_t rows, int64_t columns, const void* x, int64_t depth,
                          at::ScalarType type, float* dw) {
  ForStorageType(type, "LinearBackwardWeight", [=](auto tag) {
    using T = typename decltype(tag)::type;
    const Factor<T> a{static_cast<const T*>(dy), 1, columns}, b{static_cast<const T*>(x), depth, 1};
    device::emulated::Enqueue([=] { Multiply(a, b, columns, depth, rows, true, dw); });
  });
}

}  // namespace tactus::ops::cuda
