#include "common/model/decoder_cuda.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>

#include "common/device/runtime_cuda.h"
#include "common/ops/cuda/flash_attention_cuda.h"
#include "common/ops/cuda/gemm_cuda.h"
#include "common/ops/cuda/rows_cuda.h"

namespace tactus {
namespace {

using ops::cuda::DecodeTap;

// Rows of runs that the kernel of decode rows takes at once: its workspace grows with them.
constexpr int64_t kRunRows = 256;

int64_t QkvColumns(const ModelConfig& config) { return (config.num_heads + 2 * config.num_kv_heads) * config.head_dim; }

ops::AttentionShape AttentionShapeOf(const ModelConfig& config) {
  return {.num_heads = config.num_heads, .num_kv_heads = config.num_kv_heads, .head_dim = config.head_dim};
}

}  // namespace

DecoderCuda::DecoderCuda(const ModelConfig& config, const DeviceWeights* weights, int64_t num_pages, int gpu)
    : config_(config),
      weights_(weights),
      gpu_(gpu),
      type_(TorchTypeOf(weights->dtype())),
      cache_(config, weights->dtype(), num_pages, gpu) {
  UploadRope();
}

void DecoderCuda::UploadRope() {
  RopeTables rope(config_);
  rope.Extend(config_.max_position);
  const int64_t half = config_.head_dim / 2, elements = config_.max_position * half;
  cosines_ = Buffer(elements, at::kFloat);
  sines_ = Buffer(elements, at::kFloat);
  const at::Tensor host = device::PinnedEmpty({2, elements}, at::kFloat);
  auto* const pinned = host.data_ptr<float>();
  std::copy_n(rope.cosines(0), elements, pinned);
  std::copy_n(rope.sines(0), elements, pinned + elements);
  device::CopyAsync(cosines_.data_ptr(), pinned, static_cast<size_t>(elements) * sizeof(float));
  device::CopyAsync(sines_.data_ptr(), pinned + elements, static_cast<size_t>(elements) * sizeof(float));
  device::Synchronize();
}

at::Tensor DecoderCuda::Buffer(int64_t elements, at::ScalarType type) const {
  return device::DeviceEmpty(gpu_, {elements}, type);
}

bool DecoderCuda::Reserve(const DecoderRoom& room) {
  const int64_t rows = room.rows, logit_rows = room.logit_rows;
  const int64_t run_rows = ops::cuda::HasFlashAttention(type_) ? 0 : std::min(rows, kRunRows);
  const int64_t attended = std::max(room.decode_rows, run_rows);
  const size_t bytes =
      ops::cuda::DecodeWorkspaceBytes(AttentionShapeOf(config_), attended, room.table_pages * kPageTokens);
  const int64_t workspace = std::max<int64_t>(1, static_cast<int64_t>(bytes));  // 0 where no row is split
  if (rows <= rows_ && logit_rows <= logit_rows_ && workspace <= workspace_bytes_) return false;
  if (rows > rows_) {
    rows_ = rows;
    x_ = Buffer(rows * config_.hidden_size, at::kFloat);
    normed_ = Buffer(rows * config_.hidden_size, type_);
    delta_ = Buffer(rows * config_.hidden_size, type_);
    qkv_ = Buffer(rows * QkvColumns(config_), type_);
    attention_ = Buffer(rows * config_.num_heads * config_.head_dim, type_);
    gate_up_ = Buffer(rows * 2 * config_.intermediate_size, type_);
    activated_ = Buffer(rows * config_.intermediate_size, type_);
  }
  if (logit_rows > logit_rows_) {
    logit_rows_ = logit_rows;
    chosen_ = Buffer(logit_rows * config_.hidden_size, type_);
    logits_ = Buffer(logit_rows * config_.vocab_size, at::kFloat);
  }
  if (workspace > workspace_bytes_) {
    workspace_bytes_ = workspace;
    workspace_ = Buffer(workspace, at::kByte);
  }
  return true;
}

void DecoderCuda::Normalize(const float* weight, const void* delta, int64_t rows) {
  ops::cuda::AddRmsNorm({.rows = rows,
                         .hidden = config_.hidden_size,
                         .type = type_,
                         .x = x_.data_ptr<float>(),
                         .delta = delta,
                         .weight = weight,
                         .eps = static_cast<float>(config_.rms_norm_eps),
                         .out = normed_.data_ptr()});
}

void DecoderCuda::Forward(const DeviceRows& rows) {
  const DeviceParameters* parameters = weights_->current();
  if (parameters == nullptr) throw std::logic_error("a decoder runs before it has weights");
  ops::cuda::EmbedRows(rows.tokens, rows.rows, parameters->embed, config_.hidden_size, type_, x_.data_ptr<float>());
  DecodeTap tap = rows.tap == nullptr ? DecodeTap{} : *rows.tap;
  size_t measured = 0;  // of the probe's layers, so far
  const void* delta = nullptr;
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const bool measure =
        rows.tap != nullptr && measured < rows.probe->layers.size() && rows.probe->layers[measured] == i;
    tap.first_head = static_cast<int64_t>(measured) * config_.num_heads;
    Layer(parameters->layers[static_cast<size_t>(i)], i, rows, delta, measure ? &tap : nullptr);
    measured += measure ? 1 : 0;
    delta = delta_.data_ptr();
  }
  Normalize(parameters->final_norm, delta, rows.rows);
}

