// Every kernel here moves a few bytes per operation: memory bandwidth is their bound, so accesses are wide and each
// tensor is read once, or a second time while it is in the first-level cache.
#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"
#include "common/ops/cuda/rows_cuda.h"
#include "common/ops/cuda/vector_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / device::kWarpThreads;

unsigned Blocks(int64_t items, int64_t per_block) { return static_cast<unsigned>((items + per_block - 1) / per_block); }

// Grid: rows.
template <typename T>
__global__ void __launch_bounds__(kThreads) EmbedKernel(const int32_t* tokens, const T* table, int hidden, float* x) {
  constexpr int kWidth = 4;
  const int64_t row = blockIdx.x;
  const T* from = table + static_cast<int64_t>(tokens[row]) * hidden;
  float* to = x + row * hidden;
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < hidden; i += kThreads * kWidth) {
    float values[kWidth];
    LoadFloats<kWidth>(from + i, values);
    StoreFloats<kWidth>(values, to + i);
  }
}

template <typename T>
struct NormParams {
  int hidden;
  float* x;
  const T* delta;
  const float* weight;
  float eps;
  T* out;
  float* inverse_rms;
};

// Grid: rows.
template <typename T>
__global__ void __launch_bounds__(kThreads) AddRmsNormKernel(NormParams<T> p) {
  constexpr int kWidth = 4;
  __shared__ float partial[kWarps];
  const int64_t row = blockIdx.x, start = row * p.hidden;
  const int step = static_cast<int>(blockDim.x) * kWidth;
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < p.hidden; i += step) {
    float x[kWidth];
    LoadFloats<kWidth>(p.x + start + i, x);
    if (p.delta != nullptr) {
      float delta[kWidth];
      LoadFloats<kWidth>(p.delta + start + i, delta);
      TACTUS_UNROLL
      for (int k = 0; k < kWidth; ++k) x[k] += delta[k];
      StoreFloats<kWidth>(x, p.x + start + i);
    }
    TACTUS_UNROLL
    for (int k = 0; k < kWidth; ++k) squares = fmaf(x[k], x[k], squares);
  }
  if (p.weight == nullptr) return;
  const float mean = BlockSum(squares, partial) / static_cast<float>(p.hidden);
  const float inverse = 1.0f / sqrtf(mean + p.eps);
  if (threadIdx.x == 0 && p.inverse_rms != nullptr) p.inverse_rms[row] = inverse;
  // Each thread reads back what it has written itself.
  for (int i = static_cast<int>(threadIdx.x) * kWidth; i < p.hidden; i += step) {
    float x[kWidth], weight[kWidth];
    LoadFloats<kWidth>(p.x + start + i, x);
    LoadFloats<kWidth>(p.weight + i, weight);
    TACTUS_UNROLL
    for (int k = 0; k < kWidth; ++k) x[k] = x[k] * inverse * weight[k];
    StoreFloats<kWidth>(x, p.out + start + i);
  }
}

constexpr int kMaxHeadDim = 256;
constexpr int kHeadsPerBlock = 4;  // one warp each
constexpr int kPageSlots = 16;

template <typename T>
struct QkvParams {
  int num_heads, num_kv_heads, head_dim;
  const T* raw;
  const T* bias;
  const float* q_norm;
  const float* k_norm;
  bool whole_width;
  float eps;
  const float* cosines;
  const float* sines;
  const int32_t* positions;
  T* out;
  const int32_t* slots;
  T* keys;
  T* values;
  float* inverse_rms;
};

// The head's place in its page, or null where the row is not stored.
template <typename T>
__device__ T* PageRow(const QkvParams<T>& p, int64_t row, int kv_head, T* pages) {
  const int slot = p.slots == nullptr ? -1 : p.slots[row];
  if (slot < 0) return nullptr;
  const int64_t page = slot / kPageSlots;
  return pages + ((page * p.num_kv_heads + kv_head) * kPageSlots + slot % kPageSlots) * p.head_dim;
}

