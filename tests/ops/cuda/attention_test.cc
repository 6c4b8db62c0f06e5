// Paged attention and its measurements on a GPU, against float64 loops over the same rounded inputs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

#include "common/ops/cuda/attention_cuda.h"
#include "common/ops/cuda/flash_attention_cuda.h"
#include "tests/ops/cuda/device_array.h"

namespace tactus::ops::cuda {
namespace {

constexpr int64_t kToTheEnd = int64_t{1} << 40;

// Sequences of the given lengths with keys and values in shuffled pages, and one query row for the last position of
// each. Sequences share their first page where `share`.
template <typename T>
struct Problem {
  Problem(AttentionShape s, std::vector<int32_t> lengths, bool share = false) : shape(s), context(std::move(lengths)) {
    rows = static_cast<int64_t>(context.size());
    max_context = *std::max_element(context.begin(), context.end());
    table_pages = std::max<int64_t>(1, (max_context + kPageTokens - 1) / kPageTokens);
    const size_t pages = static_cast<size_t>(rows * table_pages);
    tables.resize(pages);
    std::iota(tables.begin(), tables.end(), 0);
    std::shuffle(tables.begin(), tables.end(), std::mt19937_64(5));
    for (int64_t r = 1; share && r < rows; ++r) tables[static_cast<size_t>(r * table_pages)] = tables[0];
    const size_t page_size = static_cast<size_t>(shape.num_kv_heads * kPageTokens * shape.head_dim);
    keys = RandomArray<T>(pages * page_size, 11, 1.5f);
    values = RandomArray<T>(pages * page_size, 12);
    q = RandomArray<T>(static_cast<size_t>(rows * shape.num_heads * shape.head_dim), 13, 1.5f);
  }

  size_t KeyAt(int64_t row, int64_t key, int64_t kv_head) const {
    const int64_t page = tables[static_cast<size_t>(row * table_pages + key / kPageTokens)];
    return static_cast<size_t>(((page * shape.num_kv_heads + kv_head) * kPageTokens + key % kPageTokens) *
                               shape.head_dim);
  }

  struct Exact {
    std::vector<double> probs;
    double log_sum_exp = 0;
    std::vector<double> out;
  };
  Exact Reference(int64_t row, int64_t head) const {
    const int64_t d = shape.head_dim, kv = head / (shape.num_heads / shape.num_kv_heads);
    const int64_t n = context[static_cast<size_t>(row)];
    Exact exact{.probs = std::vector<double>(static_cast<size_t>(n)),
                .out = std::vector<double>(static_cast<size_t>(d))};
    double max = -1e300, sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      double score = 0;
      for (int64_t c = 0; c < d; ++c) {
        score += static_cast<double>(q[static_cast<size_t>((row * shape.num_heads + head) * d + c)]) *
                 static_cast<double>(keys[KeyAt(row, j, kv) + static_cast<size_t>(c)]);
      }
      max = std::max(max, exact.probs[static_cast<size_t>(j)] = score / std::sqrt(static_cast<double>(d)));
    }
    for (double& p : exact.probs) sum += (p = std::exp(p - max));
    for (int64_t j = 0; j < n; ++j) {
      const double p = exact.probs[static_cast<size_t>(j)] /= sum;
      for (int64_t c = 0; c < d; ++c) {
        exact.out[static_cast<size_t>(c)] +=
            p * static_cast<double>(values[KeyAt(row, j, kv) + static_cast<size_t>(c)]);
      }
    }
    exact.log_sum_exp = max + std::log(sum);
    return exact;
  }

  AttentionShape shape;
  std::vector<int32_t> context, tables;
  int64_t rows, max_context, table_pages;
  std::vector<T> keys, values, q;
};

struct Measured {
  std::vector<float> span, waad, fai, probs;
};

// A problem on the device.
template <typename T>
class Runner {
 public:
  explicit Runner(const Problem<T>& problem)
      : p_(problem),
        keys_(problem.keys),
        values_(problem.values),
        q_(problem.q),
        context_(problem.context),
        tables_(problem.tables),
        out_(problem.q.size()),
        log_sum_exp_(static_cast<size_t>(problem.rows * problem.shape.num_heads)) {}

