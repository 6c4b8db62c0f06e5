// Gradients of the row-wise ops and of attention against central differences of float64 forward passes, in every
// storage type and thread order.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "common/ops/cpu/sampling.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/flash_attention_cuda.h"
#include "common/ops/cuda/training_attention_cuda.h"
#include "tests/ops/cuda/device_array.h"
#include "tests/ops/slopes.h"

namespace tactus::ops::cuda {
namespace {

template <typename T>
Doubles ToDoubles(const std::vector<T>& values) {
  Doubles result;
  for (const T value : values) result.push_back(static_cast<double>(static_cast<float>(value)));
  return result;
}

template <typename T>
void ExpectAll(const std::vector<T>& actual, const Doubles& expected, double sum_error, const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i)
    ASSERT_NO_FATAL_FAILURE(ExpectNear(actual[i], expected[i], sum_error, what, static_cast<int64_t>(i)));
}

template <typename T>
class BackwardTest : public testing::Test {
 protected:
  void SetUp() override { NEED_GPU(); }
};
TYPED_TEST_SUITE(BackwardTest, StorageTypes);

TYPED_TEST(BackwardTest, RmsNorm) {
  using T = TypeParam;
  constexpr int64_t kRows = 70, kWidth = 20;  // more than a block of rows
  const auto x = RandomArray<float>(kRows * kWidth, 1), weight = RandomArray<float>(kWidth, 2);
  const auto dy = RandomArray<T>(kRows * kWidth, 3);
  const auto loss = [&](const Doubles& at, const Doubles& w) {
    double sum = 0;
    for (int64_t r = 0; r < kRows; ++r) {
      double squares = 0;
      for (int64_t j = 0; j < kWidth; ++j) squares += std::pow(at[static_cast<size_t>(r * kWidth + j)], 2);
      for (int64_t j = 0; j < kWidth; ++j) {
        const size_t i = static_cast<size_t>(r * kWidth + j);
        sum += static_cast<double>(static_cast<float>(dy[i])) * at[i] * w[static_cast<size_t>(j)] /
               std::sqrt(squares / kWidth + 1e-6);
      }
    }
    return sum;
  };
  std::vector<float> inverse;
  for (int64_t r = 0; r < kRows; ++r) {
    double squares = 0;
    for (int64_t j = 0; j < kWidth; ++j) squares += std::pow(double{x[static_cast<size_t>(r * kWidth + j)]}, 2);
    inverse.push_back(static_cast<float>(1 / std::sqrt(squares / kWidth + 1e-6)));
  }
  DeviceArray<float> device_x(x), device_weight(weight), device_inverse(inverse), dx(x.size()), dweight(weight.size());
  DeviceArray<T> device_dy(dy);
  DeviceArray<float> workspace(static_cast<size_t>(GradientWorkspaceFloats(kRows, kWidth)));
  for (const bool accumulate : {false, true}) {
    const auto result = InEveryOrder([&] {
      dx.Write(Before(x.size()));
      dweight.Write(Before(weight.size()));
      RmsNormBackward({.rows = kRows,
                       .hidden = kWidth,
                       .type = TypeOf<T>(),
                       .x = device_x.get(),
                       .weight = device_weight.get(),
                       .inverse_rms = device_inverse.get(),
                       .dy = device_dy.get(),
                       .dx = dx.get(),
                       .accumulate_dx = accumulate,
                       .dweight = dweight.get(),
                       .workspace = workspace.get()});
      return dx.Read();
    });
    const Doubles wide_x = ToDoubles(x), wide_weight = ToDoubles(weight);
    const Doubles slopes = Slopes(wide_x, [&](const Doubles& at) { return loss(at, wide_weight); });
    ExpectAll(result, Plus(slopes, accumulate ? kBefore : 0), 1e-5, "dx");
    ExpectAll(dweight.Read(), Plus(Slopes(wide_weight, [&](const Doubles& at) { return loss(wide_x, at); }), kBefore),
              3e-5, "dweight");
  }
}

// FinishQkv in float64: rows of Hq + Hk rotated heads and Hk plain ones.
struct QkvCase {
  int64_t rows = 66, heads = 2, kv_heads = 1, d = 16;
  int64_t rotated() const { return heads + kv_heads; }
  int64_t columns() const { return (heads + 2 * kv_heads) * d; }

