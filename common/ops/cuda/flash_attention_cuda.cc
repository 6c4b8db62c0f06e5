#include "common/ops/cuda/flash_attention_cuda.h"

#include <ATen/ops/_flash_attention_forward.h>

#include <cmath>
#include <utility>

namespace tactus::ops::cuda {

bool HasFlashAttention(at::ScalarType type) { return type == at::ScalarType::BFloat16 || type == at::ScalarType::Half; }

FlashResult FlashAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& starts_q,
                           const at::Tensor& starts_k, int64_t max_q, int64_t max_k) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  auto [out, log_sum_exp, rng_state, unused, debug_mask] =
      at::_flash_attention_forward(q, k, v, starts_q, starts_k, max_q, max_k, /*dropout_p=*/0.0, /*is_causal=*/true,
                                   /*return_debug_mask=*/false, scale);
  return {std::move(out), std::move(log_sum_exp), std::move(rng_state), std::move(unused)};
}

}  // namespace tactus::ops::cuda
