// Compiled with the compiler flags of avx2: see CMakeLists.txt. Called only after dispatch.cc has asked the CPU.
#define TACTUS_ISA avx2
#define TACTUS_ISA_NAME "avx2"
#include <array>
#include <utility>

#include "common/ops/cpu/kernels_body.inc"
#include "common/ops/cpu/kernels_tables.h"

namespace tactus::ops {

const Kernels* Avx2Kernels() { return &avx2::kTable; }

}  // namespace tactus::ops
