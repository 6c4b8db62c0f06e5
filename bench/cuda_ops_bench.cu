// Decode attention on a GPU, with and without what the rhythm measures, as a share of the bandwidth at which the same
// GPU reads memory.
//
//   build/cuda/bin/cuda_ops_bench
//
// Three shapes of models in bfloat16, 64 sequences of equal length whose pages are shuffled. Each of 7 rounds times the
// read, the plain and the measuring pass in turn, 20 launches each over layers that together exceed the caches; printed
// are medians, and least and most. "measured" is a layer that is tapped: of 30 layers five are.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/clock.h"
#include "common/device/devices.h"
#include "common/device/kernel_cuda.h"
#include "common/device/runtime_cuda.h"
#include "common/ops/cuda/attention_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int64_t kSequences = 64, kLaunches = 20, kRounds = 7;
constexpr int64_t kCacheBytes = int64_t{1} << 29;  // twice any GPU's second-level cache, and more
constexpr int64_t kReadBytes = int64_t{1} << 30;

__global__ void FillKernel(device::bf16* to, int64_t count) {
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    to[i] = static_cast<device::bf16>(static_cast<float>((i * 2654435761u >> 8) % 2001) * 1e-3f - 1.0f);
  }
}

__global__ void ReadKernel(const uint4* from, int64_t count, unsigned* sink) {
  unsigned sum = 0;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const uint4 value = from[i];
    sum ^= value.x ^ value.y ^ value.z ^ value.w;
  }
  if (sum == 0x12345678u) *sink = sum;  // hardly ever, but the compiler doesn't know
}

double MillisecondsOf(absl::FunctionRef<void(int64_t)> launch) {
  launch(0);
  device::Synchronize();
  const absl::Time start = absl::Now();
  for (int64_t i = 0; i < kLaunches; ++i) launch(i);
  device::Synchronize();
  return absl::ToDoubleMilliseconds(absl::Now() - start) / kLaunches;
}

struct Spread {
  double median, least, most;
};
Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

at::Tensor OnDevice(const std::vector<int32_t>& host) {
  at::Tensor to = device::DeviceEmpty(0, {static_cast<int64_t>(host.size())}, at::ScalarType::Int);
  device::CopyAsync(to.data_ptr(), host.data(), host.size() * sizeof(int32_t));
  device::Synchronize();
  return to;
}

// Keys and values of enough layers that none is in a cache when its turn comes.
struct Layers {
  Layers(const AttentionShape& shape, int64_t context) {
    pages = kSequences * ((context + kPageTokens - 1) / kPageTokens);
    elements = pages * shape.num_kv_heads * kPageTokens * shape.head_dim;
    count = std::max<int64_t>(2, kCacheBytes / (elements * 4));
    for (at::Tensor* tensor : {&keys, &values}) {
      *tensor = device::DeviceEmpty(0, {count * elements}, at::ScalarType::BFloat16);
      device::Launch(FillKernel, dim3(1024), dim3(256), 0, static_cast<device::bf16*>(tensor->data_ptr()),
                     count * elements);
    }
  }
  int64_t pages, elements, count;
  at::Tensor keys, values;
};

