#include "common/ops/cpu/backend_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus::ops {
namespace {

// Rows that elementwise work is cut into: below this a second thread costs more than it brings.
constexpr int64_t kRowGrain = 8;
// Columns, alike.
constexpr int64_t kColumnGrain = 16;
// Rows whose contributions to a norm's or bias's gradient are summed by one thread; blocks are then added in order.
constexpr int64_t kBlockRows = 64;

int64_t Columns(const AttentionShape& s) { return (s.num_heads + 2 * s.num_kv_heads) * s.head_dim; }

// Runs fn(begin, end, partial sums [width]) on blocks of rows and adds the partial sums to `total` in block order.
template <typename Fn>
void SumOverBlocks(int64_t rows, int64_t width, float* sums, float* total, Fn fn) {
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  ParallelFor(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      std::fill_n(sums + b * width, width, 0.0f);
      fn(b * kBlockRows, std::min(rows, (b + 1) * kBlockRows), sums + b * width);
    }
  });
  for (int64_t b = 0; b < blocks; ++b) ActiveKernels().add_scaled(sums + b * width, 1.0f, width, total);
}
int64_t BlockSums(int64_t rows, int64_t width) { return (rows + kBlockRows - 1) / kBlockRows * width; }

// Elements of one layer's keys, or values, of `pages` pages.
int64_t PageBytes(const AttentionShape& shape, StorageDType dtype, int64_t pages) {
  return pages * KvPageBytes(shape, dtype, 1) / 2;
}

}  // namespace

void CpuBackend::SequenceBatch::Add(std::span<const int32_t> tokens, const PackedLayout& layout, Upload& upload) {
  num_rows = layout.starts.back();
  sequences = SequencesOf(layout);
  tables.assign(sequences.size(), {});
  runs.clear();
  writes.clear();
  pages = 0;
  size_t head = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const PackedSequence& sequence = sequences[i];
    if (sequence.shared == 0) head = i;
    // Of the shared tokens full pages are the head's; those of the last one are copied, as the sequence goes on in it.
    const int64_t full = sequence.shared / kPageTokens, copied = sequence.shared % kPageTokens;
    std::vector<int32_t>& table = tables[i];
    table.assign(tables[head].begin(), tables[head].begin() + full);
    table.resize(static_cast<size_t>((sequence.tokens() + kPageTokens - 1) / kPageTokens));
    std::iota(table.begin() + full, table.end(), static_cast<int32_t>(pages));
    pages += static_cast<int64_t>(table.size()) - full;
    runs.push_back({.first_row = sequence.first_row,
                    .num_rows = sequence.num_rows,
                    .start_position = sequence.shared,
                    .page_table = table});
    writes.push_back(runs.back());
    if (copied == 0) continue;
    writes.push_back({.first_row = sequence.head_row + full * kPageTokens,
                      .num_rows = copied,
                      .start_position = full * kPageTokens,
                      .page_table = table});
  }
  tokens_at_ = upload.Add(tokens);
  positions_at_ = upload.Add(PositionsOf(sequences));
}

void CpuBackend::SequenceBatch::Bind(const Upload& upload) {
  token_ids = upload.At<int32_t>(tokens_at_);
  rotary.positions = upload.At<int32_t>(positions_at_);
}

CpuBackend::CpuBackend(StorageDType dtype)
    : dtype_(dtype), right_(0, 0, dtype == StorageDType::kFloat32 ? PanelType::kFloat32 : PanelType::kBFloat16) {}

void CpuBackend::Copy(const float* from, int64_t count, float* to) { std::copy_n(from, count, to); }
void CpuBackend::Zero(float* values, int64_t count) { std::fill_n(values, count, 0.0f); }

void CpuBackend::Embed(const int32_t* tokens, int64_t rows, const float* table, int64_t width, float* x) {
  for (int64_t r = 0; r < rows; ++r) {
    float* out = x + r * width;
    std::copy_n(table + tokens[r] * width, width, out);
    if (dtype_ == StorageDType::kFloat32) continue;
    for (int64_t j = 0; j < width; ++j) out[j] = BFloat16ToFloat(FloatToBFloat16(out[j]));
  }
}

// Each thread takes columns, so a token that occurs twice is summed in row order by one thread.
void CpuBackend::EmbedBackward(const SequenceBatch& batch, const float* dx, int64_t width, float* dtable) {
  ParallelFor(width, kColumnGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = 0; r < batch.rows(); ++r) {
      float* row = dtable + batch.token_ids[r] * width;
      for (int64_t j = begin; j < end; ++j) row[j] += dx[r * width + j];
    }
  });
}

