// The kernels themselves, compiled once per instruction set by kernels_<isa>.cc. See kernels.h for what each promises.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/ops/kernels.h"
#include "common/ops/simd.h"

namespace tactus::ops::TACTUS_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;  // 6 x 16 accumulators fill 12 of the 16 registers
#endif

// ---- matrix product -------------------------------------------------------------------------------------------------

template <int Rows>
inline void TileChain(const float* a, int64_t a_row, int64_t a_col, const float* b, int64_t b_row, int64_t depth,
                      float* c, int64_t c_row, bool accumulate) {
  F16 acc[Rows];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) acc[r] = Zero();
  for (int64_t k = 0; k < depth; ++k) {
    const F16 bk = Load(b + k * b_row);
    const float* ak = a + k * a_col;
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) acc[r] = Fma(Set(ak[r * a_row]), bk, acc[r]);
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    float* cr = c + r * c_row;
    Store(cr, accumulate ? Load(cr) + acc[r] : acc[r]);
  }
}

using TileFn = void (*)(const float*, int64_t, int64_t, const float*, int64_t, int64_t, float*, int64_t, bool);

template <int... Rows>
constexpr auto MakeTileTable(std::integer_sequence<int, Rows...>) {
  return std::array<TileFn, sizeof...(Rows)>{&TileChain<Rows + 1>...};
}
constexpr auto kTiles = MakeTileTable(std::make_integer_sequence<int, kTileRows>{});  // kTiles[r - 1]: r rows

void TileGemm(const TileArgs& t) {
  int64_t k0 = 0;
  do {
    const int64_t depth = std::min(kChain, t.depth - k0);
    const bool accumulate = t.accumulate || k0 > 0;
    for (int64_t r = 0; r < t.rows; r += kTileRows) {
      const int64_t rows = std::min<int64_t>(kTileRows, t.rows - r);
      kTiles[static_cast<size_t>(rows - 1)](t.a + r * t.a_row + k0 * t.a_col, t.a_row, t.a_col, t.b + k0 * t.b_row,
                                            t.b_row, depth, t.c + r * t.c_row, t.c_row, accumulate);
    }
    k0 += kChain;
  } while (k0 < t.depth);
}

// ---- attention ------------------------------------------------------------------------------------------------------

struct AttentionTile {
  float* q;  // [6, D], scaled
  float* o;  // [6, D], unnormalised output
  float* s;  // [6, 16] scores, then probabilities
  float* l;  // [6, 16] running sums, one per lane
  float max[kAttentionTileRows];
  int64_t position[kAttentionTileRows];
};

// Turns a block's scores into probabilities against the running maximum and rescales what came before.
inline void SoftmaxBlock(AttentionTile& tile, int64_t row, int64_t valid, int64_t head_dim) {
  float* s = tile.s + row * kPanel;
  if (valid <= 0) {
    Store(s, Zero());
    return;
  }
  constexpr float kMasked = -3.0e38f;
  for (int64_t j = valid; j < kPanel; ++j) s[j] = kMasked;
  const F16 scores = Load(s);
  const float block_max = MaxLanes(scores);
  float* l = tile.l + row * kPanel;
  if (block_max > tile.max[row]) {
    const F16 shrink = Exp(Set(tile.max[row] - block_max));  // 0 for the first block
    Store(l, Load(l) * shrink);
    float* o = tile.o + row * head_dim;
    for (int64_t d = 0; d < head_dim; d += kPanel) Store(o + d, Load(o + d) * shrink);
    tile.max[row] = block_max;
  }
  const F16 p = Exp(scores - Set(tile.max[row]));
  Store(l, Load(l) + p);
  Store(s, p);
}

// `rows` (token, head) pairs against all their keys.
void RunTile(const AttentionArgs& args, AttentionTile& tile, int64_t rows) {
  const int64_t d = args.head_dim;
  const TileFn gemm = kTiles[static_cast<size_t>(rows - 1)];
  const int64_t last = tile.position[rows - 1];  // rows are in order of position
  for (int64_t block = 0; block * kPanel <= last; ++block) {
    const int64_t page = args.pages[block];
    gemm(tile.q, d, 1, args.keys + page * args.page_stride, kPanel, d, tile.s, kPanel, false);
    for (int64_t r = 0; r < rows; ++r) {
      SoftmaxBlock(tile, r, std::min(kPanel, tile.position[r] + 1 - block * kPanel), d);
    }
    const float* values = args.values + page * args.page_stride;
    for (int64_t c = 0; c < d; c += kPanel) gemm(tile.s, kPanel, 1, values + c, d, kPanel, tile.o + c, d, true);
  }
}

