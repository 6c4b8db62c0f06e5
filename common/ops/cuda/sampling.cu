// One block of up to 32 warps per row, twice through the logits: maximum, then sums. Top-k and top-p go through them a
// dozen times more. Sums of exponentials run in float32 over blocks of 256 tokens, a tree over one warp, then in
// double.
#include <stdexcept>
#include <string>

#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/sampling_cuda.h"
#include "common/ops/cuda/vector_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int kMaxThreads = 1024, kMaxWarps = kMaxThreads / 32;
constexpr int kBlockTokens = 256, kPerLane = kBlockTokens / 32;
constexpr int kDigits = 256;  // values of one of a key's four bytes

// Tokens that truncation leaves possible: those whose key is larger, and of equal ones the first.
struct Cut {
  uint32_t key;
  int last;  // token
};

struct Row {
  const float* logits;
  int vocab;
  float max;
  float inverse_temperature;
  Cut cut;
};

// What the threads of a block tell each other.
struct Shared {
  double doubles[kMaxWarps];
  float floats[kMaxWarps];
  int ints[kMaxWarps];
  unsigned long long digits[kDigits];
  Cut cut;
  unsigned long long target;
  int token;
  double sum;
};

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x) / 32; }
__device__ __forceinline__ int Threads() { return static_cast<int>(blockDim.x); }
__device__ __forceinline__ int Warps() { return Threads() / 32; }
__device__ __forceinline__ int BlocksOf(int vocab) { return (vocab + kBlockTokens - 1) / kBlockTokens; }

