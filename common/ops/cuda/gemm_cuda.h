// Matrix products on a GPU, by libtorch (cuBLAS). Sums are float32 (never TF32, never partial sums in bfloat16).
//
// All matrices are dense and row-major, in device memory on the current device. T is float32, bfloat16 or half; what
// cuBLAS refuses throws std::exception. Calls enqueue on the current queue and do not block; cuBLAS may make its
// workspace in the first call on a queue, so run once before recording. Which order a sum has is cuBLAS's choice
// and may change with R: no promise on bits between batch sizes. The emulation's order depends on K alone.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace tactus::ops::cuda {

// y [R, N] = x [R, K] w^T with w [N, K]: a linear layer. y_type: T, or float32 whatever T is.
void Linear(const void* x, int64_t rows, const void* w, int64_t columns, int64_t depth, at::ScalarType type, void* y,
            at::ScalarType y_type);

// dx T [R, K] = dy T [R, N] w with w [N, K]: a linear layer's gradient for its input.
void LinearBackwardInput(const void* dy, int64_t rows, int64_t columns, const void* w, int64_t depth,
                         at::ScalarType type, void* dx);

// dw float32 [N, K] += dy T [R, N]^T x T [R, K]: for its weights. Zero dw before the first rows.
void LinearBackwardWeight(const void* dy, int64_t rows, int64_t columns, const void* x, int64_t depth,
                          at::ScalarType type, float* dw);

}  // namespace tactus::ops::cuda
