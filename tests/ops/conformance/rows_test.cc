// Every backend's row-wise ops and products against float64, forward and backward.
#include "tests/ops/conformance/rig.h"

namespace tactus::ops {
namespace {

TYPED_TEST_SUITE(ConformanceTest, Cases);

constexpr double kFewOps = 2e-6;  // relative, of a few float32 operations and a sum of some dozen terms
constexpr float kEps = 1e-5f;

TYPED_TEST(ConformanceTest, EmbedsRowsAndAddsTheirGradients) {
  constexpr int64_t kWidth = 32, kVocab = 11;
  const std::vector<float> table = this->Random(kVocab * kWidth, 1), dx = RandomFloats(6 * kWidth, 2);
  const std::vector<int32_t> tokens = {10, 0, 3, 3, 10, 3};
  typename TypeParam::B::SequenceBatch batch;
  typename TypeParam::B::Upload upload;
  batch.Add(tokens, {.starts = std::vector<int64_t>{0, 2, 6}}, upload);
  this->b.Send(upload);
  batch.Bind(upload);
  ASSERT_EQ(batch.rows(), 6);
  float* const x = this->EmptyFloats(6 * kWidth);
  this->b.Embed(batch.tokens(), 6, this->Rows(table), kWidth, x);
  float* const dtable = this->memory.Floats(Before(table.size()));
  this->b.EmbedBackward(batch, this->memory.Floats(dx), kWidth, dtable);
  Doubles rows, gradient(table.size(), kBefore);
  for (size_t r = 0; r < tokens.size(); ++r) {
    for (size_t j = 0; j < kWidth; ++j) {
      const size_t at = static_cast<size_t>(tokens[r]) * kWidth + j;
      rows.push_back(table[at]);
      gradient[at] += dx[r * kWidth + j];
    }
  }
  this->ExpectFloats(x, rows, 0, "row");
  this->ExpectFloats(dtable, gradient, kFewOps, "dtable");
}

Doubles NormOf(const Doubles& x, const Doubles& weight) {
  Doubles y(x.size());
  for (size_t r = 0; r < x.size() / weight.size(); ++r) {
    double squares = 0;
    for (size_t j = 0; j < weight.size(); ++j) squares += x[r * weight.size() + j] * x[r * weight.size() + j];
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(weight.size()) + double{kEps});
    for (size_t j = 0; j < weight.size(); ++j)
      y[r * weight.size() + j] = x[r * weight.size() + j] * inverse * weight[j];
  }
  return y;
}

TYPED_TEST(ConformanceTest, NormsAStreamWithWhatIsPending) {
  constexpr int64_t kRows = 3, kWidth = 48, kDepth = 32;
  const std::vector<float> x = RandomFloats(kRows * kWidth, 1), weight = RandomFloats(kWidth, 2);
  const std::vector<float> in = this->Random(kRows * kDepth, 3), w = this->Random(kWidth * kDepth, 4, 0.2f);
  const std::vector<float> more = this->Random(kRows * kWidth, 5);
  Stream<typename TypeParam::B> stream{.x = this->memory.Floats(x)};
  typename TypeParam::B::Buffer product;
  this->b.AddLinear(stream, this->Rows(in), kRows, this->memory.Matrix(w, kWidth, kDepth, this->dtype), product);
  Doubles expected(x.begin(), x.end());
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kWidth; ++c) {
      for (size_t k = 0; k < kDepth; ++k) expected[r * kWidth + c] += double{in[r * kDepth + k]} * w[c * kDepth + k];
    }
  }
  // What is pending was rounded to what activations are stored in.
  const double pending = kFewOps + 4 * Memory<typename TypeParam::B>::Roundoff(this->dtype);
  auto* const out = this->Empty(kRows * kWidth);
  float* const inverse = this->EmptyFloats(kRows);
  const NormShape norm{.rows = kRows, .width = kWidth, .weight = this->memory.Floats(weight), .eps = kEps};
  this->b.Norm(stream, norm, out, inverse);
  this->ExpectFloats(stream.x, expected, pending, "stream");
  this->ExpectRows(out, NormOf(expected, Wide(weight)), 2 * pending, "normed");
  Doubles inverses;
  for (size_t r = 0; r < kRows; ++r) {
    double squares = 0;
    for (size_t j = 0; j < kWidth; ++j) squares += expected[r * kWidth + j] * expected[r * kWidth + j];
    inverses.push_back(1 / std::sqrt(squares / kWidth + double{kEps}));
  }
  this->ExpectFloats(inverse, inverses, pending, "inverse");

  const std::vector<float> settled = Memory<typename TypeParam::B>::ReadFloats(stream.x, x.size());
  this->b.Add(stream, this->Rows(more), kRows, kWidth);
  this->b.Settle(stream, kRows, kWidth);
  Doubles sum;
  for (size_t i = 0; i < settled.size(); ++i) sum.push_back(double{settled[i]} + more[i]);
  this->ExpectFloats(stream.x, sum, kFewOps, "sum");
  EXPECT_EQ(stream.pending, nullptr);
}