  Doubles Forward(Doubles x, const Doubles& bias, const Doubles& q_norm, const Doubles& k_norm, const Doubles& cosines,
                  const Doubles& sines) const {
    for (int64_t r = 0; r < rows; ++r) {
      double* row = x.data() + r * columns();
      for (size_t j = 0; j < bias.size(); ++j) row[j] += bias[j];
      for (int64_t head = 0; head < rotated(); ++head) {
        double* h = row + head * d;
        if (!q_norm.empty()) {
          double squares = 0;
          for (int64_t j = 0; j < d; ++j) squares += h[j] * h[j];
          for (int64_t j = 0; j < d; ++j)
            h[j] *= (head < heads ? q_norm : k_norm)[static_cast<size_t>(j)] /
                    std::sqrt(squares / static_cast<double>(d) + 1e-6);
        }
        for (int64_t j = 0; j < d / 2; ++j) {
          const size_t angle = static_cast<size_t>(Position(r) * d / 2 + j);
          const double a = h[j], b = h[j + d / 2];
          h[j] = a * cosines[angle] - b * sines[angle];
          h[j + d / 2] = b * cosines[angle] + a * sines[angle];
        }
      }
    }
    return x;
  }
  static int32_t Position(int64_t row) { return static_cast<int32_t>(row * 7 % 30); }
};

template <typename T>
struct QkvRig {
  QkvRig() {
    for (int i = 0; i < 30 * c.d / 2; ++i) {
      cosines.push_back(static_cast<float>(std::cos(0.37 * i)));
      sines.push_back(static_cast<float>(std::sin(0.37 * i)));
    }
    const Doubles x = ToDoubles(raw), b = ToDoubles(bias);
    for (int64_t r = 0; r < c.rows; ++r) {
      positions.push_back(QkvCase::Position(r));
      for (int64_t head = 0; head < c.rotated(); ++head) {
        double squares = 0;
        for (int64_t j = head * c.d; j < (head + 1) * c.d; ++j) {
          squares += std::pow(x[static_cast<size_t>(r * c.columns() + j)] + b[static_cast<size_t>(j)], 2);
        }
        inverse.push_back(static_cast<float>(1 / std::sqrt(squares / static_cast<double>(c.d) + 1e-6)));
      }
    }
  }

  // d loss / d raw; the parameters' gradients go to dq, dk and dbias.
  std::vector<T> Run(bool with_norm) {
    DeviceArray<T> device_raw(raw), device_bias(bias), dqkv(gradient);
    DeviceArray<float> q(q_norm), k(k_norm), device_cosines(cosines), device_sines(sines), device_inverse(inverse);
    DeviceArray<float> device_dq(Before(q_norm.size())), device_dk(Before(k_norm.size())),
        device_db(Before(bias.size()));
    DeviceArray<float> workspace(
        static_cast<size_t>(FinishQkvBackwardWorkspaceFloats(c.rows, c.heads, c.kv_heads, c.d)));
    DeviceArray<int32_t> device_positions(positions);
    FinishQkvBackwardArgs args;
    args.rows = c.rows;
    args.num_heads = c.heads;
    args.num_kv_heads = c.kv_heads;
    args.head_dim = c.d;
    args.type = TypeOf<T>();
    args.cosines = device_cosines.get();
    args.sines = device_sines.get();
    args.positions = device_positions.get();
    args.dqkv = dqkv.get();
    if (with_norm) {
      args.raw = device_raw.get();
      args.bias = device_bias.get();
      args.q_norm = q.get();
      args.k_norm = k.get();
      args.inverse_rms = device_inverse.get();
      args.dq_norm = device_dq.get();
      args.dk_norm = device_dk.get();
    }
    args.dbias = device_db.get();
    args.workspace = workspace.get();
    FinishQkvBackward(args);
    dq = device_dq.Read();
    dk = device_dk.Read();
    dbias = device_db.Read();
    return dqkv.Read();
  }

