#include "common/ops/cuda/gemm_cuda.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/cuda/CUDAFunctions.h>

namespace tactus::ops::cuda {
namespace {

at::Tensor Matrix(const void* data, int64_t rows, int64_t columns, at::ScalarType type) {
  return at::from_blob(const_cast<void*>(data), {rows, columns},
                       at::TensorOptions().dtype(type).device(c10::kCUDA, c10::cuda::current_device()));
}

// libtorch lets cuBLAS add partial sums in the storage type unless told otherwise.
void SumInFloat32() {
  static const bool done = [] {
    at::globalContext().setAllowBF16ReductionCuBLAS(false);
    at::globalContext().setAllowFP16ReductionCuBLAS(false);
    return true;
  }();
  static_cast<void>(done);
}

void Multiply(const at::Tensor& a, const at::Tensor& b, at::Tensor out) {
  SumInFloat32();
  if (out.scalar_type() == a.scalar_type()) {
    at::mm_out(out, a, b);
  } else {
    at::mm_out(out, a, b, out.scalar_type());
  }
}

}  // namespace

void Linear(const void* x, int64_t rows, const void* w, int64_t columns, int64_t depth, at::ScalarType type, void* y,
            at::ScalarType y_type) {
  if (rows == 0) return;
  Multiply(Matrix(x, rows, depth, type), Matrix(w, columns, depth, type).t(), Matrix(y, rows, columns, y_type));
}

void LinearBackwardInput(const void* dy, int64_t rows, int64_t columns, const void* w, int64_t depth,
                         at::ScalarType type, void* dx) {
  if (rows == 0) return;
  Multiply(Matrix(dy, rows, columns, type), Matrix(w, columns, depth, type), Matrix(dx, rows, depth, type));
}

void LinearBackwardWeight(const void* dy, int64_t rows, int64_t columns, const void* x, int64_t depth,
                          at::ScalarType type, float* dw) {
  if (rows == 0) return;
  SumInFloat32();
  const at::Tensor left = Matrix(dy, rows, columns, type).t(), right = Matrix(x, rows, depth, type);
  at::Tensor sum = Matrix(dw, columns, depth, at::ScalarType::Float);
  if (type == at::ScalarType::Float) {
    at::addmm_out(sum, sum, left, right);
  } else {
    at::addmm_out(sum, sum, left, right, at::ScalarType::Float);
  }
}

}  // namespace tactus::ops::cuda