TYPED_TEST(ConformanceTest, NormBackwardIsTheSlope) {
  constexpr int64_t kRows = 70, kWidth = 16;  // more than a block of rows
  const std::vector<float> x = RandomFloats(kRows * kWidth, 1), weight = RandomFloats(kWidth, 2);
  const std::vector<float> dy = this->Random(kRows * kWidth, 3);
  const NormShape norm{.rows = kRows, .width = kWidth, .weight = this->memory.Floats(weight), .eps = kEps};
  const float* const device_x = this->memory.Floats(x);
  float* const inverse = this->EmptyFloats(kRows);
  this->b.NormRows(device_x, norm, this->Empty(kRows * kWidth), inverse);
  const Doubles slopes = Slopes(Wide(x), [&](const Doubles& at) { return Dot(NormOf(at, Wide(weight)), Wide(dy)); });
  const Doubles dweights = Slopes(Wide(weight), [&](const Doubles& at) { return Dot(NormOf(Wide(x), at), Wide(dy)); });
  for (const bool accumulate : {false, true}) {
    float* const dx = this->memory.Floats(Before(x.size()));
    float* const dweight = this->memory.Floats(Before(weight.size()));
    this->b.NormBackward(device_x, norm, inverse, this->Rows(dy), dx, accumulate, dweight);
    this->ExpectFloats(dx, Plus(slopes, accumulate ? kBefore : 0), 1e-5, "dx");
    this->ExpectFloats(dweight, Plus(dweights, kBefore), 2e-5, "dweight");
  }
}

TYPED_TEST(ConformanceTest, ConvertsBetweenTheStreamAndActivations) {
  constexpr int64_t kRows = 3, kWidth = 16;
  const std::vector<float> x = RandomFloats(kRows * kWidth, 1), more = this->Random(kRows * kWidth, 2);
  typename TypeParam::B::Buffer rows, floats;
  this->ExpectRows(this->b.AsRows(this->memory.Floats(x), kRows * kWidth, rows), Wide(x), 0, "as rows");
  this->ExpectFloats(this->b.AsFloats(this->Rows(more), kRows, kWidth, floats), Wide(more), 0, "as floats");
  float* const y = this->memory.Floats(x);
  this->b.AddTo(y, this->Rows(more), kRows, kWidth);
  Doubles sum;
  for (size_t i = 0; i < x.size(); ++i) sum.push_back(double{x[i]} + more[i]);
  this->ExpectFloats(y, sum, kFewOps, "sum");
}

TYPED_TEST(ConformanceTest, MultipliesForLinearLayers) {
  constexpr size_t kRows = 5, kColumns = 48, kDepth = 80;
  const std::vector<float> x = this->Random(kRows * kDepth, 1), w = this->Random(kColumns * kDepth, 2);
  const std::vector<float> dy = this->Random(kRows * kColumns, 3);
  Doubles y(kRows * kColumns), dx(kRows * kDepth), dw(kColumns * kDepth, kBefore);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kColumns; ++c) {
      for (size_t k = 0; k < kDepth; ++k) {
        y[r * kColumns + c] += double{x[r * kDepth + k]} * w[c * kDepth + k];
        dx[r * kDepth + k] += double{dy[r * kColumns + c]} * w[c * kDepth + k];
        dw[c * kDepth + k] += double{dy[r * kColumns + c]} * x[r * kDepth + k];
      }
    }
  }
  const auto matrix = this->memory.Matrix(w, kColumns, kDepth, this->dtype);
  auto *const y_rows = this->Empty(y.size()), *const dx_rows = this->Empty(dx.size());
  float *const y_floats = this->EmptyFloats(y.size()), *const dweight = this->memory.Floats(Before(dw.size()));
  this->b.Linear(this->Rows(x), kRows, matrix, y_rows);
  this->b.LinearToFloats(this->Rows(x), kRows, matrix, y_floats);
  this->b.LinearBackwardInput(this->Rows(dy), kRows, matrix, dx_rows);
  this->b.LinearBackwardWeight(this->Rows(dy), kRows, kColumns, this->Rows(x), kDepth, dweight);
  this->ExpectRows(y_rows, y, 1e-5, "y");
  this->ExpectFloats(y_floats, y, 1e-5, "y as floats");
  this->ExpectRows(dx_rows, dx, 1e-5, "dx");
  this->ExpectFloats(dweight, dw, 1e-5, "dw");
}