  DecodeAttentionArgs Args() {
    workspace_ = std::make_unique<DeviceArray<char>>(DecodeWorkspaceBytes(p_.shape, p_.rows, p_.max_context));
    return {.shape = p_.shape,
            .type = TypeOf<T>(),
            .rows = p_.rows,
            .q = q_.get(),
            .q_row = p_.shape.num_heads * p_.shape.head_dim,
            .out = out_.get(),
            .out_row = p_.shape.num_heads * p_.shape.head_dim,
            .context_tokens = context_.get(),
            .page_tables = tables_.get(),
            .table_pages = p_.table_pages,
            .keys = keys_.get(),
            .values = values_.get(),
            .max_context_tokens = p_.max_context,
            .workspace = workspace_->get(),
            .log_sum_exp = log_sum_exp_.get()};
  }
  std::vector<T> Out() { return out_.Read(); }
  std::vector<float> LogSumExp() { return log_sum_exp_.Read(); }

  // Runs with a tap whose layer is the second of two: its heads come after as many others.
  // `keep` [R]: which rows keep probabilities, and where; empty: all, in their order.
  Measured Measure(DecodeTap tap, const std::vector<int32_t>& prompts, std::vector<int32_t> keep = {}) {
    if (keep.empty()) {
      keep.resize(static_cast<size_t>(p_.rows));
      std::iota(keep.begin(), keep.end(), 0);
    }
    tap.num_heads = 2 * p_.shape.num_heads;
    tap.first_head = p_.shape.num_heads;
    const size_t places = static_cast<size_t>(p_.rows * tap.num_heads);
    const auto kept = static_cast<size_t>(1 + *std::max_element(keep.begin(), keep.end()));
    DeviceArray<int32_t> prompt(prompts), place(keep);
    DeviceArray<float> span(places), waad(places), fai(places * static_cast<size_t>(tap.fai_tokens)),
        probs(kept * static_cast<size_t>(tap.num_heads * tap.probs_tokens));
    tap.probs_place = place.get();
    tap.prompt_tokens = prompt.get();
    tap.span = span.get();
    tap.waad = waad.get();
    tap.fai = fai.get();
    tap.probs = tap.probs_tokens > 0 ? probs.get() : nullptr;
    DecodeAttentionArgs args = Args();
    args.tap = &tap;
    DecodeAttention(args);
    return {span.Read(), waad.Read(), fai.Read(), probs.Read()};
  }

 private:
  const Problem<T>& p_;
  DeviceArray<T> keys_, values_, q_;
  DeviceArray<int32_t> context_, tables_;
  DeviceArray<T> out_;
  DeviceArray<float> log_sum_exp_;
  std::unique_ptr<DeviceArray<char>> workspace_;
};

// Scores reach about 10 in base 2 here; a product of D terms and an exponential of a number of that size are off by at
// most (D + 10) 2^-24 of it, and so are the probabilities, relatively.
template <typename T>
double ProbabilityError(const Problem<T>& p) {
  return 16.0 * static_cast<double>(p.shape.head_dim + 16) * 0x1p-24;
}

template <typename T>
void ExpectExact(const Problem<T>& p, const std::vector<T>& out, const std::vector<float>* log_sum_exp) {
  const double error = ProbabilityError(p);
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t h = 0; h < p.shape.num_heads; ++h) {
      const auto exact = p.Reference(r, h);
      const int64_t place = r * p.shape.num_heads + h;
      for (int64_t c = 0; c < p.shape.head_dim; ++c) {
        const int64_t at = place * p.shape.head_dim + c;
        ExpectNear(out[static_cast<size_t>(at)], exact.out[static_cast<size_t>(c)], 4 * error, "out", at);
      }
      if (log_sum_exp != nullptr) {
        ASSERT_NEAR((*log_sum_exp)[static_cast<size_t>(place)], exact.log_sum_exp, error) << place;
      }
    }
  }
}

