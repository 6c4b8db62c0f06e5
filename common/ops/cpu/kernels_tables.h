// The tables of each instruction set, for dispatch.cc.
#pragma once

#include "common/ops/cpu/kernels.h"

namespace tactus::ops {

const Kernels* Avx2Kernels();
const Kernels* Avx512Kernels();
const Kernels* Avx512Bf16Kernels();

}  // namespace tactus::ops
