// Attention of CudaBackend: queries, keys and values, decode and prefill over pages, whole sequences.
#include <ATen/ops/from_blob.h>

#include <algorithm>

#include "common/device/runtime_cuda.h"
#include "common/ops/cuda/backend_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/flash_attention_cuda.h"
#include "common/ops/cuda/rows_cuda.h"

namespace tactus::ops {
namespace {

int64_t Columns(const AttentionShape& s) { return (s.num_heads + 2 * s.num_kv_heads) * s.head_dim; }

// What both kinds of batch give FinishQkv.
cuda::FinishQkvArgs QkvArgs(const AttentionShape& shape, const QkvWeights<CudaBackend>& w, const RotaryRows& rotary,
                            int64_t rows, at::ScalarType type, const void* raw, void* qkv, float* qk_inverse_rms) {
  return {.rows = rows,
          .num_heads = shape.num_heads,
          .num_kv_heads = shape.num_kv_heads,
          .head_dim = shape.head_dim,
          .type = type,
          .raw = raw,
          .bias = w.bias,
          .q_norm = w.q_norm,
          .k_norm = w.k_norm,
          .whole_width = w.whole_width,
          .eps = w.eps,
          .cosines = rotary.cosines,
          .sines = rotary.sines,
          .positions = rotary.positions,
          .out = qkv,
          .inverse_rms = qk_inverse_rms};
}

}  // namespace

void CudaBackend::FinishQkv(const AttentionShape& shape, const QkvWeights<CudaBackend>& w, const PagedBatch& batch,
                            const void* raw, void* qkv, float* qk_inverse_rms) {
  cuda::FinishQkvArgs args = QkvArgs(shape, w, batch.rotary, batch.num_rows, type_, raw, qkv, qk_inverse_rms);
  args.slots = batch.slots;
  args.keys = batch.pages.keys;
  args.values = batch.pages.values;
  cuda::FinishQkv(args);
}

void CudaBackend::FinishQkv(const AttentionShape& shape, const QkvWeights<CudaBackend>& w, const SequenceBatch& batch,
                            const void* raw, void* qkv, float* qk_inverse_rms) {
  cuda::FinishQkv(QkvArgs(shape, w, batch.rotary, batch.rows(), type_, raw, qkv, qk_inverse_rms));
}

void CudaBackend::FinishQkvBackward(const AttentionShape& shape, const QkvWeights<CudaBackend>& w,
                                    const SequenceBatch& batch, const void* raw, const float* qk_inverse_rms,
                                    void* dqkv, const QkvGradients& gradients) {
  const int64_t floats =
      cuda::FinishQkvBackwardWorkspaceFloats(batch.rows(), shape.num_heads, shape.num_kv_heads, shape.head_dim);
  cuda::FinishQkvBackwardArgs args;
  args.rows = batch.rows();
  args.num_heads = shape.num_heads;
  args.num_kv_heads = shape.num_kv_heads;
  args.head_dim = shape.head_dim;
  args.type = type_;
  args.cosines = batch.rotary.cosines;
  args.sines = batch.rotary.sines;
  args.positions = batch.rotary.positions;
  args.dqkv = dqkv;
  if (w.q_norm != nullptr) {
    args.raw = raw;
    args.bias = w.bias;
    args.q_norm = w.q_norm;
    args.k_norm = w.k_norm;
    args.whole_width = w.whole_width;
    args.inverse_rms = qk_inverse_rms;
    args.dq_norm = gradients.q_norm;
    args.dk_norm = gradients.k_norm;
  }
  if (w.bias != nullptr) args.dbias = gradients.bias;
  args.workspace = FloatsIn(workspace_, floats);
  cuda::FinishQkvBackward(args);
}

void CudaBackend::ReservePaged(const AttentionShape& shape, int64_t rows, int64_t decode_rows, int64_t table_pages,
                               Attention& attention) {
  RowsIn(attention.out, rows * shape.num_heads * shape.head_dim);
  const int64_t run_rows = flash_ ? 0 : std::min(rows, kRunRows);
  const size_t bytes = cuda::DecodeWorkspaceBytes(shape, std::max(decode_rows, run_rows), table_pages * kPageTokens);
  BytesIn(paged_workspace_, std::max<int64_t>(1, static_cast<int64_t>(bytes)));  // 0 where no row is split
}

const void* CudaBackend::Attend(const AttentionShape& shape, const PagedBatch& batch, const void* qkv,
                                Attention& attention) {
  ReservePaged(shape, batch.num_rows, batch.decode_rows, batch.table_pages, attention);
  attention.paged = true;
  void* const out = attention.out.data_ptr();
  AttendRows(shape, batch, qkv, out, 0, batch.decode_rows, batch.measured ? &batch.tap : nullptr);
  if (batch.runs.empty()) return out;
  if (flash_) {
    AttendRunsByFlash(shape, batch, qkv, out);
    return out;
  }
  for (int64_t first = batch.decode_rows; first < batch.num_rows; first += kRunRows) {
    AttendRows(shape, batch, qkv, out, first, std::min(kRunRows, batch.num_rows - first), nullptr);
  }
  return out;
}

void CudaBackend::AttendRows(const AttentionShape& shape, const PagedBatch& batch, const void* qkv, void* out,
                             int64_t first, int64_t count, const cuda::DecodeTap* tap) {
  const int64_t columns = Columns(shape), q_columns = shape.num_heads * shape.head_dim;
  cuda::DecodeAttention({.shape = shape,
                         .type = type_,
                         .rows = count,
                         .q = At(qkv, first * columns),
                         .q_row = columns,
                         .out = At(out, first * q_columns),
                         .out_row = q_columns,
                         .context_tokens = batch.contexts + first,
                         .page_tables = batch.page_tables,
                         .table_pages = batch.table_pages,
                         .table_index = batch.table_index + first,
                         .keys = batch.pages.keys,
                         .values = batch.pages.values,
                         .max_context_tokens = batch.table_pages * kPageTokens,
                         .workspace = paged_workspace_.data_ptr(),
                         .tap = tap});
}

// Allocates, so steps with runs are not recorded.
void CudaBackend::AttendRunsByFlash(const AttentionShape& shape, const PagedBatch& batch, const void* qkv, void* out) {
  const int64_t sequences = static_cast<int64_t>(batch.runs.size()), d = shape.head_dim;
  int64_t total_q = 0, total_k = 0, max_q = 0, max_k = 0;
  for (const Run& run : batch.runs) {
    const int64_t keys = run.start_position + run.num_rows;
    total_q += run.num_rows;
    total_k += keys;
    max_q = std::max(max_q, run.num_rows);
    max_k = std::max(max_k, keys);
  }
  const at::Tensor k = device::DeviceEmpty(gpu_, {total_k, shape.num_kv_heads, d}, type_);
  const at::Tensor v = device::DeviceEmpty(gpu_, {total_k, shape.num_kv_heads, d}, type_);
  cuda::GatherPages({.shape = shape,
                     .type = type_,
                     .sequences = sequences,
                     .max_tokens = max_k,
                     .starts = batch.starts_k,
                     .page_tables = batch.page_tables + batch.decode_rows * batch.table_pages,
                     .table_pages = batch.table_pages,
                     .keys = batch.pages.keys,
                     .values = batch.pages.values,
                     .dense_keys = k.data_ptr(),
                     .dense_values = v.data_ptr()});
  const int64_t q_columns = shape.num_heads * d, heads = shape.num_heads + 2 * shape.num_kv_heads;
  const at::Tensor q =
      View(At(qkv, batch.decode_rows * Columns(shape)), {total_q, heads, d}).narrow(1, 0, shape.num_heads);
  const auto starts = [&](const int32_t* data) {
    return at::from_blob(const_cast<int32_t*>(data), {sequences + 1}, q.options().dtype(at::kInt));
  };
  const at::Tensor result =
      cuda::FlashAttention(q, k, v, starts(batch.starts_q), starts(batch.starts_k), max_q, max_k).out;
  View(At(out, batch.decode_rows * q_columns), {total_q, shape.num_heads, d}).copy_(result, /*non_blocking=*/true);
}

const void* CudaBackend::Attend(const AttentionShape& shape, const SequenceBatch& batch, const void* qkv,
                                Attention& attention) {
  attention.paged = false;
  attention.whole = cuda::TrainingAttention(shape, batch.sequences, View(qkv, {batch.rows(), Columns(shape)}), flash_);
  return Output(attention);
}

const void* CudaBackend::Output(Attention& attention) {
  return attention.paged ? attention.out.const_data_ptr() : attention.whole.out.const_data_ptr();
}

void CudaBackend::AttendBackward(const AttentionShape& shape, const SequenceBatch& batch, const void* qkv,
                                 Attention& attention, const void* dout, void* dqkv) {
  const int64_t rows = batch.rows();
  at::Tensor gradient = View(dqkv, {rows, Columns(shape)});
  cuda::TrainingAttentionBackward(shape, batch.sequences, View(qkv, {rows, Columns(shape)}), attention.whole,
                                  View(dout, {rows, shape.num_heads, shape.head_dim}), gradient);
}

}  // namespace tactus::ops
