// Sums over rows in a fixed order, for the gradients of norms and biases. Internal to common/ops/cuda.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace tactus::ops::cuda {

constexpr unsigned BlocksFor(int64_t count, int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

// total [width] += partial rows 0, 1, … , blocks - 1, in this order; rows of `partial` are `stride` floats apart.
void AddBlockSums(const float* partial, int64_t blocks, int64_t width, int64_t stride, float* total);

// total [width] += the rows of x T [rows, width]; workspace: GradientWorkspaceFloats(rows, width).
void AddColumnSums(const void* x, int64_t rows, int64_t width, at::ScalarType type, float* workspace, float* total);

}  // namespace tactus::ops::cuda
