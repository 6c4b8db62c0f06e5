#include "common/ops/cpu/gemm.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/base/dtype.h"
#include "common/ops/cpu/parallel.h"
#include "tests/ops/reference.h"

namespace tactus::ops {
namespace {

struct Shape {
  int64_t rows, columns, depth;
};
constexpr Shape kShapes[] = {{1, 16, 16},  {1, 576, 1536}, {5, 48, 300},   {6, 250, 64},
                             {7, 33, 257}, {97, 128, 256}, {200, 80, 512}, {13, 16, 1}};

float Rounded(float x) { return BFloat16ToFloat(FloatToBFloat16(x)); }

// bf16 panels: both factors are rounded to bf16 first; the sum has the error bound of float32.
TEST(GemmTest, AgreesWithFloat64) {
  for (const Shape& shape : kShapes) {
    const std::vector<float> a = RandomFloats(shape.rows * shape.depth, 1);
    const std::vector<float> w = RandomFloats(shape.columns * shape.depth, 2);
    for (const PanelType type : {PanelType::kFloat32, PanelType::kBFloat16}) {
      PackedMatrix b(shape.depth, shape.columns, type);
      b.PackTransposed(w.data(), shape.columns, 0);
      std::vector<float> c = RandomFloats(shape.rows * shape.columns, 3);
      const std::vector<float> before = c;
      Gemm({a.data(), shape.depth}, shape.rows, b, c.data(), shape.columns, /*accumulate=*/true);
      for (int64_t r = 0; r < shape.rows; ++r) {
        for (int64_t n = 0; n < shape.columns; ++n) {
          double expected = before[static_cast<size_t>(r * shape.columns + n)], magnitude = 0;
          for (int64_t k = 0; k < shape.depth; ++k) {
            const float left = a[static_cast<size_t>(r * shape.depth + k)];
            const float right = w[static_cast<size_t>(n * shape.depth + k)];
            const double term = type == PanelType::kFloat32 ? static_cast<double>(left) * right
                                                            : static_cast<double>(Rounded(left)) * Rounded(right);
            expected += term;
            magnitude += std::abs(term);
          }
          ASSERT_NEAR(c[static_cast<size_t>(r * shape.columns + n)], expected, 1e-6 * magnitude + 1e-6)
              << shape.rows << "x" << shape.columns << "x" << shape.depth;
        }
      }
    }
  }
}

// The promise everything rests on: a row's result has the same bits alone and among any others.
TEST(GemmTest, RowsDoNotDependOnTheirNeighbours) {
  constexpr int64_t kDepth = 577, kColumns = 200, kRows = 230;
  const std::vector<float> a = RandomFloats(kRows * kDepth, 1);
  const std::vector<float> w = RandomFloats(kColumns * kDepth, 2);
  for (const PanelType type : {PanelType::kFloat32, PanelType::kBFloat16}) {
    PackedMatrix b(kDepth, kColumns, type);
    b.PackTransposed(w.data(), kColumns, 0);
    std::vector<float> all(kRows * kColumns);
    Gemm({a.data(), kDepth}, kRows, b, all.data(), kColumns, false);
    for (const int64_t count : {1, 2, 5, 7, 13, 14, 15, 32, 85, 97}) {
      for (int64_t first = 0; first + count <= kRows; first += 61) {
        std::vector<float> some(static_cast<size_t>(count * kColumns));
        Gemm({a.data() + first * kDepth, kDepth}, count, b, some.data(), kColumns, false);
        ASSERT_EQ(std::memcmp(some.data(), all.data() + first * kColumns, some.size() * sizeof(float)), 0)
            << count << " rows from " << first;
      }
    }
  }
}

// A packed product's chain, against the tile that attention uses and among instruction sets.
TEST(GemmTest, EveryInstructionSetGivesTheSameBits) {
  constexpr int64_t kDepth = 251, kRows = 23;
  const std::vector<float> a = RandomFloats(kRows * kDepth, 1);
  const std::vector<float> b = RandomFloats(kDepth * 2 * kPanel, 2);
  for (const PanelType type : {PanelType::kFloat32, PanelType::kBFloat16}) {
    PackedMatrix packed(kDepth, 2 * kPanel, type);
    packed.PackRows(b.data(), kDepth, 0, 2 * kPanel);
    std::vector<std::vector<float>> results;
    ForEachKernelTable([&](const Kernels& kernels) {
      std::vector<float> left(kRows * kLeftRow);
      const bool bf16 = type == PanelType::kBFloat16;
      (bf16 ? kernels.pack_left_bf16
            : kernels.pack_left)({.a = a.data(), .a_row = kDepth, .rows = kRows, .depth = kDepth, .out = left.data()});
      std::vector<float>& c = results.emplace_back(kRows * 2 * kPanel);
      (bf16 ? kernels.panel_gemm_bf16 : kernels.panel_gemm)({.rows = kRows,
                                                             .panels = 2,
                                                             .depth = kDepth,
                                                             .left = left.data(),
                                                             .b = packed.panel(0, 0),
                                                             .b_panel_bytes = packed.panel_bytes(),
                                                             .c = c.data(),
                                                             .c_row = 2 * kPanel});
      if (bf16) return;
      std::vector<float>& tile = results.emplace_back(kRows * 2 * kPanel);
      for (int64_t p = 0; p < 2; ++p) {
        kernels.tile_gemm({.rows = kRows,
                           .depth = kDepth,
                           .a = a.data(),
                           .a_row = kDepth,
                           .b = static_cast<const float*>(packed.panel(p, 0)),
                           .c = tile.data() + p * kPanel,
                           .c_row = 2 * kPanel});
      }
    });
    for (const std::vector<float>& c : results) {
      EXPECT_EQ(std::memcmp(c.data(), results[0].data(), c.size() * sizeof(float)), 0);
    }
  }
}

TEST(GemmTest, TransposedLeftOperandSumsOverTokens) {
  constexpr int64_t kTokens = 301, kOut = 130, kIn = 64;
  const std::vector<float> dy = RandomFloats(kTokens * kOut, 1);
  const std::vector<float> x = RandomFloats(kTokens * kIn, 2);
  for (const PanelType type : {PanelType::kFloat32, PanelType::kBFloat16}) {
    PackedMatrix packed(kTokens, kIn, type);
    packed.PackRows(x.data(), kTokens, 0, kIn);
    std::vector<float> one(kOut * kIn, 0.5f), two(kOut * kIn, 0.5f);
    SetThreads(1);
    GemmTransposedA(dy.data(), kOut, kOut, packed, one.data(), kIn);
    SetThreads(2);
    GemmTransposedA(dy.data(), kOut, kOut, packed, two.data(), kIn);
    SetThreads(1);
    EXPECT_EQ(std::memcmp(one.data(), two.data(), one.size() * sizeof(float)), 0) << "depends on the thread count";
    for (int64_t o = 0; o < kOut; ++o) {
      for (int64_t i = 0; i < kIn; ++i) {
        double expected = 0.5;
        for (int64_t t = 0; t < kTokens; ++t) {
          const float left = dy[static_cast<size_t>(t * kOut + o)], right = x[static_cast<size_t>(t * kIn + i)];
          expected += type == PanelType::kFloat32 ? static_cast<double>(left) * right
                                                  : static_cast<double>(Rounded(left)) * Rounded(right);
        }
        ASSERT_NEAR(one[static_cast<size_t>(o * kIn + i)], expected, 2e-4);
      }
    }
  }
}

TEST(Bf16Test, RoundsToNearestEvenAndKeepsSpecialValues) {
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(1.0f)), 1.0f);
  EXPECT_EQ(FloatToBFloat16(1.00390625f), FloatToBFloat16(1.0f));       // exactly halfway, even below
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(1.01171875f)), 1.015625f);  // exactly halfway, even above
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(3.4028e38f)), INFINITY);
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(NAN))));
}

}  // namespace
}  // namespace tactus::ops
