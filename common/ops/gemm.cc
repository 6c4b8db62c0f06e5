#include "common/ops/gemm.h"

#include <algorithm>

#include "common/base/dtype.h"
#include "common/ops/kernels.h"
#include "common/ops/parallel.h"

namespace tactus::ops {
namespace {

// Rows of A that one piece of work covers: they stay in the second-level cache while panels stream past.
constexpr int64_t kRowBlock = 96;

}  // namespace

PackedMatrix::PackedMatrix(int64_t depth, int64_t columns, PanelType type)
    : depth_(depth), columns_(columns), type_(type) {
  const int64_t count = panels() * depth * kPanel;
  if (type == PanelType::kFloat32) {
    f32_ = Buffer<float>(count);
  } else {
    bf16_ = Buffer<uint16_t>(count);
  }
}

void PackedMatrix::Resize(int64_t depth, int64_t columns) {
  depth_ = depth;
  columns_ = columns;
  const int64_t count = panels() * depth * kPanel;
  if (type_ == PanelType::kFloat32) {
    f32_.Reserve(count);
  } else {
    bf16_.Reserve(count);
  }
}

inline void PackedMatrix::Put(int64_t panel, int64_t row, int64_t lane, float value) {
  const int64_t at = (panel * depth_ + row) * kPanel + lane;
  if (type_ == PanelType::kFloat32) {
    f32_[at] = value;
  } else {
    bf16_[at] = FloatToBFloat16(value);
  }
}

void PackedMatrix::PackTransposed(const float* w, int64_t rows_of_w, int64_t first_column) {
  ParallelFor((rows_of_w + kPanel - 1) / kPanel, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t lanes = std::min(kPanel, rows_of_w - p * kPanel);
      const float* block = w + p * kPanel * depth_;
      for (int64_t k = 0; k < depth_; ++k) {
        for (int64_t lane = 0; lane < lanes; ++lane) {
          Put(first_column / kPanel + p, k, lane, block[lane * depth_ + k]);
        }
      }
    }
  });
}

void PackedMatrix::PackRows(const float* w, int64_t count, int64_t first_row, int64_t w_row) {
  ParallelFor(panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t lanes = std::min(kPanel, columns_ - p * kPanel);
      const bool whole = lanes == kPanel && type_ == PanelType::kFloat32;
      for (int64_t k = 0; k < count; ++k) {
        const float* row = w + k * w_row + p * kPanel;
        if (whole) {
          std::copy_n(row, kPanel, f32_.data() + (p * depth_ + first_row + k) * kPanel);
          continue;
        }
        for (int64_t lane = 0; lane < kPanel; ++lane) Put(p, first_row + k, lane, lane < lanes ? row[lane] : 0.0f);
      }
    }
  });
}

namespace {

// One panel of columns for a block of rows. bf16 panels are widened a chain at a time into first-level cache.
void PanelBlock(const Kernels& kernels, StridedMatrix a, int64_t first_row, int64_t rows, const PackedMatrix& b,
                int64_t panel, float* c, int64_t c_row, bool accumulate) {
  alignas(64) float widened[kChain * kPanel];
  alignas(64) float edge[kRowBlock * kPanel];
  const int64_t lanes = std::min(kPanel, b.columns() - panel * kPanel);
  float* target = c + first_row * c_row + panel * kPanel;
  TileArgs tile{.rows = rows,
                .a = a.data + first_row * a.row,
                .a_row = a.row,
                .a_col = a.col,
                .c = target,
                .c_row = c_row,
                .accumulate = accumulate};
  if (lanes < kPanel) {
    for (int64_t r = 0; accumulate && r < rows; ++r) std::copy_n(target + r * c_row, lanes, edge + r * kPanel);
    tile.c = edge;
    tile.c_row = kPanel;
  }
  for (int64_t k = 0; k == 0 || k < b.depth(); k += kChain) {
    tile.depth = std::min(kChain, b.depth() - k);
    if (b.type() == PanelType::kFloat32) {
      tile.b = b.panel_f32(panel) + k * kPanel;
    } else {
      kernels.widen_bf16(b.panel_bf16(panel) + k * kPanel, tile.depth * kPanel, widened);
      tile.b = widened;
    }
    kernels.tile_gemm(tile);
    tile.a += kChain * a.col;
    tile.accumulate = true;
  }
  if (lanes < kPanel) {
    for (int64_t r = 0; r < rows; ++r) std::copy_n(edge + r * kPanel, lanes, target + r * c_row);
  }
}

}  // namespace

void Gemm(StridedMatrix a, int64_t rows, const PackedMatrix& b, float* c, int64_t c_row, bool accumulate) {
  const Kernels& kernels = ActiveKernels();
  const int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock;
  const int64_t panels = b.panels();
  // Panels run fastest: the block of A stays near while B streams.
  ParallelFor(row_blocks * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first_row = item / panels * kRowBlock;
      PanelBlock(kernels, a, first_row, std::min(kRowBlock, rows - first_row), b, item % panels, c, c_row, accumulate);
    }
  });
}

void GemmTransposedA(const float* a, int64_t a_row, int64_t rows, const PackedMatrix& b, float* c, int64_t c_row) {
  const Kernels& kernels = ActiveKernels();
  ParallelFor((rows + kRowBlock - 1) / kRowBlock, 1, [&](int64_t begin, int64_t end) {
    // A's columns lie far apart, often a power of two: a block is gathered once and used for every panel.
    thread_local Buffer<float> block;
    block.Reserve(kChain * kRowBlock);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item * kRowBlock, count = std::min(kRowBlock, rows - first);
      for (int64_t k = 0; k < b.depth(); k += kChain) {
        const int64_t depth = std::min(kChain, b.depth() - k);
        for (int64_t i = 0; i < depth; ++i)
          std::copy_n(a + (k + i) * a_row + first, count, block.data() + i * kRowBlock);
        for (int64_t panel = 0; panel < b.panels(); ++panel) {
          kernels.tile_gemm({.rows = count,
                             .depth = depth,
                             .a = block.data(),
                             .a_row = 1,
                             .a_col = kRowBlock,
                             .b = b.panel_f32(panel) + k * kPanel,
                             .c = c + first * c_row + panel * kPanel,
                             .c_row = c_row,
                             .accumulate = true});
        }
      }
    }
  });
}

}  // namespace tactus::ops