template <typename T>
class DecodeAttentionTest : public testing::Test {};
TYPED_TEST_SUITE(DecodeAttentionTest, StorageTypes);

TYPED_TEST(DecodeAttentionTest, MatchesLoopsForGroupsAndHeadSizes) {
  NEED_GPU();
  for (const AttentionShape shape : {AttentionShape{2, 2, 64}, AttentionShape{6, 2, 128}, AttentionShape{4, 1, 16},
                                     AttentionShape{8, 1, 80}, AttentionShape{10, 1, 32}, AttentionShape{4, 2, 96}}) {
    SCOPED_TRACE(testing::Message() << shape.num_heads << "/" << shape.num_kv_heads << " x " << shape.head_dim);
    const Problem<TypeParam> problem(shape, {1, 16, 17, 40}, /*share=*/true);
    const std::vector<TypeParam> out = InEveryOrder([&] {
      Runner<TypeParam> runner(problem);
      DecodeAttention(runner.Args());
      return runner.Out();
    });
    ExpectExact<TypeParam>(problem, out, nullptr);
  }
}

TYPED_TEST(DecodeAttentionTest, MatchesLoopsOverSeveralSplits) {
  NEED_GPU();
  const Problem<TypeParam> problem({3, 1, 64}, {255, 256, 257, 600, 3});
  Runner<TypeParam> runner(problem);
  DecodeAttention(runner.Args());
  const std::vector<float> log_sum_exp = runner.LogSumExp();
  ExpectExact<TypeParam>(problem, runner.Out(), &log_sum_exp);
}

TEST(DecodeRowsTest, SplitsGrowPastTheirGreatestNumber) {
  EXPECT_EQ(SplitTokens(1), 256);
  EXPECT_EQ(SplitTokens(256 * 64), 256);
  EXPECT_EQ(SplitTokens(256 * 64 + 1), 512);
  for (const int64_t context : {1, 256, 257, 16384, 16385, 40000, 1 << 20}) {
    EXPECT_LE((context + SplitTokens(context) - 1) / SplitTokens(context), MostSplits(context)) << context;
    EXPECT_LE(MostSplits(context), kMaxSplits);
  }
}

TEST(DecodeRowsTest, LongContextsHaveLongSplits) {
  NEED_GPU();
  const Problem<float> problem({1, 1, 16}, {17000, 300});
  Runner<float> runner(problem);
  DecodeAttention(runner.Args());
  ExpectExact<float>(problem, runner.Out(), nullptr);
}

// The same row in another batch, at another place, in a launch for longer contexts.
TEST(DecodeRowsTest, ARowsBitsDoNotDependOnItsNeighbours) {
  NEED_GPU();
  const Problem<float> problem({4, 2, 64}, {300, 31, 700});
  Runner<float> runner(problem);
  DecodeAttention(runner.Args());
  const std::vector<float> together = runner.Out();
  const size_t width = 4 * 64;
  for (int32_t r = 0; r < 3; ++r) {
    Runner<float> alone(problem);
    const DeviceArray<int32_t> row(std::vector<int32_t>{r});
    const DeviceArray<int32_t> context(std::vector<int32_t>{problem.context[static_cast<size_t>(r)]});
    DecodeAttentionArgs args = alone.Args();
    args.rows = 1;
    args.row_index = args.table_index = row.get();
    args.context_tokens = context.get();
    args.max_context_tokens = context.Read()[0];
    DecodeAttention(args);
    const std::vector<float> out = alone.Out();
    EXPECT_EQ(std::memcmp(out.data() + static_cast<size_t>(r) * width, together.data() + static_cast<size_t>(r) * width,
                          width * sizeof(float)),
              0)
        << r;
  }
}

