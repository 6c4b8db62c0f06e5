#include "common/ops/cuda/backend_cuda.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "common/device/runtime_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/flash_attention_cuda.h"
#include "common/ops/cuda/gemm_cuda.h"
#include "common/ops/cuda/rows_cuda.h"
#include "common/ops/cuda/sampling_cuda.h"

namespace tactus::ops {

at::ScalarType TorchTypeOf(StorageDType dtype) { return dtype == StorageDType::kFloat32 ? at::kFloat : at::kBFloat16; }

CudaBackend::CudaBackend(StorageDType dtype, int gpu, bool flash)
    : type_(TorchTypeOf(dtype)), gpu_(gpu), flash_(flash && cuda::HasFlashAttention(type_)) {}

void CudaBackend::SequenceBatch::Add(std::span<const int32_t> tokens, const PackedLayout& layout, Upload& upload) {
  const std::vector<PackedSequence> packed = SequencesOf(layout);
  std::vector<int32_t> starts, key_starts, key_rows, begin, shared, head_row, seen_end;
  const auto append = [](std::vector<int32_t>& to, int64_t count, int64_t value) {
    to.insert(to.end(), static_cast<size_t>(count), static_cast<int32_t>(value));
  };
  sequences.rows = layout.starts.back();
  sequences.longest = 0;
  parts_.clear();
  for (const PackedSequence& s : packed) {
    if (parts_.empty() || parts_.back().keys + s.tokens() > sequences.rows) {
      parts_.push_back({.first_row = s.first_row,
                        .first_start = static_cast<int64_t>(starts.size()),
                        .first_key = static_cast<int64_t>(key_rows.size())});
      for (auto* values : {&starts, &key_starts}) append(*values, 1, 0);
    }
    append(begin, s.num_rows, s.first_row);
    append(shared, s.num_rows, s.shared);
    append(head_row, s.num_rows, s.head_row);
    append(seen_end, s.given, s.family_end);
    append(seen_end, s.num_rows - s.given, s.end_row());
    for (int64_t row = s.head_row; row < s.head_row + s.shared; ++row) append(key_rows, 1, row);
    for (int64_t row = s.first_row; row < s.end_row(); ++row) append(key_rows, 1, row);
    cuda::FlashPartPlaces& part = parts_.back();
    part.rows += s.num_rows;
    part.keys += s.tokens();
    append(starts, 1, part.rows);
    append(key_starts, 1, part.keys);
    part.starts = static_cast<int64_t>(starts.size()) - part.first_start;
    sequences.longest = std::max(sequences.longest, s.tokens());
  }
  positions_at_ = upload.Add(PositionsOf(packed));
  begin_at_ = upload.Add(begin);
  shared_at_ = upload.Add(shared);
  head_at_ = upload.Add(head_row);
  seen_end_at_ = upload.Add(seen_end);
  starts_at_ = upload.Add(starts);
  k_starts_at_ = upload.Add(key_starts);
  k_rows_at_ = upload.Add(key_rows);
  tokens_at_ = upload.Add(tokens);

  std::vector<int32_t> order(tokens.size()), seen, seen_starts;
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int32_t row) { return tokens[static_cast<size_t>(row)]; });
  for (size_t i = 0; i < order.size(); ++i) {
    const int32_t token = tokens[static_cast<size_t>(order[i])];
    if (!seen.empty() && seen.back() == token) continue;
    seen.push_back(token);
    seen_starts.push_back(static_cast<int32_t>(i));
  }
  seen_starts.push_back(static_cast<int32_t>(order.size()));
  num_distinct = static_cast<int64_t>(seen.size());
  distinct_at_ = upload.Add(seen);
  distinct_starts_at_ = upload.Add(seen_starts);
  rows_at_ = upload.Add(order);
}

void CudaBackend::SequenceBatch::Bind(const Upload& upload) {
  token_ids = upload.At<int32_t>(tokens_at_);
  rotary.positions = upload.At<int32_t>(positions_at_);
  sequences.row_begin = upload.At<int32_t>(begin_at_);
  sequences.shared = upload.At<int32_t>(shared_at_);
  sequences.head_row = upload.At<int32_t>(head_at_);
  sequences.seen_end = upload.At<int32_t>(seen_end_at_);
  const auto tensor = [&](int64_t place, int64_t first, int64_t count) {
    return at::from_blob(const_cast<int32_t*>(upload.At<int32_t>(place)) + first, {count},
                         upload.device_.options().dtype(at::kInt));
  };
  sequences.parts.clear();
  for (const cuda::FlashPartPlaces& part : parts_) {
    const bool plain = parts_.size() == 1 && part.keys == part.rows;
    sequences.parts.push_back({.first_row = part.first_row,
                               .rows = part.rows,
                               .starts = tensor(starts_at_, part.first_start, part.starts),
                               .key_starts = tensor(k_starts_at_, part.first_start, part.starts),
                               .key_rows = plain ? at::Tensor() : tensor(k_rows_at_, part.first_key, part.keys)});
  }
  distinct = upload.At<int32_t>(distinct_at_);
  distinct_starts = upload.At<int32_t>(distinct_starts_at_);
  rows_by_token = upload.At<int32_t>(rows_at_);
}