// Grid: (rows, 2). 1 / rms of all the row's queries, or of all its keys.
template <typename T>
__global__ void __launch_bounds__(kThreads) WholeWidthKernel(QkvParams<T> p) {
  __shared__ float partial[kWarps];
  const int part = static_cast<int>(blockIdx.y), heads = p.num_heads + 2 * p.num_kv_heads;
  const int first = part == 0 ? 0 : p.num_heads * p.head_dim;
  const int width = (part == 0 ? p.num_heads : p.num_kv_heads) * p.head_dim;
  const T* raw = p.raw + static_cast<int64_t>(blockIdx.x) * heads * p.head_dim + first;
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    const float x = static_cast<float>(raw[i]) + (p.bias == nullptr ? 0.0f : static_cast<float>(p.bias[first + i]));
    squares = fmaf(x, x, squares);
  }
  const float mean = BlockSum(squares, partial) / static_cast<float>(width);
  if (threadIdx.x == 0) p.inverse_rms[static_cast<int64_t>(blockIdx.x) * 2 + part] = 1.0f / sqrtf(mean + p.eps);
}

// Grid: (rows, heads of all three kinds / 4). A lane has elements (lane + 32 k, lane + 32 k + D/2) of its warp's head,
// the pairs that rotate together; it writes only what it read, so out may be raw.
template <typename T>
__global__ void __launch_bounds__(kHeadsPerBlock* device::kWarpThreads) FinishQkvKernel(QkvParams<T> p) {
  constexpr int kPairs = kMaxHeadDim / 2 / device::kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % device::kWarpThreads;
  const int head = static_cast<int>(blockIdx.y) * kHeadsPerBlock + static_cast<int>(threadIdx.x) / device::kWarpThreads;
  const int rotated = p.num_heads + p.num_kv_heads, heads = rotated + p.num_kv_heads, half = p.head_dim / 2;
  if (head >= heads) return;
  const int64_t row = blockIdx.x, start = (row * heads + head) * p.head_dim;
  float low[kPairs], high[kPairs], squares = 0;
  TACTUS_UNROLL
  for (int k = 0; k < kPairs; ++k) {
    const int i = lane + k * device::kWarpThreads;
    low[k] = high[k] = 0;
    if (i >= half) continue;
    low[k] = static_cast<float>(p.raw[start + i]);
    high[k] = static_cast<float>(p.raw[start + half + i]);
    if (p.bias != nullptr) {
      low[k] += static_cast<float>(p.bias[head * p.head_dim + i]);
      high[k] += static_cast<float>(p.bias[head * p.head_dim + half + i]);
    }
    squares = fmaf(low[k], low[k], fmaf(high[k], high[k], squares));
  }
  const float* weight = head < p.num_heads ? p.q_norm : p.k_norm;
  const bool normed = head < rotated && weight != nullptr;  // the whole warp's answer
  float inverse = 1.0f;
  if (normed && p.whole_width) {
    inverse = p.inverse_rms[row * 2 + (head < p.num_heads ? 0 : 1)];
    weight += (head < p.num_heads ? head : head - p.num_heads) * p.head_dim;
  } else if (normed) {
    inverse = 1.0f / sqrtf(WarpSum(squares) / static_cast<float>(p.head_dim) + p.eps);
    if (lane == 0 && p.inverse_rms != nullptr) p.inverse_rms[row * rotated + head] = inverse;
  }
  T* const page = head < p.num_heads ? nullptr
                  : head < rotated   ? PageRow(p, row, head - p.num_heads, p.keys)
                                     : PageRow(p, row, head - rotated, p.values);
  const int64_t angle = static_cast<int64_t>(p.positions[row]) * half;
  TACTUS_UNROLL
  for (int k = 0; k < kPairs; ++k) {
    const int i = lane + k * device::kWarpThreads;
    if (i >= half) continue;
    float a = low[k], b = high[k];
    if (normed) {
      a = a * inverse * weight[i];
      b = b * inverse * weight[half + i];
    }
    if (head < rotated) {
      const float cosine = p.cosines[angle + i], sine = p.sines[angle + i];
      const float turned = a * cosine - b * sine;
      b = b * cosine + a * sine;
      a = turned;
    }
    const T stored_a = static_cast<T>(a), stored_b = static_cast<T>(b);
    p.out[start + i] = stored_a;
    p.out[start + half + i] = stored_b;
    if (page != nullptr) {
      page[i] = stored_a;
      page[half + i] = stored_b;
    }
  }
}