TEST(DecodeRowsTest, PaddingGivesZeros) {
  NEED_GPU();
  Problem<float> problem({4, 2, 32}, {5, 20});
  problem.context[0] = 0;
  Runner<float> runner(problem);
  DecodeAttention(runner.Args());
  const std::vector<float> out = runner.Out();
  for (size_t i = 0; i < 4 * 32; ++i) ASSERT_EQ(out[i], 0.0f);
  ASSERT_NE(out[4 * 32], 0.0f);
}

// Every measured number of every head, against sums over the float64 distribution.
template <typename T>
void ExpectMeasured(const Problem<T>& p, const DecodeTap& tap, const std::vector<int32_t>& prompts, const Measured& m) {
  const double error = ProbabilityError(p);
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t h = 0; h < p.shape.num_heads; ++h) {
      const int64_t place = r * 2 * p.shape.num_heads + p.shape.num_heads + h;
      const size_t at = static_cast<size_t>(place);
      if (prompts[static_cast<size_t>(r)] < 0) {
        ASSERT_TRUE(std::isnan(m.span[at]) && std::isnan(m.waad[at])) << "an unmeasured row was written";
        continue;
      }
      const auto exact = p.Reference(r, h);
      const int64_t n = static_cast<int64_t>(exact.probs.size());
      double span = 0, waad = 0;
      std::vector<double> fai(static_cast<size_t>(tap.fai_tokens)), probs(static_cast<size_t>(tap.probs_tokens));
      for (int64_t j = 0; j < n; ++j) {
        const double e = exact.probs[static_cast<size_t>(j)];
        const int64_t distance = n - 1 - j, slot = distance - tap.horizon_min_tokens;
        span += e * static_cast<double>(distance);
        waad += e * static_cast<double>(std::min(distance, tap.window_tokens));
        const bool held = slot >= 0 && slot < tap.fai_tokens && distance <= tap.horizon_max_tokens;
        if (held && j >= prompts[static_cast<size_t>(r)]) fai[static_cast<size_t>(slot)] = e;
        if (tap.probs_tokens > 0) probs[static_cast<size_t>(j)] = e;
      }
      ASSERT_NEAR(m.span[at], span, error * (span + 1)) << r << " " << h;
      ASSERT_NEAR(m.waad[at], waad, error * static_cast<double>(tap.window_tokens)) << r << " " << h;
      for (size_t i = 0; i < fai.size(); ++i) {
        ASSERT_NEAR(m.fai[at * fai.size() + i], fai[i], error * fai[i] + 1e-12) << r << " " << h << " " << i;
      }
      for (size_t i = 0; i < probs.size(); ++i) {
        ASSERT_NEAR(m.probs[at * probs.size() + i], probs[i], error * probs[i] + 1e-12) << r << " " << h << " " << i;
      }
    }
  }
}

TYPED_TEST(DecodeAttentionTest, MeasuresWhatTheDistributionSays) {
  NEED_GPU();
  const Problem<TypeParam> problem({6, 2, 64}, {1, 30, 256, 290, 530, 90});
  const std::vector<int32_t> prompts = {0, 7, 200, 100, 3, -1};
  for (const DecodeTap& tap :
       {DecodeTap{.window_tokens = 10,
       .horizon_min_tokens = 10,
       .horizon_max_tokens = 100,
       .fai_tokens = 91,
       .probs_tokens = 544},
        DecodeTap{.window_tokens = 1, .horizon_min_tokens = 0, .horizon_max_tokens = 0, .fai_tokens = 1},
        DecodeTap{.window_tokens = 400, .horizon_min_tokens = 4, .horizon_max_tokens = kToTheEnd, .fai_tokens = 530},
        DecodeTap{.window_tokens = 10, .horizon_min_tokens = 2, .horizon_max_tokens = kToTheEnd, .fai_tokens = 20}}) {
    SCOPED_TRACE(testing::Message() << "window " << tap.window_tokens << ", horizon from " << tap.horizon_min_tokens);
    Runner<TypeParam> runner(problem);
    const Measured measured = runner.Measure(tap, prompts);
    ExpectMeasured(problem, tap, prompts, measured);
    Runner<TypeParam> plain(problem);
    DecodeAttention(plain.Args());
    EXPECT_TRUE(SameBits(runner.Out(), plain.Out())) << "measuring changed the output";
  }
}

