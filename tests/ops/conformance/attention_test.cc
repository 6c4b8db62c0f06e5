// Every backend's attention, and what comes before it, against float64, forward and backward.
#include "tests/ops/conformance/rig.h"

namespace tactus::ops {
namespace {

TYPED_TEST_SUITE(ConformanceTest, Cases);

constexpr float kEps = 1e-5f;
constexpr int64_t kPositions = 64;

// Sequences end to end, in rows of Hq + 2 Hk heads.
struct Sequences {
  AttentionShape shape;
  std::vector<int64_t> starts;
  std::vector<int64_t> shared = {};
  PackedLayout layout() const { return {.starts = starts, .shared = shared}; }
  int64_t rows() const { return starts.back(); }
  int64_t q_columns() const { return shape.num_heads * shape.head_dim; }
  int64_t kv_columns() const { return shape.num_kv_heads * shape.head_dim; }
  int64_t columns() const { return q_columns() + 2 * kv_columns(); }
  std::vector<int32_t> tokens() const { return std::vector<int32_t>(static_cast<size_t>(rows()), 0); }

  // From the definition.
  Doubles Attend(const Doubles& qkv) const {
    Doubles out(static_cast<size_t>(rows() * q_columns()));
    const int64_t d = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
    int64_t head_of_family = 0;
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      const int64_t before = shared.empty() ? 0 : shared[s];
      if (before == 0) head_of_family = starts[s];
      for (int64_t r = starts[s]; r < starts[s + 1]; ++r) {
        std::vector<int64_t> keys(static_cast<size_t>(before + r - starts[s] + 1));
        std::iota(keys.begin(), keys.begin() + before, head_of_family);
        std::iota(keys.begin() + before, keys.end(), starts[s]);
        for (int64_t h = 0; h < shape.num_heads; ++h) {
          const auto at = [&](int64_t row, int64_t head) { return qkv.data() + row * columns() + head * d; };
          Doubles p;
          for (const int64_t j : keys) {
            const double* k = at(j, shape.num_heads + h / group);
            p.push_back(std::exp(std::inner_product(k, k + d, at(r, h), 0.0) / std::sqrt(static_cast<double>(d))));
          }
          const double sum = std::accumulate(p.begin(), p.end(), 0.0);
          for (size_t j = 0; j < p.size(); ++j) {
            const double* v = at(keys[j], shape.num_heads + shape.num_kv_heads + h / group);
            for (int64_t i = 0; i < d; ++i) out[static_cast<size_t>(r * q_columns() + h * d + i)] += p[j] / sum * v[i];
          }
        }
      }
    }
    return out;
  }
};

// Weights of FinishQkv and a float64 version of it.
struct QkvCase {
  Sequences at;
  bool whole = false;
  std::vector<float> bias = {}, q_norm = {}, k_norm = {}, cosines = {}, sines = {};

  void FillAngles() {
    const int64_t half = at.shape.head_dim / 2;
    for (int64_t i = 0; i < kPositions * half; ++i) {
      cosines.push_back(static_cast<float>(std::cos(0.37 * static_cast<double>(i))));
      sines.push_back(static_cast<float>(std::sin(0.37 * static_cast<double>(i))));
    }
  }

  Doubles Forward(Doubles x, const Doubles& b, const Doubles& q, const Doubles& k) const {
    const AttentionShape& s = at.shape;
    const int64_t d = s.head_dim;
    const std::vector<int32_t> positions = PositionsOf(SequencesOf(at.layout()));
    const auto norm = [&](double* part, int64_t width, const double* weight) {
      const double squares = std::inner_product(part, part + width, part, 0.0);
      for (int64_t j = 0; j < width; ++j)
        part[j] *= weight[j] / std::sqrt(squares / static_cast<double>(width) + double{kEps});
    };
    for (int64_t r = 0; r < at.rows(); ++r) {
      double* row = x.data() + r * at.columns();
      for (size_t j = 0; j < b.size(); ++j) row[j] += b[j];
      if (!q.empty() && whole) {
        norm(row, at.q_columns(), q.data());
        norm(row + at.q_columns(), at.kv_columns(), k.data());
      }
      for (int64_t head = 0; head < s.num_heads + s.num_kv_heads; ++head) {
        double* h = row + head * d;
        if (!q.empty() && !whole) norm(h, d, head < s.num_heads ? q.data() : k.data());
        for (int64_t j = 0; j < d / 2; ++j) {
          const size_t angle = static_cast<size_t>(positions[static_cast<size_t>(r)] * d / 2 + j);
          const double low = h[j], high = h[j + d / 2];
          h[j] = low * cosines[angle] - high * sines[angle];
          h[j + d / 2] = high * cosines[angle] + low * sines[angle];
        }
      }
    }
    return x;
  }
};

template <typename Test>
auto Load(Test& test, const Sequences& sequences, typename Test::B::Upload& upload) {
  typename Test::B::SequenceBatch batch;
  batch.Add(sequences.tokens(), sequences.layout(), upload);
  test.b.Send(upload);
  batch.Bind(upload);
  return batch;
}

template <typename C>
class QkvConformanceTest : public ConformanceTest<C> {
 public:
  using typename ConformanceTest<C>::B;
  using ConformanceTest<C>::b;