void Bench(const char* model, const AttentionShape& shape, int64_t context, absl::FunctionRef<double()> read_ms) {
  const Layers layers(shape, context);
  std::vector<int32_t> table(static_cast<size_t>(layers.pages));
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), std::mt19937_64(1));
  const at::Tensor tables = OnDevice(table);
  const at::Tensor contexts = OnDevice(std::vector<int32_t>(kSequences, static_cast<int32_t>(context)));
  const at::Tensor prompts = OnDevice(std::vector<int32_t>(kSequences, static_cast<int32_t>(context / 4)));
  const int64_t width = shape.num_heads * shape.head_dim;
  const at::Tensor q = device::DeviceEmpty(0, {kSequences * width}, at::ScalarType::BFloat16);
  const at::Tensor out = device::DeviceEmpty(0, {kSequences * width}, at::ScalarType::BFloat16);
  device::Launch(FillKernel, dim3(64), dim3(256), 0, static_cast<device::bf16*>(q.data_ptr()), kSequences * width);
  const at::Tensor workspace = device::DeviceEmpty(
      0, {static_cast<int64_t>(DecodeWorkspaceBytes(shape, kSequences, context)) + 1}, at::ScalarType::Byte);
  DecodeTap tap{.window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100, .fai_tokens = 91};
  tap.num_heads = shape.num_heads;
  const at::Tensor sums = device::DeviceEmpty(0, {kSequences * shape.num_heads * 93}, at::ScalarType::Float);
  tap.prompt_tokens = prompts.data_ptr<int32_t>();
  tap.span = sums.data_ptr<float>();
  tap.waad = tap.span + kSequences * shape.num_heads;
  tap.fai = tap.waad + kSequences * shape.num_heads;
  const auto run = [&](int64_t launch, const DecodeTap* measured) {
    const int64_t first = launch % layers.count * layers.elements;
    DecodeAttention({.shape = shape,
                     .type = at::ScalarType::BFloat16,
                     .rows = kSequences,
                     .q = q.data_ptr(),
                     .q_row = width,
                     .out = out.data_ptr(),
                     .out_row = width,
                     .context_tokens = contexts.data_ptr<int32_t>(),
                     .page_tables = tables.data_ptr<int32_t>(),
                     .table_pages = layers.pages / kSequences,
                     .keys = static_cast<const device::bf16*>(layers.keys.data_ptr()) + first,
                     .values = static_cast<const device::bf16*>(layers.values.data_ptr()) + first,
                     .max_context_tokens = context,
                     .workspace = workspace.data_ptr(),
                     .tap = measured});
  };
  const double bytes = static_cast<double>(kSequences * context * shape.num_kv_heads * shape.head_dim * 4);
  std::vector<double> plain, measured, share;
  for (int64_t round = 0; round < kRounds; ++round) {
    const double read_rate = static_cast<double>(kReadBytes) / read_ms();
    plain.push_back(MillisecondsOf([&](int64_t i) { run(i, nullptr); }));
    measured.push_back(MillisecondsOf([&](int64_t i) { run(i, &tap); }));
    share.push_back(100 * bytes / plain.back() / read_rate);
  }
  const Spread p = SpreadOf(plain), m = SpreadOf(measured), s = SpreadOf(share);
  std::printf("%-14s %6lld %9.1f  %7.1f (%.1f-%.1f) %7.1f (%.1f-%.1f) %5.0f%% (%.0f-%.0f)\n", model,
              static_cast<long long>(context), bytes * 1e-6, p.median * 1e3, p.least * 1e3, p.most * 1e3,
              m.median * 1e3, m.least * 1e3, m.most * 1e3, s.median, s.least, s.most);
}

void RunAll() {
  const device::QueueGuard queue(0);
  const at::Tensor memory = device::DeviceEmpty(0, {kReadBytes}, at::ScalarType::Byte);
  const at::Tensor sink = device::DeviceEmpty(0, {1}, at::ScalarType::Int);
  device::ZeroAsync(memory.data_ptr(), static_cast<size_t>(kReadBytes));
  const auto read_ms = [&] {
    return MillisecondsOf([&](int64_t) {
      device::Launch(ReadKernel, dim3(2048), dim3(512), 0, static_cast<const uint4*>(memory.data_ptr()),
                     kReadBytes / 16, static_cast<unsigned*>(sink.data_ptr()));
    });
  };
  std::printf("reads %.0f GB/s\n", static_cast<double>(kReadBytes) * 1e-6 / read_ms());
  std::printf("%-14s %6s %9s  %s\n", "model", "tokens", "MB",
              "us plain (range), us measured (range), plain's share of the read rate");
  for (const int64_t context : {256, 1024, 4096, 16384}) {
    Bench("SmolLM2-135M", {9, 3, 64}, context, read_ms);
    Bench("Llama-3.1-8B", {32, 8, 128}, context, read_ms);
    Bench("Qwen2.5-7B", {28, 4, 128}, context, read_ms);
  }
}

}  // namespace
}  // namespace tactus::ops::cuda

int main() {
  const tactus::GpuList list = tactus::ListGpus();
  if (list.gpus.empty()) {
    std::printf("cuda_ops_bench measures a GPU, and there is none: %s\n", list.why_none.c_str());
    return 0;
  }
  try {
    tactus::ops::cuda::RunAll();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "cuda_ops_bench: %s\n", e.what());
    return 1;
  }
  return 0;
}
