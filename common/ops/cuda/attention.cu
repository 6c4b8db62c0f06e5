#include <stdexcept>
#include <string>

#include "common/ops/cuda/attention_cuda.h"
#include "common/ops/cuda/decode_kernel_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"

namespace tactus::ops::cuda {

// Compiled in decode_float.cu, decode_bf16.cu, decode_half.cu.
extern template void LaunchDecode<float>(const DecodeParams&, int, int);
extern template void LaunchDecode<device::bf16>(const DecodeParams&, int, int);
extern template void LaunchDecode<device::half>(const DecodeParams&, int, int);

namespace {

constexpr int kCombineThreads = 128;

// Merges the splits of one row and head, in order. Grid: (rows, query heads). Rows with one split are done already.
template <typename T>
__global__ void __launch_bounds__(kCombineThreads) CombineKernel(DecodeParams p) {
  __shared__ float factors[kMaxSplits];
  const int64_t row = blockIdx.x, head = blockIdx.y;
  const int context = ContextOf(p, row), split_tokens = static_cast<int>(SplitTokens(context));
  const int splits = (context + split_tokens - 1) / split_tokens, d = static_cast<int>(p.args.shape.head_dim);
  if (splits <= 1) return;
  DecodeStats all = {kNoScore, 0, 0, 0};
  for (int s = 0; s < splits; ++s) all.max = fmaxf(all.max, PartialOf(p, row, head, s)[0]);
  if (static_cast<int>(threadIdx.x) < splits) {
    factors[threadIdx.x] = exp2f(PartialOf(p, row, head, static_cast<int>(threadIdx.x))[0] - all.max);
  }
  __syncthreads();
  const int column = static_cast<int>(threadIdx.x);
  float value = 0;
  for (int s = 0; s < splits; ++s) {
    const float* const partial = PartialOf(p, row, head, s);
    all.sum = fmaf(partial[1], factors[s], all.sum);
    all.span = fmaf(partial[2], factors[s], all.span);
    all.nearness = fmaf(partial[3], factors[s], all.nearness);
    if (column < d) value = fmaf(partial[kStats + column], factors[s], value);
  }
  if (column < d) WriteOutput<T>(p, row, head, column, value / all.sum);
  if (column == 0) WriteLogSumExp(p, row, head, all);
  if (PromptOf(p, row) >= 0) FinishTap(p, row, head, all);
}

constexpr int kGatherThreads = 256;

struct GatherParams {
  GatherPagesArgs args;
  int chunks;  // 16-byte pieces of a token's head
};

// Grid: (pages of the longest sequence, sequences). One page of keys and values a block.
__global__ void __launch_bounds__(kGatherThreads) GatherKernel(GatherParams p) {
  const int64_t sequence = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kPageTokens;
  const int64_t start = p.args.starts[sequence], tokens = p.args.starts[sequence + 1] - start;
  if (first >= tokens) return;
  const int64_t page = p.args.page_tables[sequence * p.args.table_pages + blockIdx.x];
  const int count = static_cast<int>(tokens - first < kPageTokens ? tokens - first : kPageTokens);
  const int heads = static_cast<int>(p.args.shape.num_kv_heads), per_token = heads * p.chunks;
  const uint4* const keys = static_cast<const uint4*>(p.args.keys);
  const uint4* const values = static_cast<const uint4*>(p.args.values);
  for (int i = static_cast<int>(threadIdx.x); i < count * per_token; i += kGatherThreads) {
    const int token = i / per_token, head = i % per_token / p.chunks, chunk = i % p.chunks;
    const int64_t from = ((page * heads + head) * kPageTokens + token) * p.chunks + chunk;
    const int64_t to = (start + first) * per_token + i;
    static_cast<uint4*>(p.args.dense_keys)[to] = keys[from];
    static_cast<uint4*>(p.args.dense_values)[to] = values[from];
  }
}

void CheckShape(const AttentionShape& shape, const char* what) {
  if (shape.head_dim <= 0 || shape.head_dim % 16 != 0 || shape.head_dim > kMaxHeadDim) {
    throw std::invalid_argument(std::string(what) + ": the head size is " + std::to_string(shape.head_dim) +
                                ", expected a multiple of 16 that is at most " + std::to_string(kMaxHeadDim));
  }
  if (shape.num_kv_heads <= 0 || shape.num_heads % shape.num_kv_heads != 0) {
    throw std::invalid_argument(std::string(what) + ": " + std::to_string(shape.num_heads) +
                                " query heads can't share " + std::to_string(shape.num_kv_heads) + " key/value heads");
  }
}

}  // namespace

size_t DecodeWorkspaceBytes(const AttentionShape& shape, int64_t rows, int64_t max_context_tokens) {
  return static_cast<size_t>(DecodeWorkspaceFloats(shape, rows, max_context_tokens)) * sizeof(float);
}

void DecodeAttention(const DecodeAttentionArgs& args) {
  CheckShape(args.shape, "DecodeAttention");
  if (args.rows == 0) return;
  const int64_t group = args.shape.num_heads / args.shape.num_kv_heads;
  const int tile = group == 1 ? 1 : group == 2 ? 2 : group <= 4 ? 4 : 8;
  DecodeParams params = {.args = args,
                         .tap = {},
                         .group_tiles = static_cast<int>((group + tile - 1) / tile),
                         .max_splits = static_cast<int>(MostSplits(args.max_context_tokens)),
                         .partials = static_cast<float*>(args.workspace)};
  if (args.tap != nullptr) params.tap = *args.tap;
  ForStorageType(args.type, "DecodeAttention", [&](auto tag) {
    using T = typename decltype(tag)::type;
    LaunchDecode<T>(params, args.shape.head_dim <= 64 ? 64 : 128, tile);
    if (params.max_splits == 1) return;
    const dim3 grid(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.shape.num_heads));
    device::Launch(CombineKernel<T>, grid, dim3(kCombineThreads), 0, params);
  });
}

void GatherPages(const GatherPagesArgs& args) {
  CheckShape(args.shape, "GatherPages");
  ForStorageType(args.type, "GatherPages", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const GatherParams params = {.args = args, .chunks = static_cast<int>(args.shape.head_dim) / kWide<T>};
    const dim3 grid(static_cast<unsigned>((args.max_tokens + kPageTokens - 1) / kPageTokens),
                    static_cast<unsigned>(args.sequences));
    device::Launch(GatherKernel, grid, dim3(kGatherThreads), 0, params);
  });
}

}  // namespace tactus::ops::cuda
