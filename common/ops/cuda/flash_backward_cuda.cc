#include "common/ops/cuda/flash_backward_cuda.h"

#include <ATen/Context.h>
#include <ATen/ops/_flash_attention_backward.h>

#include <cmath>
#include <tuple>

namespace tactus::ops::cuda {
namespace {

// dq is summed over blocks of keys, and index_add_ over rows; only with this setting in an order of their own.
class Deterministic {
 public:
  Deterministic() : before_(at::globalContext().deterministicAlgorithms()) {
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  ~Deterministic() { at::globalContext().setDeterministicAlgorithms(before_, /*warn_only=*/false); }
  Deterministic(const Deterministic&) = delete;
  Deterministic& operator=(const Deterministic&) = delete;

 private:
  const bool before_;
};

}  // namespace

FlashGradients FlashAttentionBackward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v, const FlashResult& forward, const at::Tensor& starts_q,
                                      const at::Tensor& starts_k, int64_t longest) {
  const Deterministic deterministic;
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  FlashGradients gradients;
  std::tie(gradients.dq, gradients.dk, gradients.dv) = at::_flash_attention_backward(
      dout, q, k, v, forward.out, forward.log_sum_exp, starts_q, starts_k, longest, longest, /*dropout_p=*/0.0,
      /*is_causal=*/true, forward.rng_state, forward.unused, scale);
  return gradients;
}

void AddByRow(const at::Tensor& gradients, const at::Tensor& rows, at::Tensor& out) {
  const Deterministic deterministic;
  out.index_add_(0, rows, gradients);
}

}  // namespace tactus::ops::cuda
