// Row-wise kernels on a GPU, against float64 loops over the same rounded inputs.
#include <gtest/gtest.h>

#include <array>

#include "common/ops/cuda/rows_cuda.h"
#include "tests/ops/cuda/device_array.h"

namespace tactus::ops::cuda {
namespace {

constexpr float kEps = 1e-5f;
// Of a few float32 operations in a row on numbers of the size of 1.
constexpr double kFewOps = 16 * 0x1p-24;

template <typename T>
class RowsTest : public testing::Test {};
TYPED_TEST_SUITE(RowsTest, StorageTypes);

TYPED_TEST(RowsTest, EmbedsTheRowsThatTokensName) {
  NEED_GPU();
  for (const size_t hidden : {8u, 48u, 2056u}) {
    const std::vector<TypeParam> table = RandomArray<TypeParam>(11 * hidden, 1);
    const std::vector<int32_t> tokens = {10, 0, 3, 3};
    const DeviceArray<TypeParam> device_table(table);
    const DeviceArray<int32_t> device_tokens(tokens);
    DeviceArray<float> x(tokens.size() * hidden);
    EmbedRows(device_tokens.get(), 4, device_table.get(), static_cast<int64_t>(hidden), TypeOf<TypeParam>(), x.get());
    const std::vector<float> out = x.Read();
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t token = static_cast<size_t>(tokens[i / hidden]);
      ASSERT_EQ(out[i], static_cast<float>(table[token * hidden + i % hidden])) << i;
    }
  }
}

TYPED_TEST(RowsTest, AddsAndNormalises) {
  NEED_GPU();
  constexpr size_t kRows = 3;
  for (const size_t hidden : {8u, 40u, 576u, 4096u}) {
    for (const bool with_delta : {false, true}) {
      SCOPED_TRACE(testing::Message() << "hidden " << hidden << ", delta " << with_delta);
      const std::vector<float> x = RandomArray<float>(kRows * hidden, 1), weight = RandomArray<float>(hidden, 2);
      const std::vector<TypeParam> delta = RandomArray<TypeParam>(kRows * hidden, 3);
      const DeviceArray<float> device_weight(weight);
      const DeviceArray<TypeParam> device_delta(delta);
      std::vector<float> stream, inverse;
      const std::vector<TypeParam> out = InEveryOrder([&] {
        DeviceArray<float> device_x(x), inverse_rms(kRows);
        DeviceArray<TypeParam> device_out(x.size());
        AddRmsNorm({.rows = kRows,
                    .hidden = static_cast<int64_t>(hidden),
                    .type = TypeOf<TypeParam>(),
                    .x = device_x.get(),
                    .delta = with_delta ? device_delta.get() : nullptr,
                    .weight = device_weight.get(),
                    .eps = kEps,
                    .out = device_out.get(),
                    .inverse_rms = inverse_rms.get()});
        stream = device_x.Read();
        inverse = inverse_rms.Read();
        return device_out.Read();
      });
      for (size_t r = 0; r < kRows; ++r) {
        double squares = 0;
        for (size_t i = r * hidden; i < (r + 1) * hidden; ++i) {
          ASSERT_EQ(stream[i], with_delta ? x[i] + static_cast<float>(delta[i]) : x[i]);
          squares += static_cast<double>(stream[i]) * stream[i];
        }
        const double exact = 1 / std::sqrt(squares / static_cast<double>(hidden) + kEps);
        ASSERT_NEAR(inverse[r], exact, exact * kFewOps);
        for (size_t c = 0; c < hidden; ++c) {
          const size_t i = r * hidden + c;
          const double y = stream[i] * exact * weight[c];
          ExpectNear(out[i], y, kFewOps * std::abs(y), "normed", static_cast<int64_t>(i));
        }
      }
    }
  }
}

TYPED_TEST(RowsTest, GatesTheUpProjection) {
  NEED_GPU();
  constexpr size_t kRows = 3;
  for (const size_t inner : {8u, 48u, 4104u}) {
    std::vector<TypeParam> gate_up = RandomArray<TypeParam>(kRows * 2 * inner, 1, 4.0f);
    gate_up[0] = static_cast<TypeParam>(-200.0f);
    gate_up[1] = static_cast<TypeParam>(200.0f);
    const DeviceArray<TypeParam> in(gate_up);
    DeviceArray<TypeParam> device_out(kRows * inner);
    SwiGlu(in.get(), kRows, static_cast<int64_t>(inner), TypeOf<TypeParam>(), device_out.get());
    const std::vector<TypeParam> out = device_out.Read();
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t at = i / inner * 2 * inner + i % inner;
      const double gate = static_cast<float>(gate_up[at]), up = static_cast<float>(gate_up[at + inner]);
      const double exact = gate / (1 + std::exp(-gate)) * up;
      ExpectNear(out[i], exact, kFewOps * std::abs(exact) + 1e-30, "gated", static_cast<int64_t>(i));
    }
  }
}