// Unsigned numbers in the order of the floats; both zeros are one.
__device__ __forceinline__ uint32_t KeyOf(float x) {
  if (x == 0) x = 0;
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ bool IsPossible(const Row& row, int token, float logit) {
  const uint32_t key = KeyOf(logit);
  return key > row.cut.key || (key == row.cut.key && token <= row.cut.last);
}

// At temperature 1 below the maximum; not -infinity, of which 0 times is no number.
__device__ __forceinline__ float Below(const Row& row, float logit) { return fmaxf(logit - row.max, -1.0e4f); }

// Mass of the token before truncation, in units of 2^-40 of the likeliest one's: whole numbers add up to the same sum
// in any order.
__device__ __forceinline__ unsigned long long MassOf(const Row& row, float logit) {
  return static_cast<unsigned long long>(expf(Below(row, logit) * row.inverse_temperature) * 0x1p40f);
}

// The first i of n items at which the running sum `passes`, as warp 0 finds it: lanes take strips of neighbouring
// items.
template <typename Sum>
struct Found {
  int at;      // n: nowhere
  Sum before;  // of the items before it; of all where it is nowhere
};
template <typename Sum, typename Item, typename Passes>
__device__ Found<Sum> WarpSearch(int n, Item item, Passes passes) {
  const int strip = (n + 31) / 32, begin = Lane() * strip, end = begin + strip < n ? begin + strip : n;
  Sum mine = 0, before = 0, all = 0;
  for (int i = begin; i < end; ++i) mine += item(i);
  for (int lane = 0; lane < 32; ++lane) {
    const Sum other = __shfl_sync(device::kFullMask, mine, lane);
    if (lane < Lane()) before += other;
    all += other;
  }
  int at = n;
  for (int i = begin; i < end && at == n; ++i) {
    const Sum after = before + item(i);
    if (passes(after)) {
      at = i;
    } else {
      before = after;
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const int other = __shfl_xor_sync(device::kFullMask, at, offset);
    at = other < at ? other : at;
  }
  const Sum found = __shfl_sync(device::kFullMask, before, at < n ? at / strip : 0);
  return {at, at < n ? found : all};
}

// The row's maximum into row.max and, in all threads, the first token that has it.
__device__ int FindMax(Row& row, Shared& shared) {
  float max = -INFINITY;
  int token = row.vocab;
  for (int i = static_cast<int>(threadIdx.x); i < row.vocab; i += Threads()) {
    const float x = row.logits[i];
    if (x > max) {
      max = x;
      token = i;
    }
  }
  const auto take = [&](float other, int other_token) {
    if (other > max || (other == max && other_token < token)) {
      max = other;
      token = other_token;
    }
  };
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(device::kFullMask, max, offset);
    const int other_token = __shfl_xor_sync(device::kFullMask, token, offset);
    take(other, other_token);
  }
  if (Lane() == 0) {
    shared.floats[Warp()] = max;
    shared.ints[Warp()] = token;
  }
  __syncthreads();
  for (int w = 0; w < Warps(); ++w) take(shared.floats[w], shared.ints[w]);
  row.max = max;
  return token < row.vocab ? token : 0;  // no token has one where no logit is a number
}

// sums [blocks] of exp((x - max) / temperature) of possible tokens. A barrier is due before they are read.
__device__ void SumBlocks(const Row& row, float* sums) {
  for (int block = Warp(); block < BlocksOf(row.vocab); block += Warps()) {
    float sum = 0;
    TACTUS_UNROLL
    for (int k = 0; k < kPerLane; ++k) {
      const int token = block * kBlockTokens + k * 32 + Lane();
      if (token >= row.vocab) continue;
      const float logit = row.logits[token];
      if (IsPossible(row, token, logit)) sum += expf(Below(row, logit) * row.inverse_temperature);
    }
    sum = WarpSum(sum);
    if (Lane() == 0) sums[block] = sum;
  }
}

// The entropy at temperature 1 over the whole vocabulary, in all threads, and the sums that SumBlocks would give before
// truncation. A barrier is due before they are read.
__device__ float Entropy(const Row& row, Shared& shared, float* sums) {
  double plain = 0, weighted = 0;
  const bool scaled = row.inverse_temperature != 1.0f;
  for (int block = Warp(); block < BlocksOf(row.vocab); block += Warps()) {
    float sum = 0, moment = 0, scaled_sum = 0;
    TACTUS_UNROLL
    for (int k = 0; k < kPerLane; ++k) {
      const int token = block * kBlockTokens + k * 32 + Lane();
      if (token >= row.vocab) continue;
      const float below = Below(row, row.logits[token]), e = expf(below);
      sum += e;
      moment = fmaf(e, below, moment);
      if (scaled) scaled_sum += expf(below * row.inverse_temperature);
    }
    sum = WarpSum(sum);
    plain += sum;
    weighted += WarpSum(moment);
    if (scaled) sum = WarpSum(scaled_sum);
    if (Lane() == 0) sums[block] = sum;
  }
  // All lanes of a warp have its sums: one of them counts.
  const double all_plain = BlockSum(Lane() == 0 ? plain : 0.0, shared.doubles);
  const double all_weighted = BlockSum(Lane() == 0 ? weighted : 0.0, shared.doubles);
  return static_cast<float>(log(all_plain) - all_weighted / all_plain);
}

// The key at which the weights of tokens, from the largest logit down, first add up to `target`, in all threads; and in
// shared.target what is left of it for the tokens of that very key. Tokens whose key is equal have equal weights.
template <typename Weight>
__device__ uint32_t SelectKey(const Row& row, Shared& shared, unsigned long long target, Weight weight) {
  uint32_t prefix = 0, mask = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += Threads()) shared.digits[i] = 0;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < row.vocab; i += Threads()) {
      const float logit = row.logits[i];
      const uint32_t key = KeyOf(logit);
      if ((key & mask) == prefix) atomicAdd(&shared.digits[key >> shift & (kDigits - 1)], weight(logit));
    }
    __syncthreads();
    if (Warp() == 0) {
      const auto found = WarpSearch<unsigned long long>(
          kDigits, [&](int i) { return shared.digits[kDigits - 1 - i]; },
          [&](unsigned long long after) { return after >= target; });
      if (Lane() == 0) {
        shared.ints[0] = found.at < kDigits ? kDigits - 1 - found.at : 0;
        shared.target = target - found.before;
      }
    }
    __syncthreads();
    prefix |= static_cast<uint32_t>(shared.ints[0]) << shift;
    mask |= 0xffu << shift;
    target = shared.target;
    __syncthreads();
  }
  return prefix;
}

