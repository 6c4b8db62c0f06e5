#include "common/ops/cuda/training_attention_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>

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
  args.shared = sequences.shared;
  args.head_row = sequences.head_row;
  args.seen_end = sequences.seen_end;
  args.qkv = qkv.const_data_ptr();
  args.out = result.out.data_ptr();
  args.log_sum_exp = result.log_sum_exp.data_ptr<float>();
  return args;
}

// Keys or values [T, Hk, D] as FlashAttention wants them: [K, Hk, D].
at::Tensor OfPart(const at::Tensor& rows, const FlashPart& part) {
  return part.key_rows.defined() ? at::index_select(rows, 0, part.key_rows) : rows;
}

// The reverse for gradients, added to what other parts left.
void ToRows(const at::Tensor& gradients, const FlashPart& part, at::Tensor rows) {
  if (part.key_rows.defined()) {
    AddByRow(gradients, part.key_rows, rows);
  } else {
    rows.copy_(gradients);
  }
}

AttentionResult AttentionByParts(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv) {
  AttentionResult result;
  for (const FlashPart& part : sequences.parts) {
    result.parts.push_back(FlashAttention(Queries(qkv.narrow(0, part.first_row, part.rows), shape),
                                          OfPart(Keys(qkv, shape), part), OfPart(Values(qkv, shape), part), part.starts,
                                          part.key_starts, sequences.longest, sequences.longest));
    FlashResult& flash = result.parts.back();
    if (sequences.parts.size() == 1) return {.out = flash.out, .log_sum_exp = {}, .parts = {flash}};
    if (!result.out.defined()) result.out = at::empty({sequences.rows, shape.num_heads, shape.head_dim}, qkv.options());
    at::Tensor view = result.out.narrow(0, part.first_row, part.rows);
    view.copy_(flash.out);
    flash.out = view;
  }
  return result;
}

void BackwardByParts(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                     const AttentionResult& result, const at::Tensor& dout, at::Tensor& dqkv) {
  if (sequences.parts.front().key_rows.defined()) dqkv.zero_();
  for (size_t i = 0; i < sequences.parts.size(); ++i) {
    const FlashPart& part = sequences.parts[i];
    const FlashGradients gradients = FlashAttentionBackward(
        dout.narrow(0, part.first_row, part.rows), Queries(qkv.narrow(0, part.first_row, part.rows), shape),
        OfPart(Keys(qkv, shape), part), OfPart(Values(qkv, shape), part), result.parts[i], part.starts, part.key_starts,
        sequences.longest);
    Queries(dqkv.narrow(0, part.first_row, part.rows), shape).copy_(gradients.dq);
    ToRows(gradients.dk, part, Keys(dqkv, shape));
    ToRows(gradients.dv, part, Values(dqkv, shape));
  }
}

}  // namespace

AttentionResult TrainingAttention(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                                  bool flash) {
  if (flash) return AttentionByParts(shape, sequences, qkv);
  AttentionResult result;
  result.out = at::empty({sequences.rows, shape.num_heads, shape.head_dim}, qkv.options());
  result.log_sum_exp = at::empty({sequences.rows, shape.num_heads}, qkv.options().dtype(at::kFloat));
  DenseAttention(DenseArgs(shape, sequences, qkv, result));
  return result;
}

void TrainingAttentionBackward(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                               const AttentionResult& result, const at::Tensor& dout, at::Tensor& dqkv) {
  if (!result.parts.empty()) return BackwardByParts(shape, sequences, qkv, result, dout, dqkv);
  DenseAttentionArgs args = DenseArgs(shape, sequences, qkv, result);
  const at::Tensor delta = at::empty_like(result.log_sum_exp);
  args.dout = dout.const_data_ptr();
  args.delta = delta.data_ptr<float>();
  args.dqkv = dqkv.data_ptr();
  DenseAttentionBackward(args);
}

}  // namespace tactus::ops::cuda