  void Run(QkvCase c) {
    c.FillAngles();
    typename B::Upload upload;
    auto batch = Load(*this, c.at, upload);
    batch.rotary.cosines = this->memory.Floats(c.cosines);
    batch.rotary.sines = this->memory.Floats(c.sines);
    QkvWeights<B> w{.whole_width = c.whole, .eps = kEps};
    if (!c.bias.empty()) w.bias = this->Rows(c.bias);
    if (!c.q_norm.empty()) {
      w.q_norm = this->memory.Floats(c.q_norm);
      w.k_norm = this->memory.Floats(c.k_norm);
    }
    const int64_t size = c.at.rows() * c.at.columns();
    const std::vector<float> product = this->Random(size, 11), dout = this->Random(size, 12);
    const int64_t norms = w.norms(c.at.shape);
    auto* const raw = this->Rows(product);
    auto* const qkv = norms > 0 ? this->Empty(size) : raw;
    float* const inverse = norms > 0 ? this->EmptyFloats(c.at.rows() * norms) : nullptr;
    b.FinishQkv(c.at.shape, w, batch, raw, qkv, inverse);
    const Doubles x = Wide(product), bias = Wide(c.bias), q = Wide(c.q_norm), k = Wide(c.k_norm);
    // The CPU rounds keys and values to what its pages hold.
    const double rounded = this->dtype == StorageDType::kBFloat16 ? 0x1p-8 : 0;
    this->ExpectRows(qkv, c.Forward(x, bias, q, k), 5e-6 + rounded, "qkv");

    auto* const dqkv = this->Rows(dout);
    const QkvGradients gradients{.bias = this->memory.Floats(Before(c.bias.size())),
                                 .q_norm = this->memory.Floats(Before(c.q_norm.size())),
                                 .k_norm = this->memory.Floats(Before(c.k_norm.size()))};
    b.FinishQkvBackward(c.at.shape, w, batch, raw, inverse, dqkv, gradients);
    const auto loss = [&](const Doubles& x2, const Doubles& b2, const Doubles& q2, const Doubles& k2) {
      return Dot(c.Forward(x2, b2, q2, k2), Wide(dout));
    };
    this->ExpectRows(dqkv, Slopes(x, [&](const Doubles& v) { return loss(v, bias, q, k); }), 3e-5, "draw");
    if (!c.bias.empty()) {
      // It adds up what was rounded to the activations' type.
      const double rounding = 8 * std::sqrt(static_cast<double>(c.at.rows())) * Memory<B>::Roundoff(this->dtype);
      this->ExpectFloats(gradients.bias,
                         Plus(Slopes(bias, [&](const Doubles& v) { return loss(x, v, q, k); }), kBefore),
                         1e-4 + rounding, "dbias");
    }
    if (norms == 0) return;
    this->ExpectFloats(gradients.q_norm,
                       Plus(Slopes(q, [&](const Doubles& v) { return loss(x, bias, v, k); }), kBefore), 1e-4,
                       "dq_norm");
    this->ExpectFloats(gradients.k_norm,
                       Plus(Slopes(k, [&](const Doubles& v) { return loss(x, bias, q, v); }), kBefore), 1e-4,
                       "dk_norm");
  }
};
TYPED_TEST_SUITE(QkvConformanceTest, Cases);

// All ways a family has: with and without a bias; no norm, one a head, one over the whole width.
TYPED_TEST(QkvConformanceTest, FinishesQueriesKeysAndValuesAndBack) {
  const Sequences at{
      .shape = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16}, .starts = {0, 3, 7, 10}, .shared = {0, 0, 2}};
  for (const bool with_bias : {false, true}) {
    for (const int norm : {0, 1, 2}) {
      SCOPED_TRACE(testing::Message() << "bias " << with_bias << ", norm " << norm);
      QkvCase c{.at = at, .whole = norm == 2};
      if (with_bias) c.bias = this->Random(at.columns(), 3);
      if (norm > 0) {
        c.q_norm = RandomFloats(norm == 2 ? at.q_columns() : 16, 4);
        c.k_norm = RandomFloats(norm == 2 ? at.kv_columns() : 16, 5);
      }
      ASSERT_NO_FATAL_FAILURE(this->Run(c));
    }
  }
}

