// What attention measures on the way, against float64 distributions of the same queries and keys.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>

#include "common/ops/cpu/attention.h"
#include "tests/ops/reference.h"

namespace tactus::ops {
namespace {

constexpr int64_t kToTheEnd = int64_t{1} << 40;

// One sequence of `length` tokens whose response starts at `prompt`, decoded row by row through its pages.
struct Decode {
  Decode(AttentionShape s, int64_t tokens, int64_t prompt_tokens, StorageDType pages_dtype = StorageDType::kFloat32)
      : shape(s),
        length(tokens),
        prompt(prompt_tokens),
        row((s.num_heads + 2 * s.num_kv_heads) * s.head_dim),
        dtype(pages_dtype) {
    qkv = RandomFloats(length * row, 11 + static_cast<uint64_t>(length));
    table.resize(static_cast<size_t>((length + 15) / 16));
    std::iota(table.rbegin(), table.rend(), 0);
    keys.resize(table.size() * static_cast<size_t>(s.num_kv_heads * s.head_dim * kPageTokens));
    values.resize(keys.size());
    const int64_t pages = (length - 1) / kPageTokens - prompt / kPageTokens + 1;
    span_sum.resize(static_cast<size_t>(s.num_heads));
    waad.resize(static_cast<size_t>(pages * s.num_heads * kPageTokens));
    fai.resize(waad.size());
  }

  AttentionTap Tap(int64_t position) {
    const int64_t page = position / kPageTokens - prompt / kPageTokens;
    return {.prompt_tokens = prompt,
            .num_heads = shape.num_heads,
            .span_sum = span_sum.data(),
            .mass_sum = mass_sum.empty() ? nullptr : mass_sum.data(),
            .waad = waad.data() + page * shape.num_heads * kPageTokens + position % kPageTokens,
            .fai_sum = fai.data()};
  }

  // Rows [begin, end) in one step; the last is measured when `measure`.
  std::vector<float> Step(int64_t begin, int64_t end, const AttentionProbe* probe, float* probs = nullptr,
                          const int32_t* probs_index = nullptr) {
    const std::vector<SequenceRun> runs = {{0, end - begin, begin, table}};
    const float* q = qkv.data() + begin * row;
    const PagedKeysValues pages{keys.data(), values.data(), dtype};  // the float32 buffers are roomy enough for bf16
    const int64_t q_columns = shape.num_heads * shape.head_dim, kv_columns = shape.num_kv_heads * shape.head_dim;
    std::vector<float> out(static_cast<size_t>((end - begin) * q_columns));
    WritePages(shape, runs, q + q_columns, q + q_columns + kv_columns, row, pages);
    std::vector<AttentionTap> taps(1);
    if (probe != nullptr) taps[0] = Tap(end - 1);
    taps[0].probs = probs;
    taps[0].probs_row = ((end - 1) / kPageTokens + 1) * kPageTokens;
    taps[0].probs_index = probs_index;
    const LayerTaps layer{.probe = probe, .taps = taps};
    PagedAttention(shape, runs, q, row, pages, out.data(), q_columns, nullptr, probe == nullptr ? nullptr : &layer);
    return out;
  }

  std::vector<double> Probs(int64_t position, int64_t head) const {
    const int64_t d = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
    return ReferenceProbs(qkv.data() + position * row + head * d, qkv.data() + (shape.num_heads + head / group) * d,
                          row, position, d);
  }
  float Waad(int64_t position, int64_t head) const { return waad[Index(position, head)]; }
  float Fai(int64_t position, int64_t head) const { return fai[Index(position, head)]; }
  size_t Index(int64_t position, int64_t head) const {
    const int64_t page = position / kPageTokens - prompt / kPageTokens;
    return static_cast<size_t>((page * shape.num_heads + head) * kPageTokens + position % kPageTokens);
  }

