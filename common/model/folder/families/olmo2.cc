// OLMo 2: attention and MLP read the residual stream as it is and are normed before they are added to it; queries and
// keys are normed over their whole width.
#include "common/model/folder/families/family.h"

namespace tactus {

constinit const ModelFamily kOlmo2 = {
    .model_type = "olmo2",
    .base = {.rms_norm_eps = 1e-5, .max_position = 2048, .qk_norm = true, .qk_norm_whole = true, .norms_after = true}};

}  // namespace tactus