// Adds what the layer before left in delta_, and leaves its own there.
void DecoderCuda::Layer(const DeviceLayer& layer, int64_t index, const DeviceRows& rows, const void* delta,
                        const DecodeTap* tap) {
  const int64_t r = rows.rows, h = config_.hidden_size, inner = config_.intermediate_size;
  const int64_t q_columns = config_.num_heads * config_.head_dim;
  const auto linear = [&](const at::Tensor& x, const void* w, int64_t columns, int64_t depth, const at::Tensor& y) {
    ops::cuda::Linear(x.data_ptr(), r, w, columns, depth, type_, y.data_ptr(), type_);
  };
  Normalize(layer.input_norm, delta, r);
  linear(normed_, layer.qkv, QkvColumns(config_), h, qkv_);
  ops::cuda::FinishQkv({.rows = r,
                        .num_heads = config_.num_heads,
                        .num_kv_heads = config_.num_kv_heads,
                        .head_dim = config_.head_dim,
                        .type = type_,
                        .raw = qkv_.data_ptr(),
                        .bias = layer.qkv_bias,
                        .q_norm = layer.q_norm,
                        .k_norm = layer.k_norm,
                        .eps = static_cast<float>(config_.rms_norm_eps),
                        .cosines = cosines_.data_ptr<float>(),
                        .sines = sines_.data_ptr<float>(),
                        .positions = rows.positions,
                        .out = qkv_.data_ptr(),
                        .slots = rows.slots,
                        .keys = cache_.keys(index),
                        .values = cache_.values(index)});
  Attend(index, rows, tap);
  linear(attention_, layer.o, h, q_columns, delta_);
  Normalize(layer.post_norm, delta_.data_ptr(), r);
  linear(normed_, layer.gate_up, 2 * inner, h, gate_up_);
  ops::cuda::SwiGlu(gate_up_.data_ptr(), r, inner, type_, activated_.data_ptr());
  linear(activated_, layer.down, h, inner, delta_);
}

void DecoderCuda::Attend(int64_t layer, const DeviceRows& rows, const DecodeTap* tap) {
  AttendRows(layer, rows, 0, rows.decode_rows, tap);
  if (rows.runs.empty()) return;
  if (ops::cuda::HasFlashAttention(type_)) {
    AttendRunsByFlash(layer, rows);
    return;
  }
  for (int64_t first = rows.decode_rows; first < rows.rows; first += kRunRows) {
    AttendRows(layer, rows, first, std::min(kRunRows, rows.rows - first), nullptr);
  }
}