  double Loss(const Doubles& x, const Doubles& b, const Doubles& q, const Doubles& k) const {
    return Dot(c.Forward(x, b, q, k, ToDoubles(cosines), ToDoubles(sines)), ToDoubles(gradient));
  }

  const QkvCase c;
  const size_t size = static_cast<size_t>(c.rows * c.columns());
  const std::vector<T> raw = RandomArray<T>(size, 1), gradient = RandomArray<T>(size, 2);
  const std::vector<T> bias = RandomArray<T>(static_cast<size_t>(c.columns()), 3);
  const std::vector<float> q_norm = RandomArray<float>(static_cast<size_t>(c.d), 4);
  const std::vector<float> k_norm = RandomArray<float>(static_cast<size_t>(c.d), 5);
  std::vector<float> cosines, sines, inverse;
  std::vector<int32_t> positions;
  std::vector<float> dq, dk, dbias;
};

TYPED_TEST(BackwardTest, FinishQkvWithAndWithoutNorm) {
  QkvRig<TypeParam> rig;
  const Doubles x = ToDoubles(rig.raw), b = ToDoubles(rig.bias);
  for (const bool with_norm : {true, false}) {
    const Doubles none, q = with_norm ? ToDoubles(rig.q_norm) : none, k = with_norm ? ToDoubles(rig.k_norm) : none;
    const auto result = InEveryOrder([&] { return rig.Run(with_norm); });
    ExpectAll(result, Slopes(x, [&](const Doubles& at) { return rig.Loss(at, b, q, k); }), 3e-5, "draw");
    // The bias's gradient adds up what was rounded to T.
    const double rounding = 4 * static_cast<double>(rig.c.rows) * Roundoff<TypeParam>();
    ExpectAll(rig.dbias, Plus(Slopes(b, [&](const Doubles& at) { return rig.Loss(x, at, q, k); }), kBefore),
              1e-4 + rounding, "dbias");
    if (!with_norm) continue;
    ExpectAll(rig.dq, Plus(Slopes(q, [&](const Doubles& at) { return rig.Loss(x, b, at, k); }), kBefore), 1e-4, "dq");
    ExpectAll(rig.dk, Plus(Slopes(k, [&](const Doubles& at) { return rig.Loss(x, b, q, at); }), kBefore), 1e-4, "dk");
  }
}

TYPED_TEST(BackwardTest, SwiGlu) {
  using T = TypeParam;
  constexpr int64_t kRows = 5, kInner = 67;
  const auto gate_up = RandomArray<T>(kRows * 2 * kInner, 1, 3.0f), dout = RandomArray<T>(kRows * kInner, 2);
  const auto forward = [&](const Doubles& x) {
    Doubles out;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t j = 0; j < kInner; ++j) {
        const double gate = x[static_cast<size_t>(r * 2 * kInner + j)];
        out.push_back(gate / (1 + std::exp(-gate)) * x[static_cast<size_t>(r * 2 * kInner + kInner + j)]);
      }
    }
    return out;
  };
  DeviceArray<T> device_gate_up(gate_up), device_dout(dout), dgate_up(gate_up.size()), activated(dout.size());
  const auto result = InEveryOrder([&] {
    SwiGluBackward(device_gate_up.get(), device_dout.get(), kRows, kInner, TypeOf<T>(), dgate_up.get(),
                   activated.get());
    return dgate_up.Read();
  });
  const Doubles wide = ToDoubles(gate_up), weights = ToDoubles(dout);
  ExpectAll(result, Slopes(wide, [&](const Doubles& at) { return Dot(forward(at), weights); }), 1e-5, "dgate_up");
  ExpectAll(activated.Read(), forward(wide), 1e-5, "activated");
}

