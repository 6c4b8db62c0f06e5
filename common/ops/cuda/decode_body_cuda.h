// decode_kernel_cuda.h's kernel itself: included by decode_<type>.cu alone.
#pragma once

#include "common/ops/cuda/decode_kernel_cuda.h"

namespace tactus::ops::cuda {

// How a block of the kernel lays its work out. Width: columns it has room for, at least D; Group: query heads.
template <typename T, int Width, int Group>
struct DecodeLayout {
  static constexpr int kElements = kWide<T>;        // of a key that a lane holds
  static constexpr int kLanes = Width / kElements;  // that hold one key
  static constexpr int kKeys = 32 / kLanes;         // that a warp reads at once
  static constexpr int kUnroll = Group == 8 ? 2 : 4;
  static constexpr int kStep = kDecodeWarps * kKeys * kUnroll;  // keys per turn of the loop
  static constexpr int kRow = Width + kStats;                   // floats of a head in the merge buffer
  static constexpr int kQueryFloats = Group * Width;
  static constexpr int kMergeFloats = kDecodeWarps * Group * kRow;
  static_assert(kLanes >= Group && kLanes <= 32);
};

// What a lane keeps of one query head: against the largest score that its group of kLanes lanes has seen, whose lanes
// agree on max and sum.
template <int Elements>
struct HeadState {
  float max = kNoScore, sum = 0;
  float out[Elements] = {};

  // Goes over to another maximum; returns what all sums against the old one are multiplied with.
  __device__ float Raise(float new_max) {
    const float factor = exp2f(max - new_max);
    max = new_max;
    sum *= factor;
    TACTUS_UNROLL
    for (int e = 0; e < Elements; ++e) out[e] *= factor;
    return factor;
  }
};

// What a lane measures: lane g of its group for head g, the others nothing.
struct TapState {
  float span = 0, nearness = 0;
  // Where scores go that FinishTap wants as probabilities: fai[newest - key] for keys [first, newest], probs[key].
  float* fai = nullptr;
  float* probs = nullptr;
  int first = 0, newest = -1;
};

// The block's query heads, scaled, as float4 [Group][Elements / 4][Lanes]: neighbouring lanes read neighbouring banks.
template <typename T, typename Layout>
__device__ void LoadQueries(const DecodeParams& p, int64_t row, int64_t first_head, int heads, float* queries) {
  constexpr int kWidth = Layout::kLanes * Layout::kElements, kQuads = Layout::kElements / 4;
  const int d = static_cast<int>(p.args.shape.head_dim);
  const int64_t i = p.args.row_index == nullptr ? row : p.args.row_index[row];
  const T* const q = static_cast<const T*>(p.args.q) + i * p.args.q_row + first_head * d;
  constexpr float kLog2E = 1.442695040888963407f;
  const float scale = kLog2E / sqrtf(static_cast<float>(d));
  for (int at = static_cast<int>(threadIdx.x); at < Layout::kQueryFloats; at += kDecodeThreads) {
    const int head = at / kWidth, column = at % kWidth;
    const int lane = column / Layout::kElements, e = column % Layout::kElements;
    const float value = head < heads && column < d ? static_cast<float>(q[head * d + column]) * scale : 0.0f;
    queries[((head * kQuads + e / 4) * Layout::kLanes + lane) * 4 + e % 4] = value;
  }
}

// Scores of the lane's keys: its own part of the dot products, summed over the lanes of the key.
template <typename T, typename Layout, int Group>
__device__ __forceinline__ void Scores(const float* queries, int lane, const Pack<T, kWide<T>> (&keys)[Layout::kUnroll],
                                       float (&scores)[Group][Layout::kUnroll]) {
  constexpr int kUnroll = Layout::kUnroll, kQuads = Layout::kElements / 4;
  TACTUS_UNROLL
  for (int quad = 0; quad < kQuads; ++quad) {
    float k[kUnroll][4];
    TACTUS_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      TACTUS_UNROLL
      for (int e = 0; e < 4; ++e) k[u][e] = static_cast<float>(keys[u].at[quad * 4 + e]);
    }
    TACTUS_UNROLL
    for (int g = 0; g < Group; ++g) {
      float q[4];
      LoadFloats<4>(queries + ((g * kQuads + quad) * Layout::kLanes + lane) * 4, q);
      TACTUS_UNROLL
      for (int u = 0; u < kUnroll; ++u) {
        float sum = quad == 0 ? 0.0f : scores[g][u];
        TACTUS_UNROLL
        for (int e = 0; e < 4; ++e) sum = fmaf(k[u][e], q[e], sum);
        scores[g][u] = sum;
      }
    }
  }
  TACTUS_UNROLL
  for (int offset = Layout::kLanes / 2; offset > 0; offset /= 2) {
    TACTUS_UNROLL
    for (int g = 0; g < Group; ++g) {
      TACTUS_UNROLL
      for (int u = 0; u < kUnroll; ++u) scores[g][u] += __shfl_xor_sync(device::kFullMask, scores[g][u], offset);
    }
  }
}

