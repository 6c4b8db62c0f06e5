// Qwen2 and Qwen2.5: Llama with a bias on queries, keys and values.
#include "common/model/folder/families/family.h"

namespace tactus {

constinit const ModelFamily kQwen2 = {.model_type = "qwen2",
                                      .base = {.num_kv_heads = 32, .max_position = 32768, .qkv_bias = true}};

}  // namespace tactus
