// Qwen3 (dense): Llama with a norm on every head of queries and keys.
#include "common/model/folder/families/family.h"

namespace tactus {

constinit const ModelFamily kQwen3 = {
    .model_type = "qwen3", .base = {.num_kv_heads = 32, .head_dim = 128, .max_position = 32768, .qk_norm = true}};

}  // namespace tactus