// Only the rows that are to keep their attention have room for it, wherever that is.
TEST(DecodeRowsTest, KeepsTheProbabilitiesOfChosenRowsAlone) {
  NEED_GPU();
  const Problem<float> problem({6, 2, 64}, {30, 290, 530, 90});
  const std::vector<int32_t> prompts = {7, 100, 3, -1};
  const DecodeTap tap{
      .window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100, .fai_tokens = 91, .probs_tokens = 544};
  Runner<float> runner(problem);
  const Measured all = runner.Measure(tap, prompts), chosen = runner.Measure(tap, prompts, {-1, 1, 0, -1});
  const size_t row = static_cast<size_t>(2 * problem.shape.num_heads * tap.probs_tokens);
  const auto part = [row](const std::vector<float>& values, size_t place) {
    return std::vector<float>(values.begin() + static_cast<int64_t>(row * place + row / 2),
                              values.begin() + static_cast<int64_t>(row * (place + 1)));
  };
  ASSERT_EQ(chosen.probs.size(), 2 * row);
  EXPECT_EQ(part(chosen.probs, 0), part(all.probs, 2));
  EXPECT_EQ(part(chosen.probs, 1), part(all.probs, 1));
}

TEST(DecodeRowsTest, MeasuresTheSameInEveryOrder) {
  NEED_GPU();
  const Problem<float> problem({8, 1, 32}, {300, 40});
  const DecodeTap tap{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100, .fai_tokens = 91};
  InEveryOrder([&] {
    Runner<float> runner(problem);
    Measured m = runner.Measure(tap, {20, 10});
    m.span.insert(m.span.end(), m.waad.begin(), m.waad.end());
    m.span.insert(m.span.end(), m.fai.begin(), m.fai.end());
    return m.span;
  });
}

// A graph reads lengths when it is launched.
TEST(DecodeRowsTest, AGraphFollowsTheContext) {
  NEED_GPU();
  const Problem<float> problem({2, 1, 32}, {300, 20});
  Problem<float> shorter = problem;
  shorter.context = {270, 4};
  const device::QueueGuard queue(0);
  Runner<float> runner(problem);
  DeviceArray<int32_t> context(problem.context);
  DecodeAttentionArgs args = runner.Args();
  args.context_tokens = context.get();
  DecodeAttention(args);
  device::Graph graph;
  graph.Record([&] { DecodeAttention(args); });
  context.Write(shorter.context);
  graph.Launch();
  ExpectExact<float>(shorter, runner.Out(), nullptr);
}

TEST(DecodeRowsTest, RefusesWhatItHasNoKernelFor) {
  EXPECT_THROW(DecodeAttention({.shape = {2, 1, 40}, .rows = 1}), std::invalid_argument);
  EXPECT_THROW(DecodeAttention({.shape = {2, 1, 256}, .rows = 1}), std::invalid_argument);
  EXPECT_THROW(DecodeAttention({.shape = {3, 2, 64}, .rows = 1}), std::invalid_argument);
  EXPECT_THROW(DecodeAttention({.shape = {2, 1, 64}, .type = at::ScalarType::Double, .rows = 1}),
               std::invalid_argument);
}

