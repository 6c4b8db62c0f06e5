// Compiled with the compiler flags of avx512bf16: see CMakeLists.txt. Called only after dispatch.cc has asked the CPU.
#define TACTUS_ISA avx512bf16
#define TACTUS_ISA_NAME "avx512bf16"
#include <array>
#include <utility>

#include "common/ops/cpu/kernels_body.inc"
#include "common/ops/cpu/kernels_tables.h"

namespace tactus::ops {

const Kernels* Avx512Bf16Kernels() { return &avx512bf16::kTable; }

}  // namespace tactus::ops
