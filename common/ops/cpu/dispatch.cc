#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/ops/cpu/kernels_tables.h"

namespace tactus::ops {
namespace {

struct Runnable {
  const Kernels* tables[3];
  int count = 0;
};

Runnable FindRunnable() {
  Runnable found{};
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) found.tables[found.count++] = Avx512Bf16Kernels();
  if (avx512) {
    found.tables[found.count++] = Avx512Kernels();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.tables[found.count++] = Avx2Kernels();
  if (found.count == 0) {
    std::fputs("tactus: this CPU has neither AVX2 with FMA nor AVX-512, which the kernels need\n", stderr);
    std::exit(1);
  }
  return found;
}

const Runnable& AllRunnable() {
  static const Runnable found = FindRunnable();
  return found;
}

const Kernels* Choose() {
  const Runnable& all = AllRunnable();
  const char* wanted = std::getenv("TACTUS_ISA");
  for (int i = 0; wanted != nullptr && i < all.count; ++i) {
    if (std::strcmp(all.tables[i]->name, wanted) == 0) return all.tables[i];
  }
  return all.tables[0];
}

}  // namespace

const Kernels& ActiveKernels() {
  static const Kernels* const chosen = Choose();
  return *chosen;
}

const Kernels* const* RunnableKernels(int* count) {
  *count = AllRunnable().count;
  return AllRunnable().tables;
}

}  // namespace tactus::ops
