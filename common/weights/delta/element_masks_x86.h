// The kernels that element_masks.cc offers where the machine can run them; it alone calls these.
#pragma once

#include "common/weights/delta/element_masks.h"

namespace tactus {

const MaskKernels& Avx2MaskKernelsUnchecked();
const MaskKernels& Avx512MaskKernelsUnchecked();

}  // namespace tactus