// Adds up what the warp's groups of lanes have, which saw other keys: all have all of it afterwards.
template <typename Layout, int Group>
__device__ __forceinline__ void MergeLanes(int lane, HeadState<Layout::kElements> (&state)[Group], TapState& measured) {
  TACTUS_UNROLL
  for (int offset = Layout::kLanes; offset < 32; offset *= 2) {
    float own_factor = 0;
    TACTUS_UNROLL
    for (int g = 0; g < Group; ++g) {
      const float factor =
          state[g].Raise(fmaxf(state[g].max, __shfl_xor_sync(device::kFullMask, state[g].max, offset)));
      if (lane == g) own_factor = factor;
      state[g].sum += __shfl_xor_sync(device::kFullMask, state[g].sum, offset);
      TACTUS_UNROLL
      for (int e = 0; e < Layout::kElements; ++e) {
        state[g].out[e] += __shfl_xor_sync(device::kFullMask, state[g].out[e], offset);
      }
    }
    measured.span *= own_factor;
    measured.nearness *= own_factor;
    measured.span += __shfl_xor_sync(device::kFullMask, measured.span, offset);
    measured.nearness += __shfl_xor_sync(device::kFullMask, measured.nearness, offset);
  }
}

// Merges the warps' states of all heads and hands each on: finished where the row has one split, else to the workspace.
template <typename T, typename Layout>
__device__ void FinishSplit(const DecodeParams& p, int64_t row, int64_t first_head, int heads, int split, bool only,
                            bool tapped, const float* merge) {
  const int d = static_cast<int>(p.args.shape.head_dim), group_row = Layout::kMergeFloats / kDecodeWarps;
  for (int g = 0; g < heads; ++g) {
    const float* const from = merge + g * Layout::kRow;
    DecodeStats all = {kNoScore, 0, 0, 0};
    float factor[kDecodeWarps];
    TACTUS_UNROLL
    for (int w = 0; w < kDecodeWarps; ++w) all.max = fmaxf(all.max, from[w * group_row]);
    TACTUS_UNROLL
    for (int w = 0; w < kDecodeWarps; ++w) {
      factor[w] = exp2f(from[w * group_row] - all.max);
      all.sum = fmaf(from[w * group_row + 1], factor[w], all.sum);
      all.span = fmaf(from[w * group_row + 2], factor[w], all.span);
      all.nearness = fmaf(from[w * group_row + 3], factor[w], all.nearness);
    }
    float* const partial = only ? nullptr : PartialOf(p, row, first_head + g, split);
    for (int column = static_cast<int>(threadIdx.x); column < d; column += kDecodeThreads) {
      float value = 0;
      TACTUS_UNROLL
      for (int w = 0; w < kDecodeWarps; ++w) value = fmaf(from[w * group_row + kStats + column], factor[w], value);
      if (only) {
        WriteOutput<T>(p, row, first_head + g, column, value / all.sum);
      } else {
        partial[kStats + column] = value;
      }
    }
    if (only && tapped) FinishTap(p, row, first_head + g, all);
    if (threadIdx.x != 0) continue;
    if (only) {
      WriteLogSumExp(p, row, first_head + g, all);
    } else {
      partial[0] = all.max;
      partial[1] = all.sum;
      partial[2] = all.span;
      partial[3] = all.nearness;
    }
  }
}

// A row's split, as the block sees it.
struct SplitRange {
  int context, prompt, begin, end;  // keys [begin, end)
  int kv_head, first_head, heads;   // query heads of this block
};

__device__ __forceinline__ TapState StartTap(const DecodeParams& p, int64_t row, const SplitRange& range, int lane) {
  TapState state;
  if (lane >= range.heads) return state;
  const DecodeTap& tap = p.tap;
  const int64_t place = row * tap.num_heads + tap.first_head + range.first_head + lane, last = range.context - 1;
  const int64_t slots = tap.horizon_min_tokens + tap.fai_tokens - 1;
  const int64_t farthest = slots < tap.horizon_max_tokens ? slots : tap.horizon_max_tokens;
  state.fai = tap.fai + place * tap.fai_tokens;
  state.probs = tap.probs == nullptr ? nullptr : tap.probs + place * tap.probs_tokens;
  state.first = last - farthest > range.prompt ? static_cast<int>(last - farthest) : range.prompt;
  state.newest = last >= tap.horizon_min_tokens ? static_cast<int>(last - tap.horizon_min_tokens) : -1;
  return state;
}

