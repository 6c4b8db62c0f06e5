// What a pass over rows costs, as far as it tells which of two ranks has more to do. Pure: thread-safe.
#pragma once

#include <cstdint>

#include "common/model/folder/model_config.h"

namespace tactus {

// In any unit. Doubles of whole numbers: every rank that adds up the same costs in the same order has the same sum.
struct PassCost {
  double row = 1;  // of one row, without attention
  double key = 0;  // of one key that a row looks at

  // Of a sequence's rows [first, end): row p looks at p + 1 keys.
  double Of(int64_t first, int64_t end) const {
    const auto keys = [](int64_t rows) { return static_cast<double>(rows) * static_cast<double>(rows + 1) / 2; };
    return row * static_cast<double>(end - first) + key * (keys(end) - keys(first));
  }
};

// Multiplications of a decoder's products forward; backward has twice as many of each. The head is counted for every
// row, though a prompt's rows do without.
inline PassCost PassCostOf(const ModelConfig& c) {
  const int64_t queries = c.num_heads * c.head_dim, pairs = c.num_kv_heads * c.head_dim;
  const int64_t layer = c.hidden_size * (2 * queries + 2 * pairs + 3 * c.intermediate_size);
  return {.row = static_cast<double>(c.num_layers * layer + c.hidden_size * c.vocab_size),
          .key = static_cast<double>(c.num_layers * 2 * queries)};
}

}  // namespace tactus
