// The row-invariant product against libtorch's unconstrained one, at the shapes of SmolLM2-135M: what zero mismatch
// costs.
//
//   build/release/bin/ops_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
//
// Arguments: rows, columns, depth. Counter: GFLOP/s. Threads: TACTUS_BENCH_THREADS (default 1), the same on both sides.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "common/ops/cpu/gemm.h"
#include "common/ops/cpu/parallel.h"

namespace tactus::ops {
namespace {

int BenchThreads() {
  const char* text = std::getenv("TACTUS_BENCH_THREADS");
  return text == nullptr ? 1 : std::atoi(text);
}

void SetFlops(benchmark::State& state) {
  const double flops = 2.0 * static_cast<double>(state.range(0) * state.range(1) * state.range(2));
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void RowInvariant(benchmark::State& state, PanelType type) {
  SetThreads(BenchThreads());
  const int64_t rows = state.range(0), columns = state.range(1), depth = state.range(2);
  const at::Tensor a = at::randn({rows, depth}), w = at::randn({columns, depth});
  PackedMatrix packed(depth, columns, type);
  packed.PackTransposed(w.data_ptr<float>(), columns, 0);
  std::vector<float> c(static_cast<size_t>(rows * columns));
  for (auto _ : state) {
    Gemm({a.data_ptr<float>(), depth}, rows, packed, c.data(), columns, /*accumulate=*/false);
    benchmark::DoNotOptimize(c.data());
  }
  SetFlops(state);
}

void Libtorch(benchmark::State& state) {
  at::set_num_threads(BenchThreads());
  const int64_t rows = state.range(0), columns = state.range(1), depth = state.range(2);
  const at::Tensor a = at::randn({rows, depth}), w = at::randn({columns, depth});
  const at::Tensor transposed = w.t();
  for (auto _ : state) {
    at::Tensor c = at::mm(a, transposed);
    benchmark::DoNotOptimize(c.data_ptr<float>());
  }
  SetFlops(state);
}

void Shapes(benchmark::internal::Benchmark* bench) {
  for (const int64_t rows : {1, 8, 32, 256, 2048}) {
    bench->Args({rows, 960, 576})->Args({rows, 3072, 576})->Args({rows, 576, 1536});
  }
  bench->Args({32, 49152, 576})->Args({256, 49152, 576});
  bench->UseRealTime();
}
BENCHMARK_CAPTURE(RowInvariant, float32, PanelType::kFloat32)->Apply(Shapes);
BENCHMARK_CAPTURE(RowInvariant, bfloat16_weights, PanelType::kBFloat16)->Apply(Shapes);
BENCHMARK(Libtorch)->Apply(Shapes);

}  // namespace
}  // namespace tactus::ops

BENCHMARK_MAIN();