// Grid: (rows, inner / what a block covers).
template <typename T>
__global__ void __launch_bounds__(kThreads) SwiGluKernel(const T* gate_up, int inner, T* out) {
  constexpr int kWidth = kWide<T>;
  const int64_t row = blockIdx.x;
  const int i = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * kWidth;
  if (i >= inner) return;
  float gate[kWidth], up[kWidth];
  LoadFloats<kWidth>(gate_up + row * 2 * inner + i, gate);
  LoadFloats<kWidth>(gate_up + (row * 2 + 1) * inner + i, up);
  TACTUS_UNROLL
  for (int k = 0; k < kWidth; ++k) gate[k] = gate[k] / (1.0f + expf(-gate[k])) * up[k];
  StoreFloats<kWidth>(gate, out + row * inner + i);
}

}  // namespace

void EmbedRows(const int32_t* tokens, int64_t rows, const void* table, int64_t hidden, at::ScalarType type, float* x) {
  ForStorageType(type, "EmbedRows", [&](auto tag) {
    using T = typename decltype(tag)::type;
    device::Launch(EmbedKernel<T>, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, tokens,
                   static_cast<const T*>(table), static_cast<int>(hidden), x);
  });
}

void AddRmsNorm(const AddRmsNormArgs& args) {
  ForStorageType(args.type, "AddRmsNorm", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const NormParams<T> params = {.hidden = static_cast<int>(args.hidden),
                                  .x = args.x,
                                  .delta = static_cast<const T*>(args.delta),
                                  .weight = args.weight,
                                  .eps = args.eps,
                                  .out = static_cast<T*>(args.out),
                                  .inverse_rms = args.inverse_rms};
    const int64_t warps = (args.hidden / 4 + device::kWarpThreads - 1) / device::kWarpThreads;  // none without work
    const dim3 block(static_cast<unsigned>((warps < kWarps ? warps : kWarps) * device::kWarpThreads));
    device::Launch(AddRmsNormKernel<T>, dim3(static_cast<unsigned>(args.rows)), block, 0, params);
  });
}

void FinishQkv(const FinishQkvArgs& args) {
  if (args.head_dim > kMaxHeadDim || args.head_dim % 2 != 0) {
    throw std::invalid_argument("FinishQkv: the head size is " + std::to_string(args.head_dim) +
                                ", expected an even number of at most 256");
  }
  ForStorageType(args.type, "FinishQkv", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const QkvParams<T> params = {.num_heads = static_cast<int>(args.num_heads),
                                 .num_kv_heads = static_cast<int>(args.num_kv_heads),
                                 .head_dim = static_cast<int>(args.head_dim),
                                 .raw = static_cast<const T*>(args.raw),
                                 .bias = static_cast<const T*>(args.bias),
                                 .q_norm = args.q_norm,
                                 .k_norm = args.k_norm,
                                 .whole_width = args.whole_width,
                                 .eps = args.eps,
                                 .cosines = args.cosines,
                                 .sines = args.sines,
                                 .positions = args.positions,
                                 .out = static_cast<T*>(args.out),
                                 .slots = args.slots,
                                 .keys = static_cast<T*>(args.keys),
                                 .values = static_cast<T*>(args.values),
                                 .inverse_rms = args.inverse_rms};
    if (args.whole_width && args.q_norm != nullptr) {
      device::Launch(WholeWidthKernel<T>, dim3(static_cast<unsigned>(args.rows), 2), dim3(kThreads), 0, params);
    }
    const dim3 grid(static_cast<unsigned>(args.rows), Blocks(args.num_heads + 2 * args.num_kv_heads, kHeadsPerBlock));
    device::Launch(FinishQkvKernel<T>, grid, dim3(kHeadsPerBlock * device::kWarpThreads), 0, params);
  });
}

void SwiGlu(const void* gate_up, int64_t rows, int64_t inner, at::ScalarType type, void* out) {
  ForStorageType(type, "SwiGlu", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const dim3 grid(static_cast<unsigned>(rows), Blocks(inner, kThreads * kWide<T>));
    device::Launch(SwiGluKernel<T>, grid, dim3(kThreads), 0, static_cast<const T*>(gate_up), static_cast<int>(inner),
                   static_cast<T*>(out));
  });
}

}  // namespace tactus::ops::cuda
