// Compiled with the compiler flags of avx512: see CMakeLists.txt. Called only after dispatch.cc has asked the CPU.
#define TACTUS_ISA avx512
#define TACTUS_ISA_NAME "avx512"
#include <array>
#include <utility>

#include "common/ops/cpu/kernels_body.inc"
#include "common/ops/cpu/kernels_tables.h"

namespace tactus::ops {

const Kernels* Avx512Kernels() { return &avx512::kTable; }

}  // namespace tactus::ops