TYPED_TEST(BackwardTest, LogProb) {
  using T = TypeParam;
  constexpr int64_t kRows = 4, kVocab = 301;
  constexpr float kTemperature = 0.7f;
  const auto logits = RandomArray<float>(kRows * kVocab, 1, 3.0f);
  const std::vector<int32_t> targets = {0, 300, 17, 255};
  const std::vector<float> dlogprobs = {1.5f, -2.0f, 0.25f, 3.0f};
  const auto loss = [&](const Doubles& x) {
    double sum = 0;
    for (size_t r = 0; r < kRows; ++r) {
      double exponentials = 0;
      for (size_t j = 0; j < kVocab; ++j) exponentials += std::exp(x[r * kVocab + j] / double{kTemperature});
      const double target = x[r * kVocab + static_cast<size_t>(targets[r])];
      sum += double{dlogprobs[r]} * (target / double{kTemperature} - std::log(exponentials));
    }
    return sum;
  };
  std::vector<TokenLogProb> stats(kRows);
  LogProbRows(logits.data(), kVocab, targets, kTemperature, stats);
  DeviceArray<float> device_logits(logits), device_dlogprobs(dlogprobs);
  DeviceArray<int32_t> device_targets(targets);
  DeviceArray<TokenLogProb> device_stats(stats);
  DeviceArray<T> dlogits(logits.size());
  const auto result = InEveryOrder([&] {
    LogProbBackward({.rows = kRows,
                     .vocab = kVocab,
                     .type = TypeOf<T>(),
                     .logits = device_logits.get(),
                     .targets = device_targets.get(),
                     .stats = device_stats.get(),
                     .dlogprobs = device_dlogprobs.get(),
                     .temperature = kTemperature,
                     .dlogits = dlogits.get()});
    return dlogits.Read();
  });
  ExpectAll(result, Slopes(ToDoubles(logits), loss), 2e-5, "dlogits");
}

TYPED_TEST(BackwardTest, LogProbAndEntropy) {
  using T = TypeParam;
  constexpr int64_t kRows = 3, kVocab = 301;
  const auto logits = RandomArray<float>(kRows * kVocab, 1, 3.0f);
  const std::vector<int32_t> targets = {0, 300, 17};
  const std::vector<float> dlogprobs = {1.5f, 0.0f, -2.0f}, dentropies = {0.0f, 2.0f, -1.0f};
  const auto loss = [&](const Doubles& x) {
    double sum = 0;
    for (size_t r = 0; r < kRows; ++r) {
      double exponentials = 0, entropy = 0;
      for (size_t j = 0; j < kVocab; ++j) exponentials += std::exp(x[r * kVocab + j]);
      const auto log_p = [&](size_t j) { return x[r * kVocab + j] - std::log(exponentials); };
      for (size_t j = 0; j < kVocab; ++j) entropy -= std::exp(log_p(j)) * log_p(j);
      sum += dlogprobs[r] * log_p(static_cast<size_t>(targets[r])) + dentropies[r] * entropy;
    }
    return sum;
  };
  std::vector<TokenLogProb> stats(kRows);
  LogProbRows(logits.data(), kVocab, targets, 1.0f, stats);
  DeviceArray<float> device_logits(logits), device_dlogprobs(dlogprobs), device_dentropies(dentropies);
  DeviceArray<int32_t> device_targets(targets);
  DeviceArray<TokenLogProb> device_stats(stats);
  DeviceArray<T> dlogits(logits.size());
  const auto result = InEveryOrder([&] {
    LogProbBackward({.rows = kRows,
                     .vocab = kVocab,
                     .type = TypeOf<T>(),
                     .logits = device_logits.get(),
                     .targets = device_targets.get(),
                     .stats = device_stats.get(),
                     .dlogprobs = device_dlogprobs.get(),
                     .dentropies = device_dentropies.get(),
                     .dlogits = dlogits.get()});
    return dlogits.Read();
  });
  ExpectAll(result, Slopes(ToDoubles(logits), loss), 2e-5, "dlogits");
}