void CpuBackend::AddLinear(Stream<CpuBackend>& x, const float* in, int64_t rows, const Matrix& w, Buffer&) {
  const PackedMatrix& b = w.forward;
  Gemm({in, b.depth()}, rows, b, x.x, b.columns(), /*accumulate=*/true);
}

void CpuBackend::AddTo(float* y, const float* x, int64_t rows, int64_t width) {
  ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    ActiveKernels().add_scaled(x + begin * width, 1.0f, (end - begin) * width, y + begin * width);
  });
}

void CpuBackend::NormRows(const float* x, const NormShape& norm, float* out, float* inverse_rms) {
  const int64_t width = norm.width;
  ParallelFor(norm.rows, kRowGrain, [&](int64_t begin, int64_t end) {
    ActiveKernels().rms_norm(x + begin * width, norm.weight, norm.eps, end - begin, width, width, width,
                             out + begin * width, inverse_rms == nullptr ? nullptr : inverse_rms + begin);
  });
}

void CpuBackend::NormBackward(const float* x, const NormShape& norm, const float* inverse_rms, const float* dy,
                              float* dx, bool accumulate, float* dweight) {
  const int64_t width = norm.width;
  float* sums = FloatsIn(partial_, BlockSums(norm.rows, width));
  SumOverBlocks(norm.rows, width, sums, dweight, [&](int64_t begin, int64_t end, float* block) {
    ActiveKernels().rms_norm_backward(x + begin * width, norm.weight, inverse_rms + begin, dy + begin * width,
                                      end - begin, width, width, width, width, dx + begin * width, block, accumulate);
  });
}

void CpuBackend::Linear(const float* x, int64_t rows, const Matrix& w, float* y) {
  Gemm({x, w.forward.depth()}, rows, w.forward, y, w.forward.columns(), /*accumulate=*/false);
}

void CpuBackend::LinearBackwardInput(const float* dy, int64_t rows, const Matrix& w, float* dx) {
  Gemm({dy, w.backward.depth()}, rows, w.backward, dx, w.backward.columns(), /*accumulate=*/false);
}

void CpuBackend::LinearBackwardWeight(const float* dy, int64_t rows, int64_t columns, const float* x, int64_t depth,
                                      float* dw) {
  right_.Resize(rows, depth);
  right_.PackRows(x, rows, 0, depth);
  GemmTransposedA(dy, columns, columns, right_, dw, depth);
}

// Bias, q/k norm, rotary embedding and, for bfloat16 weights, the rounding of keys and values that the cache's pages
// need. `raw` gets the bias too: the backward pass wants what was normed.
void CpuBackend::FinishQkvRows(const AttentionShape& shape, const QkvWeights<CpuBackend>& w, const RotaryRows& rotary,
                               int64_t num_rows, float* raw, float* qkv, float* qk_inverse_rms) {
  const Kernels& kernels = ActiveKernels();
  const int64_t d = shape.head_dim, columns = Columns(shape), norms = w.norms(shape);
  const int64_t q_columns = shape.num_heads * d, kv_columns = shape.num_kv_heads * d;
  ParallelFor(num_rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = qkv + r * columns;
      if (w.bias != nullptr) kernels.add_scaled(w.bias, 1.0f, columns, raw + r * columns);
      if (raw != qkv) std::copy_n(raw + r * columns, columns, row);
      const float* cosines = rotary.cosines + rotary.positions[r] * (d / 2);
      const float* sines = rotary.sines + rotary.positions[r] * (d / 2);
      float* inverse = qk_inverse_rms == nullptr ? nullptr : qk_inverse_rms + r * norms;
      if (norms > 0 && w.whole_width) {
        kernels.rms_norm(row, w.q_norm, w.eps, 1, q_columns, q_columns, q_columns, row, inverse);
        kernels.rms_norm(row + q_columns, w.k_norm, w.eps, 1, kv_columns, kv_columns, kv_columns, row + q_columns,
                         inverse == nullptr ? nullptr : inverse + 1);
      }
      for (int64_t h = 0; h < shape.num_heads + shape.num_kv_heads; ++h) {
        float* head = row + h * d;
        if (norms > 0 && !w.whole_width) {
          kernels.rms_norm(head, h < shape.num_heads ? w.q_norm : w.k_norm, w.eps, 1, d, d, d, head,
                           inverse == nullptr ? nullptr : inverse + h);
        }
        kernels.rope(head, cosines, sines, d, 1.0f);
      }
      if (dtype_ == StorageDType::kBFloat16) kernels.round_bf16(row + q_columns, 2 * kv_columns);
    }
  });
}

