// The kernels that element_masks.cc offers where the machine can run them; it alone calls these.
#pragma once

#include "common/weights/delta/element_masks.h"

#if defined(__BMI2__)
#include <immintrin.h>
#endif

namespace tactus {

#if defined(__BMI2__)
namespace {
int SelectBit(uint64_t mask, int rank) { return static_cast<int>(_tzcnt_u64(_pdep_u64(uint64_t{1} << rank, mask))); }
}  // namespace
#endif

const MaskKernels& Avx2MaskKernelsUnchecked();
const MaskKernels& Avx512MaskKernelsUnchecked();

}  // namespace tactus