// More rows than gradients are summed in at once.
TYPED_TEST(QkvConformanceTest, WholeWidthOfManyRows) {
  const Sequences at{.shape = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 16}, .starts = {0, 40, 66}};
  QkvCase c{.at = at, .whole = true};
  c.q_norm = RandomFloats(at.q_columns(), 4);
  c.k_norm = RandomFloats(at.kv_columns(), 5);
  this->Run(c);
}

TYPED_TEST(ConformanceTest, AttendsOverWholeSequencesAndBack) {
  // Families that share less than a page, more than one and one exactly; a head that is shared whole.
  for (const Sequences& at : {Sequences{{4, 2, 16}, {0, 1, 8, 29}}, Sequences{{3, 3, 48}, {0, 5}},
                              Sequences{{4, 2, 16}, {0, 9, 10, 14, 16}, {0, 7, 7, 0}},
                              Sequences{{2, 1, 16}, {0, 3, 22, 25, 27}, {0, 0, 18, 18}},
                              Sequences{{2, 2, 16}, {0, 16, 21, 40, 41, 43}, {0, 16, 0, 19, 19}}}) {
    typename TypeParam::B::Upload upload;
    const auto batch = Load(*this, at, upload);
    const std::vector<float> qkv = this->Random(at.rows() * at.columns(), 1);
    const std::vector<float> dout = this->Random(at.rows() * at.q_columns(), 2);
    typename TypeParam::B::Attention attention;
    auto* const rows = this->Rows(qkv);
    const auto out = this->b.Attend(at.shape, batch, rows, attention);
    this->ExpectRows(out, at.Attend(Wide(qkv)), 1e-5, "out");
    EXPECT_EQ(this->b.Output(attention), out);
    auto* const dqkv = this->Empty(at.rows() * at.columns());
    this->b.AttendBackward(at.shape, batch, rows, attention, this->Rows(dout), dqkv);
    // The stored output, rounded, is part of the gradient.
    const double stored = 16 * Memory<typename TypeParam::B>::Roundoff(this->dtype);
    this->ExpectRows(dqkv, Slopes(Wide(qkv), [&](const Doubles& v) { return Dot(at.Attend(v), Wide(dout)); }),
                     3e-5 + stored, "dqkv");
    this->b.Release(attention);
  }
}

// Rows in two steps over pages in no natural order, as a decoder takes them.
TYPED_TEST(ConformanceTest, AttendsOverPages) {
  using Device = typename TypeParam::B;
  const Sequences at{{4, 2, 16}, {0, 37}};
  const int64_t half = at.shape.head_dim / 2;
  const std::vector<float> qkv = this->Random(at.rows() * at.columns(), 1);
  const Doubles expected = at.Attend(Wide(qkv));
  const std::vector<int32_t> pages = {2, 0, 1};
  auto cache = Memory<Device>::Cache(at.shape, this->dtype, 3);
  // No rotation: FinishQkv passes queries, keys and values on, and keys and values to their pages.
  const float* const cosines = this->memory.Floats(std::vector<float>(static_cast<size_t>(kPositions * half), 1.0f));
  const float* const sines = this->memory.Floats(std::vector<float>(static_cast<size_t>(kPositions * half), 0.0f));
  typename Device::Attention attention;
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 20}, {20, 16}, {36, 1}}) {
    std::vector<int32_t> positions(static_cast<size_t>(count));
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first));
    const std::vector<SequenceRun> runs = {{0, count, first, pages}};
    auto batch = this->memory.Paged(std::vector<int32_t>(positions.size(), 0), runs,
                                    {.positions = this->memory.Ints(positions), .cosines = cosines, .sines = sines});
    batch.AtLayer(cache.layer(0), /*first_head=*/-1);
    auto* const rows = this->Rows({qkv.begin() + first * at.columns(), qkv.begin() + (first + count) * at.columns()});
    this->b.FinishQkv(at.shape, QkvWeights<Device>{}, batch, rows, rows, nullptr);
    const auto out = this->b.Attend(at.shape, batch, rows, attention);
    this->ExpectRows(out,
                     {expected.begin() + first * at.q_columns(), expected.begin() + (first + count) * at.q_columns()},
                     1e-5, "out");
  }
}

}  // namespace
}  // namespace tactus::ops