TYPED_TEST(DecodeAttentionTest, PagesAreGatheredInOrder) {
  NEED_GPU();
  const Problem<TypeParam> problem({2, 2, 48}, {33, 16, 1});
  const std::vector<int32_t> starts = {0, 33, 49, 50};
  const DeviceArray<TypeParam> keys(problem.keys), values(problem.values);
  const DeviceArray<int32_t> device_starts(starts), tables(problem.tables);
  DeviceArray<TypeParam> dense_keys(50 * 2 * 48), dense_values(50 * 2 * 48);
  GatherPages({.shape = problem.shape,
               .type = TypeOf<TypeParam>(),
               .sequences = 3,
               .max_tokens = 33,
               .starts = device_starts.get(),
               .page_tables = tables.get(),
               .table_pages = problem.table_pages,
               .keys = keys.get(),
               .values = values.get(),
               .dense_keys = dense_keys.get(),
               .dense_values = dense_values.get()});
  const std::vector<TypeParam> k = dense_keys.Read(), v = dense_values.Read();
  for (int64_t s = 0; s < 3; ++s) {
    for (int64_t j = 0; j < problem.context[static_cast<size_t>(s)]; ++j) {
      for (int64_t i = 0; i < 2 * 48; ++i) {
        const size_t to = static_cast<size_t>((starts[static_cast<size_t>(s)] + j) * 2 * 48 + i);
        const size_t from = problem.KeyAt(s, j, i / 48) + static_cast<size_t>(i % 48);
        ASSERT_EQ(static_cast<float>(k[to]), static_cast<float>(problem.keys[from])) << s << " " << j << " " << i;
        ASSERT_EQ(static_cast<float>(v[to]), static_cast<float>(problem.values[from])) << s << " " << j << " " << i;
      }
    }
  }
}

// libtorch's kernel, which only a GPU has, against the loops: more keys than queries, aligned at the end.
TEST(FlashAttentionTest, SeesAllKeysUpToItsOwn) {
  NEED_GPU();
  if (!HasFlashAttention(at::ScalarType::BFloat16))
    GTEST_SKIP() << "needs a real GPU: the emulation has no such kernel";
  using T = c10::BFloat16;
  // Row r of the problem becomes the last query of sequence r; the two before it are its copies.
  const Problem<T> problem({4, 2, 64}, {70, 300});
  const int64_t width = 4 * 64, kv_width = 2 * 64;
  std::vector<T> q, k, v;
  for (int64_t r = 0; r < 2; ++r) {
    for (int copy = 0; copy < 3; ++copy) {
      q.insert(q.end(), problem.q.begin() + r * width, problem.q.begin() + (r + 1) * width);
    }
    for (int64_t j = 0; j < problem.context[static_cast<size_t>(r)]; ++j) {
      for (int64_t i = 0; i < kv_width; ++i) {
        const size_t from = problem.KeyAt(r, j, i / 64) + static_cast<size_t>(i % 64);
        k.push_back(problem.keys[from]);
        v.push_back(problem.values[from]);
      }
    }
  }
  const auto tensor = [](const std::vector<T>& host, int64_t heads) {
    const at::Tensor to =
        device::DeviceEmpty(0, {static_cast<int64_t>(host.size()) / heads / 64, heads, 64}, at::ScalarType::BFloat16);
    device::CopyAsync(to.data_ptr(), host.data(), host.size() * sizeof(T));
    return to;
  };
  const auto starts = [](const std::vector<int32_t>& host) {
    const at::Tensor to = device::DeviceEmpty(0, {static_cast<int64_t>(host.size())}, at::ScalarType::Int);
    device::CopyAsync(to.data_ptr(), host.data(), host.size() * sizeof(int32_t));
    return to;
  };
  const FlashResult result =
      FlashAttention(tensor(q, 4), tensor(k, 2), tensor(v, 2), starts({0, 3, 6}), starts({0, 70, 370}), 3, 300);
  std::vector<T> out(q.size());
  device::CopyAsync(out.data(), result.out.data_ptr(), out.size() * sizeof(T));
  device::Synchronize();
  for (int64_t r = 0; r < 2; ++r) {
    for (int64_t h = 0; h < 4; ++h) {
      const auto exact = problem.Reference(r, h);
      for (int64_t c = 0; c < 64; ++c) {
        const int64_t at = (r * 3 + 2) * width + h * 64 + c;
        // Probabilities are rounded to bfloat16 before they meet the values.
        ExpectNear(out[static_cast<size_t>(at)], exact.out[static_cast<size_t>(c)], 4 * 0x1p-8, "out", at);
      }
    }
  }
}

}  // namespace
}  // namespace tactus::ops::cuda