TYPED_TEST(BackwardTest, Attention) {
  using T = TypeParam;
  for (const auto& [shape, starts] : {std::pair(AttentionShape{4, 2, 16}, std::vector<int32_t>{0, 1, 8, 47}),
                                      std::pair(AttentionShape{3, 3, 48}, std::vector<int32_t>{0, 5})}) {
    const AttentionShape s = shape;
    const int64_t rows = starts.back(), d = s.head_dim, columns = (s.num_heads + 2 * s.num_kv_heads) * d;
    const auto qkv = RandomArray<T>(static_cast<size_t>(rows * columns), 1);
    const auto dout = RandomArray<T>(static_cast<size_t>(rows * s.num_heads * d), 2);
    std::vector<int32_t> begin, end;
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      begin.insert(begin.end(), static_cast<size_t>(starts[i + 1] - starts[i]), starts[i]);
      end.insert(end.end(), static_cast<size_t>(starts[i + 1] - starts[i]), starts[i + 1]);
    }
    // One output row, from the definition.
    const auto row_of = [&](const Doubles& x, int64_t row, double* out) {
      const auto at = [&](int64_t r, int64_t head) { return x.data() + r * columns + head * d; };
      for (int64_t head = 0; head < s.num_heads; ++head) {
        const int64_t kv = head / (s.num_heads / s.num_kv_heads);
        Doubles p;
        for (int64_t j = begin[static_cast<size_t>(row)]; j <= row; ++j) {
          p.push_back(std::exp(std::inner_product(at(row, head), at(row, head) + d, at(j, s.num_heads + kv), 0.0) /
                               std::sqrt(static_cast<double>(d))));
        }
        const double sum = std::accumulate(p.begin(), p.end(), 0.0);
        std::fill_n(out + head * d, d, 0.0);
        for (size_t j = 0; j < p.size(); ++j) {
          const double* v =
              at(begin[static_cast<size_t>(row)] + static_cast<int64_t>(j), s.num_heads + s.num_kv_heads + kv);
          for (int64_t i = 0; i < d; ++i) out[head * d + i] += p[j] / sum * v[i];
        }
      }
    };
    const auto forward = [&](const Doubles& x) {
      Doubles out(dout.size());
      for (int64_t r = 0; r < rows; ++r) row_of(x, r, out.data() + r * s.num_heads * d);
      return out;
    };
    DeviceArray<T> device_qkv(qkv), device_dout(dout);
    DeviceArray<int32_t> device_begin(begin), device_end(end), device_starts(starts);
    DeviceArray<int32_t> nothing(std::vector<int32_t>(begin.size(), 0));
    const auto tensor = [](void* data, at::IntArrayRef sizes, at::ScalarType type) {
      return at::from_blob(data, sizes, at::TensorOptions().dtype(type).device(device::TorchDevice(0)));
    };
    const at::Tensor qkv_tensor = tensor(device_qkv.get(), {rows, columns}, TypeOf<T>());
    const at::Tensor cuts = tensor(device_starts.get(), {static_cast<int64_t>(starts.size())}, at::kInt);
    const PackedSequences sequences{.parts = {{.rows = rows, .starts = cuts, .key_starts = cuts, .key_rows = {}}},
                                    .row_begin = device_begin.get(),
                                    .shared = nothing.get(),
                                    .head_row = device_begin.get(),
                                    .seen_end = device_end.get(),
                                    .rows = rows,
                                    .longest = rows};
    std::vector<T> out(dout.size());
    const auto result = InEveryOrder([&] {
      const AttentionResult kept = TrainingAttention(s, sequences, qkv_tensor, HasFlashAttention(TypeOf<T>()));
      device::CopyAsync(out.data(), kept.out.const_data_ptr(), out.size() * sizeof(T));
      DeviceArray<T> dqkv(qkv.size());
      at::Tensor gradient = tensor(dqkv.get(), {rows, columns}, TypeOf<T>());
      TrainingAttentionBackward(s, sequences, qkv_tensor, kept,
                                tensor(device_dout.get(), {rows, s.num_heads, d}, TypeOf<T>()), gradient);
      return dqkv.Read();
    });
    const Doubles wide = ToDoubles(qkv), weights = ToDoubles(dout);
    ExpectAll(out, forward(wide), 1e-5, "out");
    // delta is the product with an output that was rounded to T.
    const Doubles slopes = Slopes(wide, [&](const Doubles& at) { return Dot(forward(at), weights); });
    ExpectAll(result, slopes, 3e-5 + 16 * Roundoff<T>(), "dqkv");
  }
}