// The token that is the count-th of those with `key`, in all threads.
__device__ int NthOfKey(const Row& row, Shared& shared, uint32_t key, int count, int* counts) {
  for (int block = Warp(); block < BlocksOf(row.vocab); block += Warps()) {
    int equal = 0;
    for (int k = 0; k < kPerLane; ++k) {
      const int token = block * kBlockTokens + k * 32 + Lane();
      if (token < row.vocab && KeyOf(row.logits[token]) == key) ++equal;
    }
    equal = WarpSum(equal);
    if (Lane() == 0) counts[block] = equal;
  }
  __syncthreads();
  if (Warp() == 0) {
    const auto passes = [&](int after) { return after >= count; };
    const auto block = WarpSearch<int>(
        BlocksOf(row.vocab), [&](int i) { return counts[i]; }, passes);
    const int first = block.at * kBlockTokens, left = row.vocab - first;
    const auto token = WarpSearch<int>(
        left < kBlockTokens ? (left > 0 ? left : 0) : kBlockTokens,
        [&](int i) { return KeyOf(row.logits[first + i]) == key ? 1 : 0; },
        [&](int after) { return block.before + after >= count; });
    if (Lane() == 0) shared.token = first + token.at;
  }
  __syncthreads();
  return shared.token;
}

// Sets row.cut: the top_k likeliest tokens, of those the fewest that reach top_p; equals in order of their number.
__device__ void Truncate(const SamplingParams& params, Row& row, Shared& shared, int* counts) {
  uint32_t key = 0;
  unsigned long long count = 0;  // how many of that key stay; 0: everything stays
  if (params.top_k > 0 && params.top_k < row.vocab) {
    key = SelectKey(row, shared, static_cast<unsigned long long>(params.top_k), [](float) { return 1ull; });
    count = shared.target;
  }
  if (params.top_p < 1.0f) {
    unsigned long long mass = 0;
    for (int i = static_cast<int>(threadIdx.x); i < row.vocab; i += Threads()) mass += MassOf(row, row.logits[i]);
    mass = WarpSum(mass);
    if (Lane() == 0) shared.digits[Warp()] = mass;
    __syncthreads();
    unsigned long long all = 0;
    for (int w = 0; w < Warps(); ++w) all += shared.digits[w];
    __syncthreads();
    const double share = ceil(static_cast<double>(params.top_p) * static_cast<double>(all));
    const unsigned long long target = share >= 1 ? static_cast<unsigned long long>(share) : 1;
    const uint32_t p_key =
        SelectKey(row, shared, target < all ? target : all, [&](float logit) { return MassOf(row, logit); });
    // All tokens of a key weigh the same, so any of them tells.
    for (int i = static_cast<int>(threadIdx.x); i < row.vocab; i += Threads()) {
      if (KeyOf(row.logits[i]) == p_key) shared.digits[0] = MassOf(row, row.logits[i]);
    }
    __syncthreads();
    const unsigned long long weight = shared.digits[0] > 0 ? shared.digits[0] : 1;
    const unsigned long long p_count = (shared.target + weight - 1) / weight;
    __syncthreads();
    if (count == 0 || p_key > key || (p_key == key && p_count < count)) {
      key = p_key;
      count = p_count;
    }
  }
  if (count > 0) row.cut = {key, NthOfKey(row, shared, key, static_cast<int>(count), counts)};
}

// Where the running sum of the softmax passes `uniform`, and the sum: first the block of tokens, then the token in it.
// Warp 0 alone. A token that is impossible is never drawn where another is possible.
__device__ void DrawToken(const Row& row, const float* sums, double uniform, Shared& shared) {
  const int blocks = BlocksOf(row.vocab);
  const auto whole = WarpSearch<double>(
      blocks, [&](int i) { return static_cast<double>(sums[i]); }, [](double) { return false; });
  const double target = uniform * whole.before;
  // The last block is taken where no earlier one passes.
  const auto block = WarpSearch<double>(
      blocks - 1, [&](int i) { return static_cast<double>(sums[i]); }, [&](double after) { return after > target; });
  const int first = block.at * kBlockTokens, left = row.vocab - first,
            count = left < kBlockTokens ? left : kBlockTokens;
  const auto weight = [&](int i) {
    const float logit = row.logits[first + i];
    if (!IsPossible(row, first + i, logit)) return 0.0;
    return static_cast<double>(expf(Below(row, logit) * row.inverse_temperature));
  };
  const auto drawn = WarpSearch<double>(count, weight, [&](double after) { return block.before + after > target; });
  int last_possible = 0;
  for (int i = Lane(); i < count; i += 32) {
    if (weight(i) > 0) last_possible = i;
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const int other = __shfl_xor_sync(device::kFullMask, last_possible, offset);
    last_possible = other > last_possible ? other : last_possible;
  }
  if (Lane() == 0) {
    shared.token = first + (drawn.at < count ? drawn.at : last_possible);
    shared.sum = whole.before;
  }
}

