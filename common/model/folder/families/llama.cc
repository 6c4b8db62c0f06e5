// Llama 1 to 3, and whoever publishes under its name: SmolLM2, TinyLlama.
#include "common/model/folder/families/family.h"

namespace tactus {

constinit const ModelFamily kLlama = {.model_type = "llama", .base = {.max_position = 2048}};

}  // namespace tactus