  AttentionShape shape;
  int64_t length, prompt, row;
  StorageDType dtype;
  std::vector<float> qkv, keys, values;
  std::vector<int32_t> table;
  std::vector<double> span_sum, mass_sum;  // [H]; mass_sum empty: key 0 counts
  std::vector<float> waad, fai;
};

void ExpectRelative(double actual, double expected, double tolerance, const std::string& what) {
  EXPECT_NEAR(actual, expected, tolerance * std::abs(expected) + 1e-12) << what;
}

// Spans, WAAD and FAI sums of the whole response from full float64 rows.
void Check(const Decode& f, const AttentionProbe& probe) {
  const int64_t heads = f.shape.num_heads;
  std::vector<double> span(static_cast<size_t>(heads)), fai(static_cast<size_t>(heads * f.length));
  std::vector<double> mass(static_cast<size_t>(heads));
  for (int64_t position = f.prompt; position < f.length; ++position) {
    for (int64_t h = 0; h < heads; ++h) {
      const std::vector<double> p = f.Probs(position, h);
      double waad = 0;
      for (int64_t j = 0; j <= position; ++j) {
        const int64_t distance = position - j;
        const double pj = p[static_cast<size_t>(j)];
        if (j > 0 || f.mass_sum.empty()) {
          span[static_cast<size_t>(h)] += pj * static_cast<double>(distance);
          mass[static_cast<size_t>(h)] += pj;
        }
        waad += pj * static_cast<double>(std::min(distance, probe.window_tokens));
        if (distance >= probe.horizon_min_tokens && distance <= probe.horizon_max_tokens && j >= f.prompt) {
          fai[static_cast<size_t>(h * f.length + j)] += pj;
        }
      }
      EXPECT_NEAR(f.Waad(position, h), waad, 1e-5 * static_cast<double>(probe.window_tokens))
          << "row " << position << " head " << h;
    }
  }
  for (int64_t h = 0; h < heads; ++h) {
    ExpectRelative(f.span_sum[static_cast<size_t>(h)], span[static_cast<size_t>(h)], 1e-5, "span " + std::to_string(h));
    if (!f.mass_sum.empty()) {
      ExpectRelative(f.mass_sum[static_cast<size_t>(h)], mass[static_cast<size_t>(h)], 1e-5, "mass of the head");
    }
    for (int64_t j = f.prompt; j < f.length; ++j) {
      ExpectRelative(f.Fai(j, h), fai[static_cast<size_t>(h * f.length + j)], 1e-5,
                     "fai " + std::to_string(j) + " head " + std::to_string(h));
    }
  }
}

TEST(AttentionTapTest, AgreesWithFloat64) {
  for (const AttentionShape shape : {AttentionShape{6, 2, 32}, AttentionShape{9, 3, 64}, AttentionShape{8, 1, 128}}) {
    for (const auto& [length, prompt] : {std::pair<int64_t, int64_t>{2, 1}, {17, 16}, {64, 5}, {300, 37}}) {
      for (const AttentionProbe& probe :
           {AttentionProbe{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100},
            AttentionProbe{.window_tokens = 1, .horizon_min_tokens = 1, .horizon_max_tokens = 50},
            AttentionProbe{.window_tokens = 40, .horizon_min_tokens = 10, .horizon_max_tokens = kToTheEnd}}) {
        SCOPED_TRACE("length " + std::to_string(length) + ", window " + std::to_string(probe.window_tokens));
        Decode f(shape, length, prompt);
        f.Step(0, prompt, nullptr);
        for (int64_t position = prompt; position < length; ++position) f.Step(position, position + 1, &probe);
        Check(f, probe);
      }
    }
  }
}

// Scores that grow along the keys make the running maximum rise at nearly every page; float32 scores of a few dozen are
// exact to 1e-5 of a probability.
TEST(AttentionTapTest, SurvivesRescalingAndPeakedRows) {
  const AttentionProbe probe{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100};
  Decode f({4, 2, 32}, 200, 20);
  for (int64_t j = 0; j < f.length; ++j) {
    for (int64_t c = 0; c < 64; ++c) f.qkv[static_cast<size_t>(j * f.row + 128 + c)] *= 0.02f * static_cast<float>(j);
  }
  f.Step(0, f.prompt, nullptr);
  for (int64_t position = f.prompt; position < f.length; ++position) f.Step(position, position + 1, &probe);
  Check(f, probe);
}

// Spans without key 0, also where nearly all of the attention rests there (0.9999 and more of some rows), and nothing
// else is measured differently.
TEST(AttentionTapTest, MayLeaveTheFirstKeyOut) {
  const AttentionProbe probe{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100};
  for (const float rest : {0.0f, 3.0f, 9.0f}) {
    for (const int64_t prompt : {1, 21}) {
      Decode with({9, 3, 64}, 130, prompt), without({9, 3, 64}, 130, prompt);
      without.mass_sum.resize(9);
      for (Decode* f : {&with, &without}) {
        for (int64_t j = 0; j < f->length; ++j) {
          // One column of every query is 1; the first key answers it.
          for (int64_t h = 0; h < 12; ++h) {
            f->qkv[static_cast<size_t>(j * f->row + h * 64)] = h < 9 ? 1.0f : j == 0 ? 8 * rest : 0.0f;
          }
        }
        f->Step(0, prompt, nullptr);
      }
      for (int64_t position = prompt; position < 130; ++position) {
        EXPECT_EQ(without.Step(position, position + 1, &probe), with.Step(position, position + 1, &probe));
      }
      Check(with, probe);
      Check(without, probe);
      EXPECT_EQ(without.waad, with.waad);
      EXPECT_EQ(without.fai, with.fai);
      EXPECT_NE(without.span_sum, with.span_sum);
    }
  }
}

// The same bits whether the measured row comes alone or ends a run that is computed again, and the output is the
// unmeasured one's.
TEST(AttentionTapTest, HowTheRunIsCutChangesNoBit) {
  const AttentionProbe probe{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100};
  Decode alone({9, 3, 64}, 130, 21), again({9, 3, 64}, 130, 21);
  alone.Step(0, 21, nullptr);
  again.Step(0, 21, nullptr);
  for (int64_t position = 21; position < 130; ++position) {
    const std::vector<float> plain = alone.Step(position, position + 1, nullptr);
    EXPECT_EQ(alone.Step(position, position + 1, &probe), plain);
    again.Step(position % 3 == 0 ? 21 : position, position + 1, &probe);
  }
  EXPECT_EQ(alone.span_sum, again.span_sum);
  EXPECT_EQ(alone.waad, again.waad);
  EXPECT_EQ(alone.fai, again.fai);
}

// bf16 pages hold rounded keys and values exactly: the same output and the same metrics as float32 pages of them.
TEST(AttentionTapTest, BFloat16PagesLoseNothing) {
  const AttentionProbe probe{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100};
  Decode wide({9, 3, 64}, 130, 21), narrow({9, 3, 64}, 130, 21, StorageDType::kBFloat16);
  for (Decode* f : {&wide, &narrow}) {
    for (float& x : f->qkv) x = BFloat16ToFloat(FloatToBFloat16(x));
  }
  EXPECT_EQ(narrow.Step(0, 21, nullptr), wide.Step(0, 21, nullptr));
  for (int64_t position = 21; position < 130; ++position) {
    ASSERT_EQ(narrow.Step(position, position + 1, &probe), wide.Step(position, position + 1, &probe));
  }
  Check(narrow, probe);
  EXPECT_EQ(narrow.span_sum, wide.span_sum);
  EXPECT_EQ(narrow.waad, wide.waad);
  EXPECT_EQ(narrow.fai, wide.fai);
}

TEST(AttentionTapTest, KeepsWholeRowsWhenAsked) {
  const AttentionProbe probe{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100};
  Decode f({6, 2, 32}, 150, 20);
  std::vector<float> probs(6 * 160, -1.0f);
  f.Step(0, 150, &probe, probs.data());
  for (int64_t h = 0; h < 6; ++h) {
    const std::vector<double> expected = f.Probs(149, h);
    for (int64_t j = 0; j < 160; ++j) {
      const double p = j < 150 ? expected[static_cast<size_t>(j)] : 0.0;
      EXPECT_NEAR(probs[static_cast<size_t>(h * 160 + j)], p, 2e-6 * p) << h << " " << j;
    }
  }
}

// Of some heads alone, in the order of their index, beside the rest of the tap.
TEST(AttentionTapTest, KeepsTheRowsOfSomeHeads) {
  const AttentionProbe probe{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100};
  Decode whole({6, 2, 32}, 150, 20), some({6, 2, 32}, 150, 20), none({6, 2, 32}, 150, 20);
  std::vector<float> all(6 * 160, -1.0f), kept(2 * 160, -1.0f), untouched(1, -1.0f);
  const std::vector<int32_t> index = {-1, 1, -1, -1, -1, 0}, nobody(6, -1);
  whole.Step(0, 150, &probe, all.data());
  some.Step(0, 150, &probe, kept.data(), index.data());
  none.Step(0, 150, &probe, untouched.data(), nobody.data());
  for (int64_t j = 0; j < 160; ++j) {
    EXPECT_EQ(kept[static_cast<size_t>(j)], all[static_cast<size_t>(5 * 160 + j)]) << j;
    EXPECT_EQ(kept[static_cast<size_t>(160 + j)], all[static_cast<size_t>(160 + j)]) << j;
  }
  EXPECT_EQ(untouched[0], -1.0f);
  for (const Decode* other : {&some, &none}) {
    EXPECT_EQ(other->span_sum, whole.span_sum);
    EXPECT_EQ(other->waad, whole.waad);
    EXPECT_EQ(other->fai, whole.fai);
  }
}

// Every instruction set measures the same bits.
TEST(AttentionTapTest, TablesAgreeToTheBit) {
  constexpr int64_t kDim = 64, kRows = 1, kGroup = 3, kPosition = 140, kPrompt = 19;
  const std::vector<float> q = RandomFloats(kGroup * kDim, 1), keys = RandomFloats(9 * kDim * 16, 2),
                           values = RandomFloats(9 * kDim * 16, 3);
  std::vector<int32_t> pages(9);
  std::iota(pages.begin(), pages.end(), 0);
  std::vector<std::vector<float>> results;
  ForEachKernelTable([&](const Kernels& kernels) {
    std::vector<double> span(kGroup), mass(kGroup);
    std::vector<float> waad(kGroup * 16), fai(9 * kGroup * 16), out(kGroup * kDim);
    std::vector<float> scratch(static_cast<size_t>(AttentionScratchFloats(kDim, 9)));
    const AttentionTapArgs tap{.prompt_tokens = kPrompt,
                               .window = 10,
                               .horizon_min = 10,
                               .horizon_max = 100,
                               .saved_begin = 2,
                               .span_sum = span.data(),
                               .mass_sum = mass.data(),
                               .waad = waad.data(),
                               .fai_sum = fai.data(),
                               .page_stride = kGroup * 16};
    kernels.attention({.num_rows = kRows,
                       .start_position = kPosition,
                       .group = kGroup,
                       .head_dim = kDim,
                       .scale = 0.125f,
                       .q = q.data(),
                       .q_row = kGroup * kDim,
                       .keys = keys.data(),
                       .values = values.data(),
                       .page_stride = kDim * 16,
                       .pages = pages.data(),
                       .out = out.data(),
                       .out_row = kGroup * kDim,
                       .tap = &tap},
                      scratch.data());
    std::vector<float>& all = results.emplace_back(out);
    all.insert(all.end(), waad.begin(), waad.end());
    all.insert(all.end(), fai.begin(), fai.end());
    for (const double s : span) all.push_back(static_cast<float>(s));
    for (const double m : mass) all.push_back(static_cast<float>(m));
  });
  for (const std::vector<float>& result : results) {
    EXPECT_EQ(std::memcmp(result.data(), results[0].data(), result.size() * sizeof(float)), 0);
  }
}

}  // namespace
}  // namespace tactus::ops