void* CudaBackend::BytesIn(Buffer& buffer, int64_t bytes) {
  const int64_t have = buffer.defined() ? buffer.numel() : 0;
  if (bytes > have || !buffer.defined()) {
    buffer = at::Tensor();  // the old memory first: the two need never exist together
    buffer = device::DeviceEmpty(gpu_, {std::max({bytes, have + have / 4, int64_t{16}})}, at::kByte);
    ++memory_moves_;
  }
  return buffer.data_ptr();
}

at::Tensor CudaBackend::View(const void* rows, at::IntArrayRef sizes) const {
  return at::from_blob(const_cast<void*>(rows), sizes,
                       at::TensorOptions().dtype(type_).device(device::TorchDevice(gpu_)));
}

const float* CudaBackend::Keep(std::span<const float> values, Buffer& buffer) {
  float* const to = FloatsIn(buffer, static_cast<int64_t>(values.size()));
  const at::Tensor pinned = device::PinnedEmpty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), pinned.data_ptr<float>());
  device::CopyAsync(to, pinned.const_data_ptr(), values.size_bytes());
  device::Synchronize();  // before the pinned memory goes
  return to;
}

void CudaBackend::Copy(const float* from, int64_t count, float* to) {
  device::CopyAsync(to, from, static_cast<size_t>(count) * sizeof(float));
}

void CudaBackend::Zero(float* values, int64_t count) {
  device::ZeroAsync(values, static_cast<size_t>(count) * sizeof(float));
}

void CudaBackend::Send(Upload& upload) {
  const int64_t bytes = static_cast<int64_t>(upload.bytes().size());
  if (!upload.pinned_.defined() || upload.pinned_.numel() < bytes) {
    upload.pinned_ = device::PinnedEmpty({bytes + bytes / 4 + 16}, at::kByte);
  }
  std::copy(upload.bytes().begin(), upload.bytes().end(), static_cast<std::byte*>(upload.pinned_.data_ptr()));
  device::CopyAsync(BytesIn(upload.device_, bytes), upload.pinned_.const_data_ptr(), upload.bytes().size());
}

std::span<const TokenLogProb> CudaBackend::ToHost(const TokenLogProb* stats, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(TokenLogProb));
  if (!pinned_stats_.defined() || pinned_stats_.numel() < bytes) {
    pinned_stats_ = device::PinnedEmpty({bytes + bytes / 4 + 16}, at::kByte);
  }
  device::CopyAsync(pinned_stats_.data_ptr(), stats, static_cast<size_t>(bytes));
  device::Synchronize();
  return {static_cast<const TokenLogProb*>(pinned_stats_.const_data_ptr()), static_cast<size_t>(count)};
}

void CudaBackend::Embed(const int32_t* tokens, int64_t rows, const void* table, int64_t width, float* x) {
  cuda::EmbedRows(tokens, rows, table, width, type_, x);
}

void CudaBackend::EmbedBackward(const SequenceBatch& batch, const float* dx, int64_t width, float* dtable) {
  cuda::EmbedBackward(dx, batch.distinct, batch.distinct_starts, batch.rows_by_token, batch.num_distinct, width,
                      dtable);
}

void CudaBackend::Settle(Stream<CudaBackend>& x, int64_t rows, int64_t width) {
  if (x.pending != nullptr) AddTo(x.x, x.pending, rows, width);
  x.pending = nullptr;
}

void CudaBackend::Norm(Stream<CudaBackend>& x, const NormShape& norm, void* out, float* inverse_rms) {
  cuda::AddRmsNorm({.rows = norm.rows,
                    .hidden = norm.width,
                    .type = type_,
                    .x = x.x,
                    .delta = x.pending,
                    .weight = norm.weight,
                    .eps = norm.eps,
                    .out = out,
                    .inverse_rms = inverse_rms});
  x.pending = nullptr;
}

void CudaBackend::Add(Stream<CudaBackend>& x, const void* in, int64_t rows, int64_t width) {
  Settle(x, rows, width);
  x.pending = in;
}