TEST(BackwardRowsTest, EmbedAddsRowsOfATokenInOrder) {
  NEED_GPU();
  constexpr int64_t kHidden = 300;
  const auto dx = RandomArray<float>(6 * kHidden, 1);
  const std::vector<int32_t> tokens = {3, 0, 3, 3, 7, 0};  // of the rows
  DeviceArray<float> device_dx(dx), table(8 * kHidden);
  DeviceArray<int32_t> distinct(std::vector<int32_t>{0, 3, 7}), starts(std::vector<int32_t>{0, 2, 5, 6}),
      order(std::vector<int32_t>{1, 5, 0, 2, 3, 4});
  const auto result = InEveryOrder([&] {
    table.Write(Before(8 * kHidden));
    EmbedBackward(device_dx.get(), distinct.get(), starts.get(), order.get(), 3, kHidden, table.get());
    return table.Read();
  });
  std::vector<float> expected = Before(8 * kHidden);
  for (size_t r = 0; r < tokens.size(); ++r) {
    for (size_t j = 0; j < kHidden; ++j) expected[static_cast<size_t>(tokens[r]) * kHidden + j] += dx[r * kHidden + j];
  }
  EXPECT_EQ(result, expected);
}

TEST(BackwardRowsTest, ScatterAndRoundTouchTheirRowsAlone) {
  NEED_GPU();
  const auto rows = RandomArray<float>(2 * 5, 1);
  DeviceArray<float> from(rows), to(4 * 5);
  DeviceArray<int32_t> index(std::vector<int32_t>{3, 1});
  to.Write(Before(20));
  ScatterRows(from.get(), index.get(), 2, 5, to.get());
  std::vector<float> expected = Before(20);
  std::copy_n(rows.begin(), 5, expected.begin() + 15);
  std::copy_n(rows.begin() + 5, 5, expected.begin() + 5);
  EXPECT_EQ(to.Read(), expected);

  DeviceArray<c10::BFloat16> rounded(11);
  Round(from.get(), 10, at::kBFloat16, rounded.get());
  const auto values = rounded.Read();
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(static_cast<float>(values[i]), static_cast<float>(c10::BFloat16(rows[i])));
  EXPECT_TRUE(std::isnan(static_cast<float>(values[10])));
}

TEST(BackwardRowsTest, UnsupportedShapesAndTypesAreRefused) {
  NEED_GPU();
  FinishQkvBackwardArgs qkv;
  qkv.head_dim = 258;
  EXPECT_THROW(FinishQkvBackward(qkv), std::invalid_argument);
  EXPECT_THROW(Round(nullptr, 0, at::kInt, nullptr), std::invalid_argument);
  const at::Tensor odd = at::empty({0, 3 * 20});
  EXPECT_THROW(TrainingAttention({1, 1, 20}, {}, odd, false), std::invalid_argument);
}

}  // namespace
}  // namespace tactus::ops::cuda
