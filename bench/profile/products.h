// The matrix products of a decoder, each alone, beside the roof of its shape.
#pragma once

#include <string>
#include <vector>

#include "bench/profile/profile_case.h"

namespace tactus {

// One line for every product of the decoder's layers and head, rows it may have (of 1, 8, 32, 64, 256, 1024),
// direction, and place of the weights: streamed from memory, many copies in turn, or in the third-level cache where
// they fit. `packing_share`: of the threads' time, what laying out the left operand takes. A roof is measured beside
// each product.
void ProfileProducts(const std::string& model, const ModelConfig& config, StorageDType dtype, int rounds,
                     RoofSamples& roofs);

}  // namespace tactus