void CudaBackend::AddLinear(Stream<CudaBackend>& x, const void* in, int64_t rows, const Matrix& w, Buffer& product) {
  Settle(x, rows, w.columns);
  void* const delta = RowsIn(product, rows * w.columns);
  Linear(in, rows, w, delta);
  x.pending = delta;
}

const void* CudaBackend::AsRows(const float* x, int64_t count, Buffer& buffer) {
  if (type_ == at::kFloat) return x;
  void* const rows = RowsIn(buffer, count);
  cuda::Round(x, count, type_, rows);
  return rows;
}

const float* CudaBackend::AsFloats(const void* rows, int64_t count, int64_t width, Buffer& buffer) {
  if (type_ == at::kFloat) return static_cast<const float*>(rows);
  float* const x = FloatsIn(buffer, count * width);
  Zero(x, count * width);
  AddTo(x, rows, count, width);
  return x;
}

void CudaBackend::NormRows(const float* x, const NormShape& norm, void* out, float* inverse_rms) {
  Stream<CudaBackend> alone{.x = const_cast<float*>(x)};  // with nothing pending it is only read
  Norm(alone, norm, out, inverse_rms);
}

void CudaBackend::NormBackward(const float* x, const NormShape& norm, const float* inverse_rms, const void* dy,
                               float* dx, bool accumulate, float* dweight) {
  cuda::RmsNormBackward({.rows = norm.rows,
                         .hidden = norm.width,
                         .type = type_,
                         .x = x,
                         .weight = norm.weight,
                         .inverse_rms = inverse_rms,
                         .dy = dy,
                         .dx = dx,
                         .accumulate_dx = accumulate,
                         .dweight = dweight,
                         .workspace = FloatsIn(workspace_, cuda::GradientWorkspaceFloats(norm.rows, norm.width))});
}

void CudaBackend::AddTo(float* y, const void* x, int64_t rows, int64_t width) {
  cuda::AddRmsNorm({.rows = rows, .hidden = width, .type = type_, .x = y, .delta = x});
}

void CudaBackend::Linear(const void* x, int64_t rows, const Matrix& w, void* y) {
  cuda::Linear(x, rows, w.data, w.columns, w.depth, type_, y, type_);
}

void CudaBackend::LinearToFloats(const void* x, int64_t rows, const Matrix& w, float* y) {
  cuda::Linear(x, rows, w.data, w.columns, w.depth, type_, y, at::kFloat);
}

void CudaBackend::LinearBackwardInput(const void* dy, int64_t rows, const Matrix& w, void* dx) {
  cuda::LinearBackwardInput(dy, rows, w.columns, w.data, w.depth, type_, dx);
}

void CudaBackend::LinearBackwardWeight(const void* dy, int64_t rows, int64_t columns, const void* x, int64_t depth,
                                       float* dw) {
  cuda::LinearBackwardWeight(dy, rows, columns, x, depth, type_, dw);
}

void CudaBackend::SwiGlu(const void* gate_up, int64_t rows, int64_t inner, void* out) {
  cuda::SwiGlu(gate_up, rows, inner, type_, out);
}

void CudaBackend::SwiGluBackward(const void* gate_up, const void* dout, int64_t rows, int64_t inner, void* dgate_up,
                                 void* activated) {
  cuda::SwiGluBackward(gate_up, dout, rows, inner, type_, dgate_up, activated);
}

void CudaBackend::GatherRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out) {
  cuda::GatherRows(x, rows, count, width, out);
}

void CudaBackend::ScatterRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out) {
  cuda::ScatterRows(x, rows, count, width, out);
}

void CudaBackend::LogProbRows(const float* logits, int64_t rows, int64_t vocab, const int32_t* targets,
                              float temperature, TokenLogProb* out) {
  cuda::LogProbRows(logits, rows, vocab, targets, temperature, out);
}

const void* CudaBackend::LogProbBackward(float* logits, int64_t rows, int64_t vocab, const int32_t* targets,
                                         const TokenLogProb* stats, const float* dlogprobs, const float* dentropies,
                                         float temperature, Buffer& buffer) {
  void* const dlogits = type_ == at::kFloat ? logits : RowsIn(buffer, rows * vocab);
  cuda::LogProbBackward({.rows = rows,
                         .vocab = vocab,
                         .type = type_,
                         .logits = logits,
                         .targets = targets,
                         .stats = stats,
                         .dlogprobs = dlogprobs,
                         .dentropies = dentropies,
                         .temperature = temperature,
                         .dlogits = dlogits});
  return dlogits;
}

}  // namespace tactus::ops
