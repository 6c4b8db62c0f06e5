#include "common/ops/cpu/attention.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "tests/ops/reference.h"

namespace tactus::ops {
namespace {

// Several sequences end to end with scattered pages.
struct Fixture {
  Fixture(AttentionShape s, std::vector<int64_t> lengths) : shape(s) {
    starts.push_back(0);
    for (const int64_t length : lengths) starts.push_back(starts.back() + length);
    tokens = starts.back();
    row = (s.num_heads + 2 * s.num_kv_heads) * s.head_dim;
    qkv = RandomFloats(tokens * row, 7);
    int32_t page = 0;
    for (const int64_t length : lengths) {
      std::vector<int32_t>& table = tables.emplace_back(static_cast<size_t>((length + 15) / 16));
      std::iota(table.rbegin(), table.rend(), page);  // in no natural order
      page += static_cast<int32_t>(table.size());
    }
    const int64_t floats = page * s.num_kv_heads * s.head_dim * kPageTokens;
    keys.resize(static_cast<size_t>(floats));
    values.resize(static_cast<size_t>(floats));
  }
  int64_t q_columns() const { return shape.num_heads * shape.head_dim; }
  int64_t kv_columns() const { return shape.num_kv_heads * shape.head_dim; }
  const float* k() const { return qkv.data() + q_columns(); }
  const float* v() const { return k() + kv_columns(); }
  PagedKeysValues pages() { return {keys.data(), values.data()}; }

  // Rows [begin, end) of each sequence, in one step.
  std::vector<float> Run(int64_t begin_of, int64_t end_of, std::vector<float>* lse) {
    std::vector<SequenceRun> runs;
    for (size_t i = 0; i < tables.size(); ++i) {
      const int64_t length = starts[i + 1] - starts[i];
      const int64_t begin = std::min(begin_of, length), end = std::min(end_of, length);
      if (begin < end) runs.push_back({starts[i] + begin, end - begin, begin, tables[i]});
    }
    std::vector<float> out(static_cast<size_t>(tokens * q_columns()));
    if (lse != nullptr) lse->assign(static_cast<size_t>(tokens * shape.num_heads), 0.0f);
    WritePages(shape, runs, k(), v(), row, pages());
    PagedAttention(shape, runs, qkv.data(), row, pages(), out.data(), q_columns(),
                   lse == nullptr ? nullptr : lse->data());
    return out;
  }

