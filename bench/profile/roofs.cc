#include "bench/profile/roofs.h"

#include <immintrin.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>

#include "bench/profile/recorder.h"
#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

constexpr int64_t kMemoryFloats = int64_t{128} << 20;
constexpr int64_t kCacheFloats = int64_t{3} << 20;
constexpr int64_t kReadStreams = 4;      // one alone does not keep enough of memory busy
constexpr int64_t kReadPiece = 4 << 10;  // floats of each
constexpr int64_t kFmaSteps = 1 << 20;
constexpr int kFmaChains = 12;  // hide the latency of two units

// `count` floats of each of the streams, `apart` floats from each other.
[[gnu::target("avx2")]] int64_t ReadPiece(const float* from, int64_t apart, int64_t count) {
  __m256i any[kReadStreams] = {};
  for (int64_t i = 0; i < count; i += 8) {
    for (int64_t j = 0; j < kReadStreams; ++j) {
      any[j] = _mm256_or_si256(any[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + j * apart + i)));
    }
  }
  return _mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(any[0], any[1]), _mm256_or_si256(any[2], any[3])));
}

double ReadRate(const ops::Buffer<float>& buffer, int times) {
  const int64_t stream = buffer.size() / kReadStreams;
  std::atomic<int64_t> seen{0};
  const double seconds = ProfileSecondsOf(
      [&] {
        ops::ParallelFor(stream / kReadPiece, 1, [&](int64_t begin, int64_t end) {
          seen += ReadPiece(buffer.data() + begin * kReadPiece, stream, (end - begin) * kReadPiece);
        });
      },
      times);
  if (seen < 0) std::abort();  // the loads count for something
  return static_cast<double>(buffer.size()) * sizeof(float) / seconds;
}

// Each returns its operations.
using FmaLoop = double (*)(float* sink);

[[gnu::target("avx2,fma")]] double FmaAvx2(float* sink) {
  __m256 sums[kFmaChains];
  for (__m256& sum : sums) sum = _mm256_set1_ps(1.0f);
  const __m256 a = _mm256_set1_ps(*sink), b = _mm256_set1_ps(0.999f);
  for (int64_t i = 0; i < kFmaSteps; ++i) {
#pragma GCC unroll 12
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
  }
  for (const __m256 sum : sums) *sink += _mm256_cvtss_f32(sum);
  return 2.0 * 8 * kFmaChains * kFmaSteps;
}

[[gnu::target("avx512f")]] double FmaAvx512(float* sink) {
  __m512 sums[kFmaChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0f);
  const __m512 a = _mm512_set1_ps(*sink), b = _mm512_set1_ps(0.999f);
  for (int64_t i = 0; i < kFmaSteps; ++i) {
#pragma GCC unroll 12
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  }
  for (const __m512 sum : sums) *sink += _mm512_cvtss_f32(sum);
  return 2.0 * 16 * kFmaChains * kFmaSteps;
}

[[gnu::target("avx512f,avx512bf16")]] double DotBf16(float* sink) {
  __m512 sums[kFmaChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0f);
  const auto a = reinterpret_cast<__m512bh>(_mm512_set1_ps(*sink));
  const auto b = reinterpret_cast<__m512bh>(_mm512_set1_ps(0.999f));
  for (int64_t i = 0; i < kFmaSteps; ++i) {
#pragma GCC unroll 12
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  }
  for (const __m512 sum : sums) *sink += _mm512_cvtss_f32(sum);
  return 2.0 * 32 * kFmaChains * kFmaSteps;
}

FmaLoop LoopFor(StorageDType dtype) {
  const char* kernels = ops::ActiveKernels().name;
  if (std::strcmp(kernels, "avx2") == 0) return FmaAvx2;
  return dtype == StorageDType::kBFloat16 && std::strcmp(kernels, "avx512bf16") == 0 ? DotBf16 : FmaAvx512;
}

// Of pages that are touched for the first time, `page` bytes each; 0: the system refused.
double FaultSeconds(int64_t page, int advice) {
  constexpr size_t kHuge = size_t{2} << 20, kBytes = 64 * kHuge;
  void* const mapped = ::mmap(nullptr, kBytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return 0;
  char* const first = static_cast<char*>(mapped) + (kHuge - reinterpret_cast<uintptr_t>(mapped) % kHuge) % kHuge;
  double seconds = 0;
  if (::madvise(first, kBytes, advice) == 0) {
    seconds = ProfileSecondsOf(
        [&] {
          for (size_t at = 0; at < kBytes; at += static_cast<size_t>(page)) first[at] = 1;
        },
        1);
  }
  ::munmap(mapped, kBytes + kHuge);
  return seconds * static_cast<double>(page) / kBytes;
}

}  // namespace

Roofs::Roofs() : memory_(kMemoryFloats), cache_(kCacheFloats) {}

double Roofs::MemoryReadRate() { return ReadRate(memory_, 1); }

double Roofs::CacheReadRate() {
  ReadRate(cache_, 2);  // brings it there
  return ReadRate(cache_, 40);
}

double Roofs::ArithmeticRate(StorageDType dtype) const {
  const FmaLoop loop = LoopFor(dtype);
  std::atomic<int64_t> operations{0};
  const double seconds = ProfileSecondsOf(
      [&] {
        ops::ParallelFor(int64_t{4} * ops::Threads(), 1, [&](int64_t begin, int64_t end) {
          float sink = 0.5f;
          for (int64_t i = begin; i < end; ++i) operations += static_cast<int64_t>(loop(&sink));
          if (sink == 0.25f) std::abort();  // the sums count for something
        });
      },
      1);
  return static_cast<double>(operations) / seconds;
}

double Roofs::RangeSeconds() const {
  return ProfileSecondsOf([] { ops::ParallelFor(ops::Threads(), 1, [](int64_t, int64_t) {}); }, 2000);
}

double Roofs::SmallFaultSeconds() const { return FaultSeconds(4096, MADV_NOHUGEPAGE); }
double Roofs::HugeFaultSeconds() const { return FaultSeconds(int64_t{2} << 20, MADV_HUGEPAGE); }

}  // namespace tactus