void CpuBackend::QkNormBackward(const AttentionShape& shape, const QkvWeights<CpuBackend>& w, int64_t rows,
                                const float* raw, const float* qk_inverse_rms, float* dqkv,
                                const QkvGradients& gradients) {
  const int64_t columns = Columns(shape), norms = w.norms(shape);
  const auto part = [&](const float* weight, float* dweight, int64_t first_norm, int64_t last_norm,
                        int64_t first_column, int64_t width) {
    float* sums = FloatsIn(partial_, BlockSums(rows, width));
    SumOverBlocks(rows, width, sums, dweight, [&](int64_t begin, int64_t end, float* block) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t i = first_norm; i < last_norm; ++i) {
          const int64_t at = r * columns + first_column + (i - first_norm) * width;
          ActiveKernels().rms_norm_backward(raw + at, weight, qk_inverse_rms + r * norms + i, dqkv + at, 1, width,
                                            width, width, width, dqkv + at, block, /*accumulate_dx=*/false);
        }
      }
    });
  };
  const int64_t d = shape.head_dim, q_columns = shape.num_heads * d;
  const int64_t q_norms = w.whole_width ? 1 : shape.num_heads;
  part(w.q_norm, gradients.q_norm, 0, q_norms, 0, w.whole_width ? q_columns : d);
  part(w.k_norm, gradients.k_norm, q_norms, norms, q_columns, w.whole_width ? shape.num_kv_heads * d : d);
}

void CpuBackend::FinishQkvBackward(const AttentionShape& shape, const QkvWeights<CpuBackend>& w,
                                   const SequenceBatch& batch, const float* raw, const float* qk_inverse_rms,
                                   float* dqkv, const QkvGradients& gradients) {
  const int64_t d = shape.head_dim, columns = Columns(shape), rows = batch.rows();
  const RotaryRows& rotary = batch.rotary;
  ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t angles = rotary.positions[r] * (d / 2);
      for (int64_t head = 0; head < shape.num_heads + shape.num_kv_heads; ++head) {
        ActiveKernels().rope(dqkv + r * columns + head * d, rotary.cosines + angles, rotary.sines + angles, d, -1.0f);
      }
    }
  });
  if (w.q_norm != nullptr) QkNormBackward(shape, w, rows, raw, qk_inverse_rms, dqkv, gradients);
  if (w.bias == nullptr) return;
  float* sums = FloatsIn(partial_, BlockSums(rows, columns));
  SumOverBlocks(rows, columns, sums, gradients.bias, [&](int64_t begin, int64_t end, float* block) {
    for (int64_t r = begin; r < end; ++r) ActiveKernels().add_scaled(dqkv + r * columns, 1.0f, columns, block);
  });
}

const float* CpuBackend::Attend(const AttentionShape& shape, const PagedBatch& batch, const float* qkv,
                                Attention& attention) {
  const int64_t columns = Columns(shape), q_columns = shape.num_heads * shape.head_dim;
  float* out = FloatsIn(attention.out, batch.num_rows * q_columns);
  WritePages(shape, batch.runs, qkv + q_columns, qkv + q_columns + shape.num_kv_heads * shape.head_dim, columns,
             batch.pages);
  PagedAttention(shape, batch.runs, qkv, columns, batch.pages, out, q_columns, /*log_sum_exp=*/nullptr,
                 batch.measured ? &batch.layer_taps : nullptr);
  return out;
}

const float* CpuBackend::Attend(const AttentionShape& shape, const SequenceBatch& batch, const float* qkv,
                                Attention& attention) {
  const int64_t columns = Columns(shape), q_columns = shape.num_heads * shape.head_dim;
  const int64_t bytes = PageBytes(shape, dtype_, batch.pages);
  for (Buffer* pages : {&keys_, &values_}) pages->Reserve(bytes);
  const PagedKeysValues pages{.keys = keys_.data(), .values = values_.data(), .dtype = dtype_};
  float* out = FloatsIn(attention.out, batch.rows() * q_columns);
  WritePages(shape, batch.writes, qkv + q_columns, qkv + q_columns + shape.num_kv_heads * shape.head_dim, columns,
             pages);
  PagedAttention(shape, batch.runs, qkv, columns, pages, out, q_columns,
                 FloatsIn(attention.log_sum_exp, batch.rows() * shape.num_heads));
  return out;
}

