// Matrix products C = A B with B laid out once in panels of 16 columns.
//
// Row r of C depends on row r of A and on B alone, bit for bit: any number of rows may be computed together.
// (libtorch's float32 product on CPUs changes its order of summation with the number of rows: docs/adr/0002.) Blocking;
// uses the intra-op threads.
#pragma once

#include <cstdint>

#include "common/ops/cpu/buffer.h"

namespace tactus::ops {

enum class PanelType { kFloat32, kBFloat16 };

// B [depth, columns], stored as ceil(columns / 16) panels: [depth, 16] of float32, or [ceil(depth / 2), 16, 2] of bf16.
// What lies past the end is 0.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(int64_t depth, int64_t columns, PanelType type);

  // Changes the shape, keeping the memory where it suffices; the content is lost.
  void Resize(int64_t depth, int64_t columns);

  // Columns [first_column, first_column + rows_of_w) become the rows of w [rows_of_w, depth]: y = x w^T of a linear
  // layer. first_column must be a multiple of 16 unless it is 0.
  void PackTransposed(const float* w, int64_t rows_of_w, int64_t first_column);
  // Rows [first_row, first_row + count) become those of w [count, columns], rows `w_row` apart. first_row is even, and
  // for bf16 count too unless these are the last rows.
  void PackRows(const float* w, int64_t count, int64_t first_row, int64_t w_row);

  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }
  int64_t panels() const { return (columns_ + 15) / 16; }
  PanelType type() const { return type_; }
  int64_t panel_bytes() const { return stored_depth() * 16 * (type_ == PanelType::kFloat32 ? 4 : 2); }
  // Panel p from row k on, k even.
  const void* panel(int64_t p, int64_t k) const {
    if (type_ == PanelType::kFloat32) return f32_.data() + (p * depth_ + k) * 16;
    return bf16_.data() + (p * stored_depth() + k) * 16;
  }

 private:
  int64_t stored_depth() const { return type_ == PanelType::kFloat32 ? depth_ : (depth_ + 1) / 2 * 2; }
  void PackPanel(const float* w, int64_t count, int64_t first_row, int64_t w_row, int64_t panel, int64_t lanes);
  void PackPanelF32(const float* w, int64_t count, int64_t first_row, int64_t w_row, int64_t panel, int64_t lanes);
  void PackPanelBf16(const float* w, int64_t count, int64_t first_row, int64_t w_row, int64_t panel, int64_t lanes);

  int64_t depth_ = 0;
  int64_t columns_ = 0;
  PanelType type_ = PanelType::kFloat32;
  Buffer<float> f32_;
  Buffer<uint16_t> bf16_;
};

// The left operand: element (r, k) at data[r * row + k * col].
struct StridedMatrix {
  const float* data = nullptr;
  int64_t row = 0;
  int64_t col = 1;
};

// C [rows, b.columns()] = A B, or += with accumulate. Rows of C are c_row floats apart.
void Gemm(StridedMatrix a, int64_t rows, const PackedMatrix& b, float* c, int64_t c_row, bool accumulate);

// C [rows, b.columns()] += A^T B for A [b.depth(), rows], rows of A a_row floats apart: a weight's gradient from the
// gradients and the inputs of its layer. Summed in a fixed order for any number of threads.
void GemmTransposedA(const float* a, int64_t a_row, int64_t rows, const PackedMatrix& b, float* c, int64_t c_row);

}  // namespace tactus::ops