// The pass over the block's keys: what each lane has seen is in `state` afterwards.
template <typename T, typename Layout, int Group, bool Tapped>
__device__ void VisitKeys(const DecodeParams& p, int64_t row, const SplitRange& range, const float* queries,
                          const int32_t* pages, HeadState<Layout::kElements> (&state)[Group], TapState& measured) {
  constexpr int kUnroll = Layout::kUnroll, kElements = Layout::kElements;
  using KeyPack = Pack<T, kElements>;
  const int warp = static_cast<int>(threadIdx.x) / 32, in_warp = static_cast<int>(threadIdx.x) % 32;
  const int lane = in_warp % Layout::kLanes, d = static_cast<int>(p.args.shape.head_dim);
  const bool has_columns = lane * kElements < d;
  const T* const all_keys = static_cast<const T*>(p.args.keys);
  const T* const all_values = static_cast<const T*>(p.args.values);
  for (int base = range.begin; base < range.end; base += Layout::kStep) {
    const int first = base + warp * Layout::kKeys + in_warp / Layout::kLanes;
    KeyPack keys[kUnroll], values[kUnroll];
    TACTUS_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      const int wanted = first + u * kDecodeWarps * Layout::kKeys;
      const int key = wanted < range.end ? wanted : range.end - 1;  // past the end: any key, whose score is dropped
      const int64_t page = pages[(key - range.begin) / kPageTokens];
      const int64_t at = ((page * p.args.shape.num_kv_heads + range.kv_head) * kPageTokens + key % kPageTokens) * d;
      keys[u] = values[u] = KeyPack{};
      if (has_columns) {
        keys[u] = *reinterpret_cast<const KeyPack*>(all_keys + at + lane * kElements);
        values[u] = *reinterpret_cast<const KeyPack*>(all_values + at + lane * kElements);
      }
    }
    float scores[Group][kUnroll];
    Scores<T, Layout, Group>(queries, lane, keys, scores);
    [[maybe_unused]] float own_factor = 0;
    TACTUS_UNROLL
    for (int g = 0; g < Group; ++g) {
      float max = state[g].max;
      TACTUS_UNROLL
      for (int u = 0; u < kUnroll; ++u) {
        const int key = first + u * kDecodeWarps * Layout::kKeys;
        if (key >= range.end) scores[g][u] = kNoScore;
        max = fmaxf(max, scores[g][u]);
      }
      const float factor = state[g].Raise(max);
      if (Tapped && lane == g) own_factor = factor;
    }
    if constexpr (Tapped) {
      measured.span *= own_factor;
      measured.nearness *= own_factor;
    }
    TACTUS_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      const int key = first + u * kDecodeWarps * Layout::kKeys;
      float value[kElements];
      TACTUS_UNROLL
      for (int e = 0; e < kElements; ++e) value[e] = static_cast<float>(values[u].at[e]);
      [[maybe_unused]] float own = 0, own_score = 0;
      TACTUS_UNROLL
      for (int g = 0; g < Group; ++g) {
        const float e = key < range.end ? exp2f(scores[g][u] - state[g].max) : 0.0f;
        state[g].sum += e;
        if (Tapped && lane == g) {
          own = e;
          own_score = scores[g][u];
        }
        TACTUS_UNROLL
        for (int c = 0; c < kElements; ++c) state[g].out[c] = fmaf(e, value[c], state[g].out[c]);
      }
      if constexpr (Tapped) {
        const float distance = static_cast<float>(range.context - 1 - key);
        const float nearness = fmaxf(static_cast<float>(p.tap.window_tokens) - distance, 0.0f);
        measured.span = fmaf(own, distance, measured.span);
        measured.nearness = fmaf(own, nearness, measured.nearness);
        if (key >= range.end) continue;
        if (key >= measured.first && key <= measured.newest) measured.fai[measured.newest - key] = own_score;
        if (measured.probs != nullptr) measured.probs[key] = own_score;
      }
    }
  }
}

