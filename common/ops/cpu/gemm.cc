#include "common/ops/cpu/gemm.h"

#include <algorithm>

#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus::ops {
namespace {

// Rows of A that one piece of work covers: they stay in the second-level cache while panels stream past. A multiple of
// every kernel's tile height.
constexpr int64_t kRowBlock = 84;
// Chains of A that are packed at a time, for the same reason.
constexpr int64_t kDepthBlock = 8;
// Rows of a panel that are transposed at a time, within the first-level cache. Even, as rows are stored in pairs.
constexpr int64_t kTurnedRows = 64;

}  // namespace

PackedMatrix::PackedMatrix(int64_t depth, int64_t columns, PanelType type)
    : depth_(depth), columns_(columns), type_(type) {
  const int64_t count = panels() * stored_depth() * kPanel;
  if (type == PanelType::kFloat32) {
    f32_ = Buffer<float>(count);
  } else {
    bf16_ = Buffer<uint16_t>(count);
  }
}

void PackedMatrix::Resize(int64_t depth, int64_t columns) {
  depth_ = depth;
  columns_ = columns;
  const int64_t count = panels() * stored_depth() * kPanel;
  if (type_ == PanelType::kFloat32) {
    f32_.Reserve(count);
  } else {
    bf16_.Reserve(count);
  }
}

void PackedMatrix::PackTransposed(const float* w, int64_t rows_of_w, int64_t first_column) {
  ParallelFor((rows_of_w + kPanel - 1) / kPanel, 1, [&](int64_t begin, int64_t end) {
    alignas(64) float turned[kTurnedRows * kPanel];
    for (int64_t p = begin; p < end; ++p) {
      const int64_t lanes = std::min(kPanel, rows_of_w - p * kPanel);
      for (int64_t first = 0; first < depth_; first += kTurnedRows) {
        const int64_t count = std::min(kTurnedRows, depth_ - first);
        for (int64_t lane = 0; lane < lanes; ++lane) {
          const float* from = w + (p * kPanel + lane) * depth_ + first;
          for (int64_t k = 0; k < count; ++k) turned[k * kPanel + lane] = from[k];
        }
        PackPanel(turned, count, first, kPanel, first_column / kPanel + p, lanes);
      }
    }
  });
}

void PackedMatrix::PackRows(const float* w, int64_t count, int64_t first_row, int64_t w_row) {
  ParallelFor(panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      PackPanel(w + p * kPanel, count, first_row, w_row, p, std::min(kPanel, columns_ - p * kPanel));
    }
  });
}

void PackedMatrix::PackPanel(const float* w, int64_t count, int64_t first_row, int64_t w_row, int64_t panel,
                             int64_t lanes) {
  if (type_ == PanelType::kFloat32) {
    PackPanelF32(w, count, first_row, w_row, panel, lanes);
  } else {
    PackPanelBf16(w, count, first_row, w_row, panel, lanes);
  }
}

void PackedMatrix::PackPanelF32(const float* w, int64_t count, int64_t first_row, int64_t w_row, int64_t panel,
                                int64_t lanes) {
  float* to = f32_.data() + (panel * depth_ + first_row) * kPanel;
  for (int64_t k = 0; k < count; ++k, to += kPanel) {
    std::copy_n(w + k * w_row, lanes, to);
    std::fill(to + lanes, to + kPanel, 0.0f);
  }
}

void PackedMatrix::PackPanelBf16(const float* w, int64_t count, int64_t first_row, int64_t w_row, int64_t panel,
                                 int64_t lanes) {
  const Kernels& kernels = ActiveKernels();
  uint16_t* to = bf16_.data() + (panel * stored_depth() + first_row) * kPanel;
  for (int64_t k = 0; k < count; k += 2, to += 2 * kPanel) {
    kernels.pair_bf16(w + k * w_row, k + 1 < count ? w + (k + 1) * w_row : nullptr, lanes, to);
  }
}

namespace {

// One product, cut into blocks of rows by pairs of panels.
class Product {
 public:
  Product(StridedMatrix a, int64_t rows, const PackedMatrix& b, float* c, int64_t c_row, bool accumulate)
      : kernels_(ActiveKernels()),
        bf16_(b.type() == PanelType::kBFloat16),
        a_(a),
        rows_(rows),
        b_(b),
        c_(c),
        c_row_(c_row),
        accumulate_(accumulate) {}