void CpuBackend::AttendBackward(const AttentionShape& shape, const SequenceBatch& batch, const float* qkv,
                                Attention& attention, const float* dout, float* dqkv) {
  const int64_t q_columns = shape.num_heads * shape.head_dim, kv_columns = shape.num_kv_heads * shape.head_dim;
  AttentionBackward(shape, {.sequences = batch.sequences,
                            .q = qkv,
                            .k = qkv + q_columns,
                            .v = qkv + q_columns + kv_columns,
                            .qkv_row = Columns(shape),
                            .out = Output(attention),
                            .dout = dout,
                            .log_sum_exp = reinterpret_cast<const float*>(attention.log_sum_exp.data()),
                            .dq = dqkv,
                            .dk = dqkv + q_columns,
                            .dv = dqkv + q_columns + kv_columns});
}

void CpuBackend::SwiGlu(const float* gate_up, int64_t rows, int64_t inner, float* out) {
  ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    ActiveKernels().swiglu(gate_up + begin * 2 * inner, end - begin, inner, out + begin * inner);
  });
}

void CpuBackend::SwiGluBackward(const float* gate_up, const float* dout, int64_t rows, int64_t inner, float* dgate_up,
                                float* activated) {
  ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    const Kernels& kernels = ActiveKernels();
    kernels.swiglu(gate_up + begin * 2 * inner, end - begin, inner, activated + begin * inner);
    kernels.swiglu_backward(gate_up + begin * 2 * inner, dout + begin * inner, end - begin, inner,
                            dgate_up + begin * 2 * inner);
  });
}

void CpuBackend::GatherRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out) {
  for (int64_t i = 0; i < count; ++i) std::copy_n(x + rows[i] * width, width, out + i * width);
}

void CpuBackend::ScatterRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out) {
  for (int64_t i = 0; i < count; ++i) std::copy_n(x + i * width, width, out + rows[i] * width);
}

void CpuBackend::LogProbRows(const float* logits, int64_t rows, int64_t vocab, const int32_t* targets,
                             float temperature, TokenLogProb* out) {
  const size_t count = static_cast<size_t>(rows);
  ops::LogProbRows(logits, vocab, {targets, count}, temperature, {out, count});
}

namespace {

// A row of logits becomes -g p_j - e p_j (log p_j + entropy): what the softmax p sends back of d loss / d log-prob = g
// and d loss / d entropy = e, at temperature 1. `scratch` [V].
void SoftmaxAndEntropySlope(const TokenLogProb& stats, float g, float e, std::span<float> row,
                            std::span<float> scratch) {
  std::ranges::copy(row, scratch.begin());
  ActiveKernels().softmax_scale(scratch.data(), static_cast<int64_t>(row.size()), stats.max, 1.0f,
                                static_cast<float>(1.0 / stats.sum));
  const float offset = static_cast<float>(stats.max + std::log(stats.sum)) - stats.entropy;
  for (size_t j = 0; j < row.size(); ++j) row[j] = -scratch[j] * (g + e * (row[j] - offset));
}

}  // namespace

const float* CpuBackend::LogProbBackward(float* logits, int64_t rows, int64_t vocab, const int32_t* targets,
                                         const TokenLogProb* stats, const float* dlogprobs, const float* dentropies,
                                         float temperature, Buffer&) {
  const float inverse = 1.0f / temperature;
  ParallelFor(rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(dentropies == nullptr ? 0 : static_cast<size_t>(vocab));
    for (int64_t i = begin; i < end; ++i) {
      const float g = dlogprobs[i] * inverse;
      float* const row = logits + i * vocab;
      // d logp / d logit_j = ([j = target] - softmax_j) / temperature
      if (dentropies == nullptr) {
        ActiveKernels().softmax_scale(row, vocab, stats[i].max, inverse, static_cast<float>(-g / stats[i].sum));
      } else {
        SoftmaxAndEntropySlope(stats[i], g, dentropies[i], {row, scratch.size()}, scratch);
      }
      row[targets[i]] += g;
    }
  });
  return logits;
}

}  // namespace tactus::ops