// FinishQkv's inputs and a float64 version of it.
template <typename T>
struct Qkv {
  Qkv(int64_t q_heads, int64_t kv_heads, int64_t d) : hq(q_heads), hk(kv_heads), head_dim(d) {
    const size_t columns = static_cast<size_t>((hq + 2 * hk) * d);
    raw = RandomArray<T>(static_cast<size_t>(rows) * columns, 1);
    bias = RandomArray<T>(columns, 2);
    q_norm = RandomArray<float>(static_cast<size_t>(d), 3);
    k_norm = RandomArray<float>(static_cast<size_t>(d), 4);
    for (int64_t position = 0; position < 50; ++position) {
      for (int64_t i = 0; i < d / 2; ++i) {
        const double angle =
            static_cast<double>(position) * std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(d));
        cosines.push_back(static_cast<float>(std::cos(angle)));
        sines.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  }

  // One head of a row, and 1 / rms of it before the norm.
  std::vector<double> Exact(int64_t row, int64_t head, bool with_bias, bool with_norm, double* inverse) const {
    std::vector<double> y(static_cast<size_t>(head_dim));
    const int64_t first = (row * (hq + 2 * hk) + head) * head_dim, half = head_dim / 2;
    double squares = 0;
    for (int64_t i = 0; i < head_dim; ++i) {
      double& value = y[static_cast<size_t>(i)];
      value = static_cast<float>(raw[static_cast<size_t>(first + i)]);
      if (with_bias) value += static_cast<float>(bias[static_cast<size_t>(head * head_dim + i)]);
      squares += value * value;
    }
    *inverse = 1 / std::sqrt(squares / static_cast<double>(head_dim) + kEps);
    if (head >= hq + hk) return y;
    for (int64_t i = 0; with_norm && i < head_dim; ++i) {
      y[static_cast<size_t>(i)] *= *inverse * (head < hq ? q_norm : k_norm)[static_cast<size_t>(i)];
    }
    for (int64_t i = 0; i < half; ++i) {
      const size_t angle = static_cast<size_t>(positions[static_cast<size_t>(row)] * half + i);
      const double a = y[static_cast<size_t>(i)], b = y[static_cast<size_t>(i + half)];
      y[static_cast<size_t>(i)] = a * cosines[angle] - b * sines[angle];
      y[static_cast<size_t>(i + half)] = b * cosines[angle] + a * sines[angle];
    }
    return y;
  }

  static constexpr int64_t rows = 3;
  int64_t hq, hk, head_dim;
  std::vector<int32_t> positions = {0, 49, 17};
  std::vector<int32_t> slots = {2 * 16 + 15, -1, 16};  // in 3 pages
  std::vector<T> raw, bias;
  std::vector<float> q_norm, k_norm, cosines, sines;
};

template <typename T>
void TestFinishQkv(const Qkv<T>& in, bool with_bias, bool with_norm, bool in_place) {
  const DeviceArray<T> bias(in.bias);
  const DeviceArray<float> q_norm(in.q_norm), k_norm(in.k_norm), cosines(in.cosines), sines(in.sines);
  const DeviceArray<int32_t> positions(in.positions), slots(in.slots);
  const int64_t rotated = in.hq + in.hk, heads = rotated + in.hk, d = in.head_dim;
  const size_t page_elements = static_cast<size_t>(3 * in.hk * 16 * d);
  std::vector<T> keys, values;
  std::vector<float> inverse_rms;
  const std::vector<T> out = InEveryOrder([&] {
    DeviceArray<T> raw(in.raw), out_array(in.raw.size()), key_pages(page_elements), value_pages(page_elements);
    DeviceArray<float> inverse(static_cast<size_t>(in.rows * rotated));
    FinishQkv({.rows = in.rows,
               .num_heads = in.hq,
               .num_kv_heads = in.hk,
               .head_dim = d,
               .type = TypeOf<T>(),
               .raw = raw.get(),
               .bias = with_bias ? bias.get() : nullptr,
               .q_norm = with_norm ? q_norm.get() : nullptr,
               .k_norm = with_norm ? k_norm.get() : nullptr,
               .eps = kEps,
               .cosines = cosines.get(),
               .sines = sines.get(),
               .positions = positions.get(),
               .out = in_place ? raw.get() : out_array.get(),
               .slots = slots.get(),
               .keys = key_pages.get(),
               .values = value_pages.get(),
               .inverse_rms = inverse.get()});
    keys = key_pages.Read();
    values = value_pages.Read();
    inverse_rms = inverse.Read();
    return in_place ? raw.Read() : out_array.Read();
  });
  size_t stored = 0;
  for (int64_t r = 0; r < in.rows; ++r) {
    for (int64_t h = 0; h < heads; ++h) {
      double inverse = 0;
      const std::vector<double> exact = in.Exact(r, h, with_bias, with_norm, &inverse);
      if (with_norm && h < rotated) {
        ASSERT_NEAR(inverse_rms[static_cast<size_t>(r * rotated + h)], inverse, inverse * kFewOps);
      }
      const int32_t slot = in.slots[static_cast<size_t>(r)];
      for (int64_t i = 0; i < d; ++i) {
        const T value = out[static_cast<size_t>((r * heads + h) * d + i)];
        ExpectNear(value, exact[static_cast<size_t>(i)], 8 * kFewOps, "out", (r * heads + h) * d + i);
        if (h < in.hq || slot < 0) continue;
        const std::vector<T>& pages = h < rotated ? keys : values;
        const int64_t kv_head = (h - in.hq) % in.hk;
        const int64_t at = ((slot / 16 * in.hk + kv_head) * 16 + slot % 16) * d + i;
        ASSERT_EQ(static_cast<float>(pages[static_cast<size_t>(at)]), static_cast<float>(value));
        ++stored;
      }
    }
  }
  size_t written = 0;
  for (size_t i = 0; i < page_elements; ++i) {
    written += static_cast<size_t>(!std::isnan(static_cast<float>(keys[i]))) +
               static_cast<size_t>(!std::isnan(static_cast<float>(values[i])));
  }
  EXPECT_EQ(written, stored) << "other slots of the pages were written";
}

TYPED_TEST(RowsTest, FinishesQueriesKeysAndValues) {
  NEED_GPU();
  for (const auto [hq, hk, d] : {std::array<int64_t, 3>{3, 1, 64}, {2, 2, 16}, {4, 2, 128}, {1, 1, 256}}) {
    const Qkv<TypeParam> qkv(hq, hk, d);
    for (int variant = 0; variant < 8; ++variant) {
      SCOPED_TRACE(testing::Message() << hq << "/" << hk << " x " << d << ", variant " << variant);
      TestFinishQkv(qkv, (variant & 1) != 0, (variant & 2) != 0, (variant & 4) != 0);
    }
  }
}

TEST(FinishQkvTest, RefusesHeadsItHasNoRoomFor) {
  EXPECT_THROW(FinishQkv({.rows = 1, .num_heads = 1, .num_kv_heads = 1, .head_dim = 258}), std::invalid_argument);
  EXPECT_THROW(FinishQkv({.rows = 1, .num_heads = 1, .num_kv_heads = 1, .head_dim = 15}), std::invalid_argument);
}

}  // namespace
}  // namespace tactus::ops::cuda