void Attention(const AttentionArgs& args, float* scratch) {
  const int64_t d = args.head_dim;
  AttentionTile tile;
  tile.q = scratch;
  tile.o = tile.q + kAttentionTileRows * d;
  tile.s = tile.o + kAttentionTileRows * d;
  tile.l = tile.s + kAttentionTileRows * kPanel;
  const F16 scale = Set(args.scale);
  const int64_t pairs = args.num_rows * args.group;
  for (int64_t first = 0; first < pairs; first += kAttentionTileRows) {
    const int64_t rows = std::min(kAttentionTileRows, pairs - first);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t token = (first + r) / args.group, head = (first + r) % args.group;
      tile.position[r] = args.start_position + token;
      tile.max[r] = -3.4e38f;
      const float* q = args.q + token * args.q_row + head * d;
      for (int64_t c = 0; c < d; c += kPanel) {
        Store(tile.q + r * d + c, Load(q + c) * scale);
        Store(tile.o + r * d + c, Zero());
      }
      Store(tile.l + r * kPanel, Zero());
    }
    RunTile(args, tile, rows);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t token = (first + r) / args.group, head = (first + r) % args.group;
      const float sum = SumLanes(Load(tile.l + r * kPanel));
      float* out = args.out + token * args.out_row + head * d;
      const F16 inverse = Set(1.0f / sum);
      for (int64_t c = 0; c < d; c += kPanel) Store(out + c, Load(tile.o + r * d + c) * inverse);
      if (args.log_sum_exp != nullptr) args.log_sum_exp[token * args.lse_row + head] = tile.max[r] + std::log(sum);
    }
  }
}

void AttentionProbs(const float* scores, const float* dp, float scale, float log_sum_exp, float delta, int64_t count,
                    float* probs, float* dscores) {
  for (int64_t j = 0; j < count; j += kLanes) {
    const F16 p = Exp(Fma(Load(scores + j), Set(scale), Set(-log_sum_exp)));
    Store(dscores + j, p * (Load(dp + j) - Set(delta)) * Set(scale));
    Store(probs + j, p);
  }
}

// ---- rows -----------------------------------------------------------------------------------------------------------

float Dot(const float* a, const float* b, int64_t count) {
  F16 sum = Zero();
  for (int64_t j = 0; j < count; j += kLanes) sum = Fma(Load(a + j), Load(b + j), sum);
  return SumLanes(sum);
}

void WidenBf16(const uint16_t* x, int64_t count, float* y) {
  for (int64_t j = 0; j < count; j += kLanes) Store(y + j, LoadBf16(x + j));
}

void AddScaled(const float* x, float factor, int64_t count, float* y) {
  const F16 f = Set(factor);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) Store(y + j, Fma(Load(x + j), f, Load(y + j)));
  for (; j < count; ++j) y[j] = std::fma(x[j], factor, y[j]);
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t rows, int64_t width, int64_t x_row, int64_t y_row,
             float* y, float* inverse_rms) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* xr = x + r * x_row;
    float* yr = y + r * y_row;
    const float inverse = 1.0f / std::sqrt(Dot(xr, xr, width) / static_cast<float>(width) + eps);
    const F16 scale = Set(inverse);
    for (int64_t j = 0; j < width; j += kLanes) Store(yr + j, Load(xr + j) * scale * Load(weight + j));
    if (inverse_rms != nullptr) inverse_rms[r] = inverse;
  }
}

void RmsNormBackward(const float* x, const float* weight, const float* inverse_rms, const float* dy, int64_t rows,
                     int64_t width, int64_t x_row, int64_t dy_row, int64_t dx_row, float* dx, float* dweight,
                     bool accumulate_dx) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* xr = x + r * x_row;
    const float* dyr = dy + r * dy_row;
    float* dxr = dx + r * dx_row;
    const F16 inverse = Set(inverse_rms[r]);
    F16 sum = Zero();
    for (int64_t j = 0; j < width; j += kLanes) {
      const F16 normed = Load(xr + j) * inverse;
      const F16 dyj = Load(dyr + j);
      sum = Fma(dyj * Load(weight + j), normed, sum);
      Store(dweight + j, Fma(dyj, normed, Load(dweight + j)));
    }
    const F16 mean = Set(SumLanes(sum) / static_cast<float>(width));
    for (int64_t j = 0; j < width; j += kLanes) {
      const F16 d = (Load(dyr + j) * Load(weight + j) - Load(xr + j) * inverse * mean) * inverse;
      Store(dxr + j, accumulate_dx ? Load(dxr + j) + d : d);
    }
  }
}

void Rope(float* head, const float* cosines, const float* sines, int64_t head_dim, float direction) {
  const int64_t half = head_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float s = sines[j] * direction;
    const float a = head[j], b = head[j + half];
    head[j] = a * cosines[j] - b * s;
    head[j + half] = b * cosines[j] + a * s;
  }
}