TYPED_TEST(ConformanceTest, SwiGluAndItsSlope) {
  constexpr int64_t kRows = 5, kInner = 32;
  std::vector<float> gate_up = this->Random(kRows * 2 * kInner, 1, 3.0f);
  gate_up[0] = 60.0f;
  gate_up[1] = -60.0f;
  const std::vector<float> dout = this->Random(kRows * kInner, 2);
  const auto forward = [&](const Doubles& x) {
    Doubles out;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t j = 0; j < kInner; ++j) {
        const double gate = x[static_cast<size_t>(r * 2 * kInner + j)];
        out.push_back(gate / (1 + std::exp(-gate)) * x[static_cast<size_t>((r * 2 + 1) * kInner + j)]);
      }
    }
    return out;
  };
  auto *const out = this->Empty(dout.size()), *const again = this->Empty(dout.size());
  auto* const dgate_up = this->Empty(gate_up.size());
  this->b.SwiGlu(this->Rows(gate_up), kRows, kInner, out);
  this->b.SwiGluBackward(this->Rows(gate_up), this->Rows(dout), kRows, kInner, dgate_up, again);
  this->ExpectRows(out, forward(Wide(gate_up)), kFewOps, "activated");
  this->ExpectRows(again, forward(Wide(gate_up)), kFewOps, "activated again");
  this->ExpectRows(dgate_up, Slopes(Wide(gate_up), [&](const Doubles& at) { return Dot(forward(at), Wide(dout)); }),
                   1e-5, "dgate_up");
}

TYPED_TEST(ConformanceTest, MovesRows) {
  constexpr int64_t kWidth = 20;
  const std::vector<float> x = RandomFloats(4 * kWidth, 1);
  const int32_t* const index = this->memory.Ints({3, 1});
  float* const gathered = this->EmptyFloats(2 * kWidth);
  this->b.GatherRows(this->memory.Floats(x), index, 2, kWidth, gathered);
  Doubles expected(x.begin() + 3 * kWidth, x.end());
  expected.insert(expected.end(), x.begin() + kWidth, x.begin() + 2 * kWidth);
  this->ExpectFloats(gathered, expected, 0, "gathered");
  float* const scattered = this->memory.Floats(Before(x.size()));
  this->b.ScatterRows(gathered, index, 2, kWidth, scattered);
  Doubles places(x.size(), kBefore);
  std::copy_n(x.begin() + kWidth, kWidth, places.begin() + kWidth);
  std::copy_n(x.begin() + 3 * kWidth, kWidth, places.begin() + 3 * kWidth);
  this->ExpectFloats(scattered, places, 0, "scattered");
  float* const copy = this->EmptyFloats(x.size());
  this->b.Copy(this->memory.Floats(x), static_cast<int64_t>(x.size()), copy);
  this->ExpectFloats(copy, Wide(x), 0, "copy");
  this->b.Zero(copy, kWidth);
  this->ExpectFloats(copy, Doubles(kWidth), 0, "zeros");
  typename TypeParam::B::Buffer kept;
  this->ExpectFloats(this->b.Keep(x, kept), Wide(x), 0, "kept");
}

TYPED_TEST(ConformanceTest, BuffersStayWhereTheyAreUntilTheyGrow) {
  typename TypeParam::B::Buffer buffer;
  float* const first = this->b.FloatsIn(buffer, 100);
  this->b.Zero(first, 100);
  const int64_t moves = this->b.memory_moves();
  EXPECT_EQ(this->b.FloatsIn(buffer, 30), first);
  EXPECT_EQ(this->b.FloatsIn(buffer, 100), first);
  this->ExpectFloats(first, Doubles(100), 0, "content");
  EXPECT_EQ(this->b.memory_moves(), moves);
  this->b.FloatsIn(buffer, 101);
  EXPECT_EQ(this->b.memory_moves(), moves + 1);
  this->b.FloatsIn(buffer, 125);
  EXPECT_EQ(this->b.memory_moves(), moves + 1) << "grows by a quarter at least";
}

