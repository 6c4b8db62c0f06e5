#include "common/ops/cuda/training_attention_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "common/ops/cuda/dense_attention_cuda.h"
#include "common/ops/cuda/flash_attention_cuda.h"
#include "common/ops/cuda/flash_backward_cuda.h"

namespace tactus::ops::cuda {
namespace {

// A row's heads [begin, begin + count) of the qkv rows, as [T, count, D].
at::Tensor Heads(const at::Tensor& qkv, const AttentionShape& shape, int64_t begin, int64_t count) {
  return qkv.narrow(1, begin * shape.head_dim, count * shape.head_dim).unflatten(1, {count, shape.head_dim});
}
at::Tensor Queries(const at::Tensor& qkv, const AttentionShape& s) { return Heads(qkv, s, 0, s.num_heads); }
at::Tensor Keys(const at::Tensor& qkv, const AttentionShape& s) { return Heads(qkv, s, s.num_heads, s.num_kv_heads); }
at::Tensor Values(const at::Tensor& qkv, const AttentionShape& s) {
  return Heads(qkv, s, s.num_heads + s.num_kv_heads, s.num_kv_heads);
}

DenseAttentionArgs DenseArgs(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                             const AttentionResult& result) {
  DenseAttentionArgs args;
  args.shape = shape;
  args.type = qkv.scalar_type();
  args.rows = sequences.rows;
  args.row_begin = sequences.row_begin;
  args.row_end = sequences.row_end;
  args.qkv = qkv.const_data_ptr();
  args.out = result.out.data_ptr();
  args.log_sum_exp = result.log_sum_exp.data_ptr<float>();
  return args;
}

}  // namespace

AttentionResult TrainingAttention(const AttentionShape& shape, const PackedSequences& sequences,
                                  const at::Tensor& qkv) {
  AttentionResult result;
  if (HasFlashAttention(qkv.scalar_type())) {
    FlashResult flash = FlashAttention(Queries(qkv, shape), Keys(qkv, shape), Values(qkv, shape), sequences.starts,
                                       sequences.starts, sequences.longest, sequences.longest);
    return {flash.out, flash.log_sum_exp, flash.rng_state, flash.unused};
  }
  result.out = at::empty({sequences.rows, shape.num_heads, shape.head_dim}, qkv.options());
  result.log_sum_exp = at::empty({sequences.rows, shape.num_heads}, qkv.options().dtype(at::kFloat));
  DenseAttention(DenseArgs(shape, sequences, qkv, result));
  return result;
}

void TrainingAttentionBackward(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                               const AttentionResult& result, const at::Tensor& dout, at::Tensor& dqkv) {
  if (HasFlashAttention(qkv.scalar_type())) {
    const FlashGradients gradients = FlashAttentionBackward(
        dout, Queries(qkv, shape), Keys(qkv, shape), Values(qkv, shape),
        {result.out, result.log_sum_exp, result.rng_state, result.unused}, sequences.starts, sequences.longest);
    Queries(dqkv, shape).copy_(gradients.dq);
    Keys(dqkv, shape).copy_(gradients.dk);
    Values(dqkv, shape).copy_(gradients.dv);
    return;
  }
  DenseAttentionArgs args = DenseArgs(shape, sequences, qkv, result);
  const at::Tensor delta = at::empty_like(result.log_sum_exp);
  args.dout = dout.const_data_ptr();
  args.delta = delta.data_ptr<float>();
  args.dqkv = dqkv.data_ptr();
  DenseAttentionBackward(args);
}

}  // namespace tactus::ops::cuda