inline F16 Sigmoid(F16 x) {
  // exp of a non-positive number only: no overflow on either side.
  const F16 one = Set(1.0f);
  const F16 e = Exp(Min(x, Zero() - x));
  const F16 small = e / (one + e);  // sigmoid(-|x|)
  return KeepWhereAtLeast(one - small, x, Zero()) + (small - KeepWhereAtLeast(small, x, Zero()));
}

void SwiGlu(const float* gate_up, int64_t rows, int64_t width, float* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* gate = gate_up + r * 2 * width;
    for (int64_t j = 0; j < width; j += kLanes) {
      const F16 g = Load(gate + j);
      Store(out + r * width + j, g * Sigmoid(g) * Load(gate + width + j));
    }
  }
}

void SwiGluBackward(const float* gate_up, const float* dout, int64_t rows, int64_t width, float* dgate_up) {
  const F16 one = Set(1.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const float* gate = gate_up + r * 2 * width;
    float* dgate = dgate_up + r * 2 * width;
    for (int64_t j = 0; j < width; j += kLanes) {
      const F16 g = Load(gate + j), up = Load(gate + width + j), d = Load(dout + r * width + j);
      const F16 sigmoid = Sigmoid(g);
      const F16 silu = g * sigmoid;
      Store(dgate + width + j, d * silu);
      Store(dgate + j, d * up * sigmoid * (one + g * (one - sigmoid)));
    }
  }
}

// ---- softmax over the vocabulary
// --------------------------------------------------------------------------------------

inline float RowMax(const float* x, int64_t width) {
  F16 m = Set(-3.4e38f);
  int64_t j = 0;
  for (; j + kLanes <= width; j += kLanes) m = Max(m, Load(x + j));
  float max = MaxLanes(m);
  for (; j < width; ++j) max = std::max(max, x[j]);
  return max;
}

// Loads up to 16 floats, the rest as `fill`.
inline F16 LoadPartial(const float* p, int64_t count, float fill) {
  float buffer[kLanes];
  for (int64_t j = 0; j < kLanes; ++j) buffer[j] = j < count ? p[j] : fill;
  return Load(buffer);
}

SoftmaxStats RowSoftmaxStats(const float* logits, int64_t width, float inverse_temperature, float* block_sums) {
  SoftmaxStats stats;
  stats.max = RowMax(logits, width);
  const F16 max = Set(stats.max), inverse = Set(inverse_temperature);
  const bool scaled = inverse_temperature != 1.0f;
  double plain_sum = 0, weighted_sum = 0;  // at temperature 1: of e and of e * (x - max)
  for (int64_t begin = 0; begin < width; begin += kSoftmaxBlock) {
    const int64_t end = std::min(begin + kSoftmaxBlock, width);
    F16 sum = Zero(), plain = Zero(), weighted = Zero();
    for (int64_t j = begin; j < end; j += kLanes) {
      const F16 x = j + kLanes <= end ? Load(logits + j) : LoadPartial(logits + j, end - j, -3.0e38f);
      const F16 below = Max(x - max, Set(-1.0e4f));  // masked lanes give e = 0, not 0 * infinity
      const F16 e = Exp(below);
      plain = plain + e;
      weighted = Fma(e, below, weighted);
      if (scaled) sum = sum + Exp(below * inverse);
    }
    const float block_plain = SumLanes(plain);
    const float block = scaled ? SumLanes(sum) : block_plain;
    if (block_sums != nullptr) block_sums[begin / kSoftmaxBlock] = block;
    stats.sum += block;
    plain_sum += block_plain;
    weighted_sum += SumLanes(weighted);
  }
  stats.entropy = std::log(plain_sum) - weighted_sum / plain_sum;
  return stats;
}

void SoftmaxScale(float* logits, int64_t width, float max, float inverse_temperature, float factor) {
  const F16 m = Set(max), inverse = Set(inverse_temperature), f = Set(factor);
  int64_t j = 0;
  for (; j + kLanes <= width; j += kLanes) Store(logits + j, Exp((Load(logits + j) - m) * inverse) * f);
  if (j < width) {
    float buffer[kLanes];
    Store(buffer, Exp((LoadPartial(logits + j, width - j, max) - m) * inverse) * f);
    std::copy(buffer, buffer + (width - j), logits + j);
  }
}

}  // namespace

constexpr Kernels kTable = {
    .name = TACTUS_ISA_NAME,
    .tile_gemm = TileGemm,
    .attention = Attention,
    .rms_norm = RmsNorm,
    .rms_norm_backward = RmsNormBackward,
    .rope = Rope,
    .swiglu = SwiGlu,
    .swiglu_backward = SwiGluBackward,
    .softmax_stats = RowSoftmaxStats,
    .softmax_scale = SoftmaxScale,
    .add_scaled = AddScaled,
    .attention_probs = AttentionProbs,
    .dot = Dot,
    .widen_bf16 = WidenBf16,
};

}  // namespace tactus::ops::TACTUS_ISA