__device__ __forceinline__ float LogProbOf(const Row& row, int token, double sum) {
  const double scaled = (static_cast<double>(row.logits[token]) - row.max) * row.inverse_temperature;
  return static_cast<float>(scaled - log(sum));
}

// Grid: rows. Shared memory: a number per block of tokens.
__global__ void __launch_bounds__(kMaxThreads)
    SampleKernel(const float* logits, int vocab, const SamplingParams* all_params, SampledToken* out) {
  __shared__ Shared shared;
  float* const sums = device::SharedMemory<float>();
  const SamplingParams params = all_params[blockIdx.x];
  const bool greedy = params.temperature <= 0;
  Row row = {.logits = logits + static_cast<int64_t>(blockIdx.x) * vocab,
             .vocab = vocab,
             .max = 0,
             .inverse_temperature = greedy ? 1.0f : 1.0f / params.temperature,
             .cut = {0, vocab}};
  const int best = FindMax(row, shared);
  const float entropy = Entropy(row, shared, sums);
  __syncthreads();
  if (!greedy && (params.top_k > 0 || params.top_p < 1.0f)) {
    Truncate(params, row, shared, reinterpret_cast<int*>(sums));
    __syncthreads();
    SumBlocks(row, sums);
    __syncthreads();
  }
  if (Warp() != 0) return;
  DrawToken(row, sums, greedy ? 0.0 : params.uniform, shared);
  if (Lane() != 0) return;
  const int token = greedy ? best : shared.token;
  out[blockIdx.x] = {token, LogProbOf(row, token, shared.sum), entropy};
}

// Grid: rows. Shared memory as above.
__global__ void __launch_bounds__(kMaxThreads) LogProbKernel(const float* logits, int vocab, const int32_t* targets,
                                                             float inverse_temperature, TokenLogProb* out) {
  __shared__ Shared shared;
  float* const sums = device::SharedMemory<float>();
  Row row = {.logits = logits + static_cast<int64_t>(blockIdx.x) * vocab,
             .vocab = vocab,
             .max = 0,
             .inverse_temperature = inverse_temperature,
             .cut = {0, vocab}};
  FindMax(row, shared);
  const float entropy = Entropy(row, shared, sums);
  __syncthreads();
  if (Warp() != 0) return;
  const auto whole = WarpSearch<double>(
      BlocksOf(vocab), [&](int i) { return static_cast<double>(sums[i]); }, [](double) { return false; });
  if (Lane() == 0)
    out[blockIdx.x] = {LogProbOf(row, targets[blockIdx.x], whole.before), entropy, row.max, whole.before};
}

// A warp per block of tokens, as far as they go.
dim3 ThreadsFor(int64_t vocab) {
  const int64_t warps = (vocab + kBlockTokens - 1) / kBlockTokens;
  return dim3(static_cast<unsigned>(warps < kMaxWarps ? warps * 32 : kMaxThreads));
}

size_t SharedBytes(int64_t vocab) {
  if (vocab <= 0 || vocab > kMaxVocab) {
    throw std::invalid_argument("a row has " + std::to_string(vocab) + " logits, expected 1 to " +
                                std::to_string(kMaxVocab));
  }
  return static_cast<size_t>((vocab + kBlockTokens - 1) / kBlockTokens) * sizeof(float);
}

}  // namespace

void SampleRows(const float* logits, int64_t rows, int64_t vocab, const SamplingParams* params, SampledToken* out) {
  device::Launch(SampleKernel, dim3(static_cast<unsigned>(rows)), ThreadsFor(vocab), SharedBytes(vocab), logits,
                 static_cast<int>(vocab), params, out);
}

void LogProbRows(const float* logits, int64_t rows, int64_t vocab, const int32_t* targets, float temperature,
                 TokenLogProb* out) {
  device::Launch(LogProbKernel, dim3(static_cast<unsigned>(rows)), ThreadsFor(vocab), SharedBytes(vocab), logits,
                 static_cast<int>(vocab), targets, 1.0f / temperature, out);
}

}  // namespace tactus::ops::cuda