void DecoderCuda::AttendRows(int64_t layer, const DeviceRows& rows, int64_t first, int64_t count,
                             const DecodeTap* tap) {
  const int64_t columns = QkvColumns(config_), q_columns = config_.num_heads * config_.head_dim;
  const auto width = static_cast<int64_t>(c10::elementSize(type_));
  ops::cuda::DecodeAttention({.shape = AttentionShapeOf(config_),
                              .type = type_,
                              .rows = count,
                              .q = static_cast<const std::byte*>(qkv_.data_ptr()) + first * columns * width,
                              .q_row = columns,
                              .out = static_cast<std::byte*>(attention_.data_ptr()) + first * q_columns * width,
                              .out_row = q_columns,
                              .context_tokens = rows.contexts + first,
                              .page_tables = rows.page_tables,
                              .table_pages = rows.table_pages,
                              .table_index = rows.table_index + first,
                              .keys = cache_.keys(layer),
                              .values = cache_.values(layer),
                              .max_context_tokens = rows.table_pages * kPageTokens,
                              .workspace = workspace_.data_ptr(),
                              .tap = tap});
}

// Allocates, so steps with runs are not recorded.
void DecoderCuda::AttendRunsByFlash(int64_t layer, const DeviceRows& rows) {
  const int64_t sequences = static_cast<int64_t>(rows.runs.size()), d = config_.head_dim;
  int64_t total_q = 0, total_k = 0, max_q = 0, max_k = 0;
  for (const DeviceRunShape& run : rows.runs) {
    const int64_t keys = run.start_position + run.num_rows;
    total_q += run.num_rows;
    total_k += keys;
    max_q = std::max(max_q, run.num_rows);
    max_k = std::max(max_k, keys);
  }
  const at::Tensor k = device::DeviceEmpty(gpu_, {total_k, config_.num_kv_heads, d}, type_);
  const at::Tensor v = device::DeviceEmpty(gpu_, {total_k, config_.num_kv_heads, d}, type_);
  ops::cuda::GatherPages({.shape = AttentionShapeOf(config_),
                          .type = type_,
                          .sequences = sequences,
                          .max_tokens = max_k,
                          .starts = rows.starts_k,
                          .page_tables = rows.page_tables + rows.decode_rows * rows.table_pages,
                          .table_pages = rows.table_pages,
                          .keys = cache_.keys(layer),
                          .values = cache_.values(layer),
                          .dense_keys = k.data_ptr(),
                          .dense_values = v.data_ptr()});
  const int64_t q_columns = config_.num_heads * d;
  const at::Tensor q = qkv_.narrow(0, rows.decode_rows * QkvColumns(config_), total_q * QkvColumns(config_))
                           .view({total_q, config_.num_heads + 2 * config_.num_kv_heads, d})
                           .narrow(1, 0, config_.num_heads);
  const auto starts = [&](const int32_t* data) {
    return at::from_blob(const_cast<int32_t*>(data), {sequences + 1}, qkv_.options().dtype(at::kInt));
  };
  const at::Tensor out =
      ops::cuda::FlashAttention(q, k, v, starts(rows.starts_q), starts(rows.starts_k), max_q, max_k).out;
  attention_.narrow(0, rows.decode_rows * q_columns, total_q * q_columns).copy_(out.reshape({-1}), true);
}

void DecoderCuda::Logits(const int32_t* rows, int64_t count) {
  const void* from = normed_.data_ptr();
  if (rows != nullptr) {
    const auto row_bytes = config_.hidden_size * static_cast<int64_t>(c10::elementSize(type_));
    GatherRows(from, rows, count, row_bytes, chosen_.data_ptr());
    from = chosen_.data_ptr();
  }
  ops::cuda::Linear(from, count, weights_->current()->head, config_.vocab_size, config_.hidden_size, type_,
                    logits_.data_ptr(), at::kFloat);
}

}  // namespace tactus