  void Run() const {
    const int64_t pairs = (b_.panels() + 1) / 2, blocks = (rows_ + kRowBlock - 1) / kRowBlock;
    // Pairs run fastest: a block of A is packed once and stays near while B streams.
    ParallelFor(blocks * pairs, 1, [&](int64_t begin, int64_t end) {
      thread_local Buffer<float> left;
      left.Reserve(kRowBlock * kLeftRow * std::min(kDepthBlock, (b_.depth() + kChain - 1) / kChain));
      while (begin < end) {
        const int64_t block = begin / pairs, stop = std::min(end, (block + 1) * pairs);
        RowBlock(block * kRowBlock, begin % pairs, stop - block * pairs, left.data());
        begin = stop;
      }
    });
  }

 private:
  // Rows from first_row on by pairs [first_pair, last_pair).
  void RowBlock(int64_t first_row, int64_t first_pair, int64_t last_pair, float* left) const {
    const int64_t rows = std::min(kRowBlock, rows_ - first_row), chains = (b_.depth() + kChain - 1) / kChain;
    for (int64_t chain = 0; chain < chains; chain += kDepthBlock) {
      const int64_t end = std::min(chains, chain + kDepthBlock);
      for (int64_t i = chain; i < end; ++i) PackChain(first_row, rows, i, left + (i - chain) * kRowBlock * kLeftRow);
      for (int64_t pair = first_pair; pair < last_pair; ++pair) PanelPair(first_row, rows, pair, chain, end, left);
    }
  }

  void PackChain(int64_t first_row, int64_t rows, int64_t chain, float* left) const {
    (bf16_ ? kernels_.pack_left_bf16 : kernels_.pack_left)({.a = a_.data + first_row * a_.row + chain * kChain * a_.col,
                                                            .a_row = a_.row,
                                                            .a_col = a_.col,
                                                            .rows = rows,
                                                            .depth = std::min(kChain, b_.depth() - chain * kChain),
                                                            .out = left});
  }

  // Two panels of columns (the last may be alone), chains [first, last). Several chains are added up in a buffer of
  // their own: rows of C often lie a multiple of a page apart and throw each other out of the cache.
  void PanelPair(int64_t first_row, int64_t rows, int64_t pair, int64_t first, int64_t last, const float* left) const {
    alignas(64) float buffer[kRowBlock * 2 * kPanel];
    const int64_t panel = 2 * pair, lanes = std::min(2 * kPanel, b_.columns() - panel * kPanel);
    float* const target = c_ + first_row * c_row_ + panel * kPanel;
    const bool direct = lanes % kPanel == 0 && last - first == 1;
    bool accumulate = accumulate_ || first > 0;
    const void* const following = b_.panel(panel + 2 < b_.panels() ? panel + 2 : panel, first * kChain);
    PanelGemmArgs args{.rows = rows,
                       .panels = (lanes + kPanel - 1) / kPanel,
                       .b_panel_bytes = b_.panel_bytes(),
                       .c = direct ? target : buffer,
                       .c_row = direct ? c_row_ : 2 * kPanel};
    for (int64_t r = 0; !direct && accumulate && r < rows; ++r) {
      std::copy_n(target + r * c_row_, lanes, buffer + r * 2 * kPanel);
    }
    for (int64_t chain = first; chain < last; ++chain) {
      args.depth = std::min(kChain, b_.depth() - chain * kChain);
      args.left = left + (chain - first) * kRowBlock * kLeftRow;
      args.b = b_.panel(panel, chain * kChain);
      args.next_b = chain + 1 < last ? b_.panel(panel, (chain + 1) * kChain) : following;
      args.accumulate = accumulate;
      (bf16_ ? kernels_.panel_gemm_bf16 : kernels_.panel_gemm)(args);
      accumulate = true;
    }
    for (int64_t r = 0; !direct && r < rows; ++r) {
      std::copy_n(buffer + r * 2 * kPanel, lanes, target + r * c_row_);
    }
  }

  const Kernels& kernels_;
  const bool bf16_;
  const StridedMatrix a_;
  const int64_t rows_;
  const PackedMatrix& b_;
  float* const c_;
  const int64_t c_row_;
  const bool accumulate_;
};

}  // namespace

void Gemm(StridedMatrix a, int64_t rows, const PackedMatrix& b, float* c, int64_t c_row, bool accumulate) {
  Product(a, rows, b, c, c_row, accumulate).Run();
}

void GemmTransposedA(const float* a, int64_t a_row, int64_t rows, const PackedMatrix& b, float* c, int64_t c_row) {
  Product({.data = a, .row = 1, .col = a_row}, rows, b, c, c_row, /*accumulate=*/true).Run();
}

}  // namespace tactus::ops