// Grid: (rows, key/value heads * group_tiles, splits). Shared memory: queries, merge buffer, pages of a split.
template <typename T, int Width, int Group, bool Tapped>
__global__ void __launch_bounds__(kDecodeThreads, Group == 8 ? 3 : 4) DecodeKernel(DecodeParams p) {
  using Layout = DecodeLayout<T, Width, Group>;
  const int64_t row = blockIdx.x;
  const int split = static_cast<int>(blockIdx.z), tile = static_cast<int>(blockIdx.y) % p.group_tiles;
  const int group = static_cast<int>(p.args.shape.num_heads / p.args.shape.num_kv_heads);
  SplitRange range;
  range.context = ContextOf(p, row);
  range.prompt = PromptOf(p, row);
  range.kv_head = static_cast<int>(blockIdx.y) / p.group_tiles;
  range.first_head = range.kv_head * group + tile * Group;
  range.heads = group - tile * Group < Group ? group - tile * Group : Group;
  const int split_tokens = static_cast<int>(SplitTokens(range.context));
  range.begin = split * split_tokens;
  range.end = range.begin + split_tokens < range.context ? range.begin + split_tokens : range.context;
  if (range.begin >= range.end) {
    if (split == 0) {  // padding
      const int columns = range.heads * static_cast<int>(p.args.shape.head_dim);
      for (int i = static_cast<int>(threadIdx.x); i < columns; i += kDecodeThreads) {
        WriteOutput<T>(p, row, range.first_head, i, 0.0f);
      }
    }
    return;
  }
  float* const queries = device::SharedMemory<float>();
  float* const merge = queries + Layout::kQueryFloats;
  int32_t* const pages = reinterpret_cast<int32_t*>(merge + Layout::kMergeFloats);
  LoadQueries<T, Layout>(p, row, range.first_head, range.heads, queries);
  const int64_t table = p.args.table_index == nullptr ? row : p.args.table_index[row];
  const int32_t* const table_pages = p.args.page_tables + table * p.args.table_pages + range.begin / kPageTokens;
  const int num_pages = (range.end - range.begin + kPageTokens - 1) / kPageTokens;
  for (int i = static_cast<int>(threadIdx.x); i < num_pages; i += kDecodeThreads) pages[i] = table_pages[i];
  __syncthreads();

  HeadState<Layout::kElements> state[Group];
  TapState measured;
  const bool tapped = Tapped && range.prompt >= 0;
  if (tapped) {
    measured = StartTap(p, row, range, static_cast<int>(threadIdx.x) % Layout::kLanes);
    VisitKeys<T, Layout, Group, Tapped>(p, row, range, queries, pages, state, measured);
  } else {
    VisitKeys<T, Layout, Group, false>(p, row, range, queries, pages, state, measured);
  }

  const int in_warp = static_cast<int>(threadIdx.x) % 32, lane = in_warp % Layout::kLanes;
  MergeLanes<Layout, Group>(lane, state, measured);
  float* const to = merge + static_cast<int>(threadIdx.x) / 32 * Group * Layout::kRow;
  TACTUS_UNROLL
  for (int g = 0; g < Group; ++g) {
    if (in_warp < Layout::kLanes) {
      TACTUS_UNROLL
      for (int e = 0; e < Layout::kElements; e += 4) {
        StoreFloats<4>(state[g].out + e, to + g * Layout::kRow + kStats + lane * Layout::kElements + e);
      }
    }
    if (in_warp == g) {
      const float stats[kStats] = {state[g].max, state[g].sum, measured.span, measured.nearness};
      StoreFloats<kStats>(stats, to + g * Layout::kRow);
    }
  }
  __syncthreads();
  FinishSplit<T, Layout>(p, row, range.first_head, range.heads, split, range.context <= split_tokens, tapped, merge);
}

template <typename T, int Width, int Group>
void LaunchGroup(const DecodeParams& params) {
  using Layout = DecodeLayout<T, Width, Group>;
  const DecodeAttentionArgs& args = params.args;
  const dim3 grid(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.shape.num_kv_heads * params.group_tiles),
                  static_cast<unsigned>(params.max_splits));
  const size_t shared = sizeof(float) * static_cast<size_t>(Layout::kQueryFloats + Layout::kMergeFloats) +
                        sizeof(int32_t) * static_cast<size_t>(SplitTokens(args.max_context_tokens) / kPageTokens);
  if (args.tap == nullptr) {
    device::Launch(DecodeKernel<T, Width, Group, false>, grid, dim3(kDecodeThreads), shared, params);
  } else {
    device::Launch(DecodeKernel<T, Width, Group, true>, grid, dim3(kDecodeThreads), shared, params);
  }
}

template <typename T, int Width>
void LaunchWidth(const DecodeParams& params, int group) {
  if (group == 1) return LaunchGroup<T, Width, 1>(params);
  if (group == 2) return LaunchGroup<T, Width, 2>(params);
  if (group == 4) return LaunchGroup<T, Width, 4>(params);
  LaunchGroup<T, Width, 8>(params);
}

template <typename T>
void LaunchDecode(const DecodeParams& params, int width, int group) {
  if (width == 64) {
    LaunchWidth<T, 64>(params, group);
  } else {
    LaunchWidth<T, 128>(params, group);
  }
}

}  // namespace tactus::ops::cuda