  AttentionShape shape;
  std::vector<int64_t> starts;
  int64_t tokens = 0, row = 0;
  std::vector<float> qkv, keys, values;
  std::vector<std::vector<int32_t>> tables;
};

const AttentionShape kGrouped{.num_heads = 6, .num_kv_heads = 2, .head_dim = 32};

TEST(PagedAttentionTest, AgreesWithFloat64) {
  for (const AttentionShape shape :
       {kGrouped, AttentionShape{4, 4, 16}, AttentionShape{9, 3, 64}, AttentionShape{8, 1, 128}}) {
    Fixture f(shape, {1, 16, 17, 100});
    std::vector<float> lse;
    const std::vector<float> out = f.Run(0, 1000, &lse);
    const int64_t d = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
    for (size_t s = 0; s + 1 < f.starts.size(); ++s) {
      for (int64_t t = 0; t < f.starts[s + 1] - f.starts[s]; ++t) {
        for (int64_t h = 0; h < shape.num_heads; ++h) {
          const int64_t r = f.starts[s] + t;
          const float* k = f.k() + f.starts[s] * f.row + h / group * d;
          const float* v = f.v() + f.starts[s] * f.row + h / group * d;
          const std::vector<double> p = ReferenceProbs(f.qkv.data() + r * f.row + h * d, k, f.row, t, d);
          for (int64_t c = 0; c < d; ++c) {
            double expected = 0;
            for (int64_t j = 0; j <= t; ++j) expected += p[static_cast<size_t>(j)] * v[j * f.row + c];
            ASSERT_NEAR(out[static_cast<size_t>(r * f.q_columns() + h * d + c)], expected, 5e-6);
          }
        }
      }
    }
  }
}

// Decode (one row at a time), prefill in pieces, and everything at once: the same bits.
TEST(PagedAttentionTest, HowRowsAreCutChangesNoBit) {
  Fixture f(kGrouped, {3, 40, 61});
  const std::vector<float> whole = f.Run(0, 1000, nullptr);
  for (const int64_t piece : {1, 7, 16, 50}) {
    for (int64_t begin = 0; begin < 61; begin += piece) {
      const std::vector<float> part = f.Run(begin, begin + piece, nullptr);
      for (size_t s = 0; s + 1 < f.starts.size(); ++s) {
        const int64_t length = f.starts[s + 1] - f.starts[s];
        const int64_t first = std::min(begin, length), last = std::min(begin + piece, length);
        const int64_t at = (f.starts[s] + first) * f.q_columns();
        ASSERT_EQ(std::memcmp(part.data() + at, whole.data() + at,
                              static_cast<size_t>((last - first) * f.q_columns()) * sizeof(float)),
                  0);
      }
    }
  }
}

// Float64 gradients by the textbook formulas, full matrices.
struct ReferenceGradients {
  std::vector<double> dq, dk, dv;
};
ReferenceGradients ReferenceBackward(const Fixture& f, const std::vector<float>& dout) {
  const int64_t d = f.shape.head_dim, group = f.shape.num_heads / f.shape.num_kv_heads;
  ReferenceGradients g;
  g.dq.resize(static_cast<size_t>(f.tokens * f.q_columns()));
  g.dk.resize(static_cast<size_t>(f.tokens * f.kv_columns()));
  g.dv = g.dk;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  for (size_t s = 0; s + 1 < f.starts.size(); ++s) {
    for (int64_t t = 0; t < f.starts[s + 1] - f.starts[s]; ++t) {
      for (int64_t h = 0; h < f.shape.num_heads; ++h) {
        const int64_t r = f.starts[s] + t, kv = h / group * d;
        const float* q = f.qkv.data() + r * f.row + h * d;
        const std::vector<double> p = ReferenceProbs(q, f.k() + f.starts[s] * f.row + kv, f.row, t, d);
        const float* go = dout.data() + r * f.q_columns() + h * d;
        std::vector<double> dp(p.size());
        double inner = 0;
        for (int64_t j = 0; j <= t; ++j) {
          const float* v = f.v() + (f.starts[s] + j) * f.row + kv;
          for (int64_t c = 0; c < d; ++c) {
            dp[static_cast<size_t>(j)] += static_cast<double>(go[c]) * v[c];
            g.dv[static_cast<size_t>((f.starts[s] + j) * f.kv_columns() + kv + c)] += p[static_cast<size_t>(j)] * go[c];
          }
          inner += p[static_cast<size_t>(j)] * dp[static_cast<size_t>(j)];
        }
        for (int64_t j = 0; j <= t; ++j) {
          const double ds = p[static_cast<size_t>(j)] * (dp[static_cast<size_t>(j)] - inner) * scale;
          const float* k = f.k() + (f.starts[s] + j) * f.row + kv;
          for (int64_t c = 0; c < d; ++c) {
            g.dq[static_cast<size_t>(r * f.q_columns() + h * d + c)] += ds * k[c];
            g.dk[static_cast<size_t>((f.starts[s] + j) * f.kv_columns() + kv + c)] += ds * q[c];
          }
        }
      }
    }
  }
  return g;
}

TEST(AttentionBackwardTest, AgreesWithFloat64) {
  Fixture f(kGrouped, {1, 33, 90});
  std::vector<float> lse;
  const std::vector<float> out = f.Run(0, 1000, &lse);
  const std::vector<float> dout = RandomFloats(f.tokens * f.q_columns(), 9);
  std::vector<float> dqkv(f.qkv.size(), 123.0f);  // must be overwritten
  const std::vector<PackedSequence> sequences = SequencesOf({.starts = f.starts});
  AttentionBackward(f.shape, {.sequences = sequences,
                              .q = f.qkv.data(),
                              .k = f.k(),
                              .v = f.v(),
                              .qkv_row = f.row,
                              .out = out.data(),
                              .dout = dout.data(),
                              .log_sum_exp = lse.data(),
                              .dq = dqkv.data(),
                              .dk = dqkv.data() + f.q_columns(),
                              .dv = dqkv.data() + f.q_columns() + f.kv_columns()});
  const ReferenceGradients expected = ReferenceBackward(f, dout);
  for (int64_t r = 0; r < f.tokens; ++r) {
    const float* row = dqkv.data() + r * f.row;
    for (int64_t c = 0; c < f.q_columns(); ++c) {
      ASSERT_NEAR(row[c], expected.dq[static_cast<size_t>(r * f.q_columns() + c)], 2e-5) << "dq row " << r;
    }
    for (int64_t c = 0; c < f.kv_columns(); ++c) {
      ASSERT_NEAR(row[f.q_columns() + c], expected.dk[static_cast<size_t>(r * f.kv_columns() + c)], 2e-5) << "dk";
      ASSERT_NEAR(row[f.q_columns() + f.kv_columns() + c], expected.dv[static_cast<size_t>(r * f.kv_columns() + c)],
                  2e-5)
          << "dv";
    }
  }
}

}  // namespace
}  // namespace tactus::ops