TYPED_TEST(ConformanceTest, LogProbsEntropiesAndTheirSlope) {
  constexpr size_t kRows = 4, kVocab = 301;
  constexpr float kTemperature = 0.7f;
  const std::vector<float> logits = RandomFloats(kRows * kVocab, 1, 3.0f);
  const std::vector<int32_t> targets = {0, 300, 17, 255};
  const std::vector<float> dlogprobs = {1.5f, -2.0f, 0.25f, 3.0f};
  const auto logprob = [&](const Doubles& x, size_t r, double temperature, size_t token) {
    double sum = 0;
    for (size_t j = 0; j < kVocab; ++j) sum += std::exp(x[r * kVocab + j] / temperature);
    return x[r * kVocab + token] / temperature - std::log(sum);
  };
  typename TypeParam::B::Buffer stats_buffer, dlogits_buffer;
  float* const device_logits = this->memory.Floats(logits);
  const int32_t* const device_targets = this->memory.Ints(targets);
  TokenLogProb* const stats = this->b.StatsIn(stats_buffer, kRows);
  this->b.LogProbRows(device_logits, kRows, kVocab, device_targets, kTemperature, stats);
  const std::span<const TokenLogProb> on_host = this->b.ToHost(stats, kRows);
  for (size_t r = 0; r < kRows; ++r) {
    const Doubles wide = Wide(logits);
    EXPECT_NEAR(on_host[r].logprob, logprob(wide, r, kTemperature, static_cast<size_t>(targets[r])), 2e-5);
    double entropy = 0;
    for (size_t j = 0; j < kVocab; ++j) {
      const double p = logprob(wide, r, 1, j);
      entropy -= std::exp(p) * p;
    }
    EXPECT_NEAR(on_host[r].entropy, entropy, 2e-5);
  }
  const auto dlogits =
      this->b.LogProbBackward(device_logits, kRows, kVocab, device_targets, stats, this->memory.Floats(dlogprobs),
                              /*dentropies=*/nullptr, kTemperature, dlogits_buffer);
  Doubles slopes(logits.size());
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t j = 0; j < kVocab; ++j) {
      const double one = static_cast<size_t>(targets[r]) == j ? 1 : 0;
      slopes[r * kVocab + j] =
          dlogprobs[r] / double{kTemperature} * (one - std::exp(logprob(Wide(logits), r, kTemperature, j)));
    }
  }
  this->ExpectRows(dlogits, slopes, 2e-5, "dlogits");
}

// Against the derivative of the definition, and that against finite differences of it.
TYPED_TEST(ConformanceTest, SlopeOfEntropies) {
  constexpr size_t kRows = 4, kVocab = 301;
  const std::vector<float> logits = RandomFloats(kRows * kVocab, 1, 3.0f);
  const std::vector<int32_t> targets = {0, 300, 17, 255};
  const std::vector<float> dlogprobs = {1.5f, -2.0f, 0.0f, 3.0f}, dentropies = {0.5f, 0.0f, -1.0f, 2.0f};
  const auto log_sum = [](std::span<const double> row) {
    double sum = 0;
    for (const double x : row) sum += std::exp(x);
    return std::log(sum);
  };
  const auto entropy = [&](std::span<const double> row) {
    double sum = 0;
    for (const double x : row) sum -= std::exp(x - log_sum(row)) * (x - log_sum(row));
    return sum;
  };
  typename TypeParam::B::Buffer stats_buffer, dlogits_buffer;
  float* const device_logits = this->memory.Floats(logits);
  const int32_t* const device_targets = this->memory.Ints(targets);
  TokenLogProb* const stats = this->b.StatsIn(stats_buffer, kRows);
  this->b.LogProbRows(device_logits, kRows, kVocab, device_targets, 1.0f, stats);
  const auto dlogits =
      this->b.LogProbBackward(device_logits, kRows, kVocab, device_targets, stats, this->memory.Floats(dlogprobs),
                              this->memory.Floats(dentropies), 1.0f, dlogits_buffer);
  Doubles wide = Wide(logits), slopes(logits.size());
  for (size_t r = 0; r < kRows; ++r) {
    const std::span<double> row = std::span(wide).subspan(r * kVocab, kVocab);
    const double z = log_sum(row), h = entropy(row);
    for (size_t j = 0; j < kVocab; ++j) {
      const double one = static_cast<size_t>(targets[r]) == j ? 1 : 0, log_p = row[j] - z, p = std::exp(log_p);
      slopes[r * kVocab + j] = dlogprobs[r] * (one - p) - dentropies[r] * p * (log_p + h);
    }
    for (const size_t j : {size_t{0}, size_t{17}, size_t{300}}) {
      const double at = row[j], step = 1e-5;
      const auto loss = [&](double x) {
        row[j] = x;
        return dlogprobs[r] * (row[static_cast<size_t>(targets[r])] - log_sum(row)) + dentropies[r] * entropy(row);
      };
      const double measured = (loss(at + step) - loss(at - step)) / (2 * step);
      row[j] = at;
      EXPECT_NEAR(slopes[r * kVocab + j], measured, 1e-8);
    }
  }
  this->ExpectRows(dlogits, slopes, 2e-5, "dlogits");
}

}  // namespace
}  // namespace tactus::ops
