#include "actor/engine/cuda/device_io_cuda.h"

#include <algorithm>
#include <new>
#include <tuple>

#include "common/device/runtime_cuda.h"
#include "common/ops/cpu/parallel.h"
#include "common/ops/step_sizes.h"

namespace tactus {
namespace {

// Arrays start where any access may.
constexpr size_t kAlign = 16;

// Hands out stretches of a block.
class Cursor {
 public:
  template <typename T>
  size_t Take(int64_t count) {
    const size_t at = bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

}  // namespace

bool operator<(const StepShape& a, const StepShape& b) {
  const auto fields = [](const StepShape& s) {
    return std::tie(s.rows, s.decode_rows, s.runs, s.table_pages, s.draws, s.kind, s.forced_temperature, s.heads,
                    s.fai_tokens, s.probs_rows, s.probs_tokens);
  };
  return fields(a) < fields(b);
}

bool DrawnAlike(const RowDraw& a, const RowDraw& b) {
  return (a.target >= 0) == (b.target >= 0) && (a.target < 0 || ForcedTemperature(a) == ForcedTemperature(b));
}

float ForcedTemperature(const RowDraw& draw) { return draw.params.temperature > 0 ? draw.params.temperature : 1.0f; }

bool DeviceBlock::Reserve(size_t bytes) {
  const int64_t have = host_.defined() ? host_.numel() : 0;
  if (have > 0 && have >= static_cast<int64_t>(bytes)) return false;
  const int64_t wanted = std::max(static_cast<int64_t>(bytes), static_cast<int64_t>(kAlign));
  host_ = device_ = at::Tensor();  // the old memory first: the two need never exist together
  host_ = device::PinnedEmpty({wanted}, at::kByte);
  device_ = device::DeviceEmpty(gpu_, {wanted}, at::kByte);
  return true;
}

StepShape ShapeOf(DeviceStep& step, const StepPlan& plan, int64_t heads_per_layer) {
  const std::vector<RowDraw>& draws = plan.draws;
  const auto differs = [&](const RowDraw& draw) { return !DrawnAlike(draw, draws.front()); };
  step.recurring = step.recurring && std::none_of(draws.begin(), draws.end(), differs);
  StepShape shape{.rows = step.rows(),
                  .decode_rows = step.decode_rows(),
                  .runs = static_cast<int64_t>(step.runs.size()),
                  .table_pages = step.table_pages,
                  .draws = step.recurring ? step.rows() : static_cast<int64_t>(draws.size())};
  if (!draws.empty()) {
    shape.kind = draws.front().target < 0 ? DrawKind::kSample : DrawKind::kForce;
    if (shape.kind == DrawKind::kForce) shape.forced_temperature = ForcedTemperature(draws.front());
  }
  if (!step.measured) return shape;
  const ops::AttentionProbe& probe = *plan.batch.probe;
  shape.heads = static_cast<int64_t>(probe.layers.size()) * heads_per_layer;
  int64_t longest = 0;  // of the measured responses, tokens
  for (size_t r = 0; r < step.taps.size(); ++r) {
    if (step.taps[r] == nullptr) continue;
    longest = std::max<int64_t>(longest, step.contexts[r] - step.tap_starts[r]);
    if (step.taps[r]->probs != nullptr) ++shape.probs_rows;
  }
  if (shape.probs_rows > 0) shape.probs_tokens = step.table_pages * kPageTokens;
  shape.fai_tokens = ops::FaiTokens(probe, longest);
  return shape;
}

bool StepIo::Prepare(const StepShape& shape) {
  shape_ = shape;
  Cursor in, out;
  for (size_t* rows : {&tokens_, &positions_, &slots_, &contexts_, &table_index_}) *rows = in.Take<int32_t>(shape.rows);
  tap_starts_ = in.Take<int32_t>(shape.decode_rows);
  probs_place_ = in.Take<int32_t>(shape.probs_rows > 0 ? shape.decode_rows : 0);
  page_tables_ = in.Take<int32_t>((shape.decode_rows + shape.runs) * shape.table_pages);
  starts_q_ = in.Take<int32_t>(shape.runs + 1);
  starts_k_ = in.Take<int32_t>(shape.runs + 1);
  draw_rows_ = in.Take<int32_t>(shape.draws);
  params_ = in.Take<ops::SamplingParams>(shape.draws);
  targets_ = in.Take<int32_t>(shape.draws);
  in_bytes_ = in.bytes();
  sampled_ = out.Take<ops::SampledToken>(shape.draws);
  scores_ = out.Take<ops::TokenLogProb>(shape.draws);
  const int64_t measured = shape.decode_rows * shape.heads;
  span_ = out.Take<float>(measured);
  waad_ = out.Take<float>(measured);
  fai_ = out.Take<float>(measured * shape.fai_tokens);
  probs_ = out.Take<float>(shape.probs_rows * shape.heads * shape.probs_tokens);
  out_bytes_ = out.bytes();
  const bool in_moved = in_.Reserve(in_bytes_), out_moved = out_.Reserve(out_bytes_);
  return in_moved || out_moved;
}

void StepIo::Fill(const DeviceStep& step, const StepPlan& plan) {
  const auto put = [&](size_t offset, const std::vector<int32_t>& values) {
    std::copy(values.begin(), values.end(), At<int32_t>(in_.host(), offset));
  };
  put(tokens_, step.tokens);
  put(positions_, step.positions);
  put(slots_, step.slots);
  put(contexts_, step.contexts);
  put(tap_starts_, step.tap_starts);
  put(page_tables_, step.page_tables);
  int32_t* const contexts = At<int32_t>(in_.host(), contexts_);
  int32_t* const tables = At<int32_t>(in_.host(), table_index_);
  for (int32_t r = 0; r < static_cast<int32_t>(step.decode_rows()); ++r) tables[r] = r;
  if (shape_.probs_rows > 0) {
    int32_t* const places = At<int32_t>(in_.host(), probs_place_);
    int32_t kept = 0;
    for (size_t r = 0; r < step.taps.size(); ++r) {
      places[r] = step.taps[r] != nullptr && step.taps[r]->probs != nullptr ? kept++ : -1;
    }
  }
  int32_t* const starts_q = At<int32_t>(in_.host(), starts_q_);
  int32_t* const starts_k = At<int32_t>(in_.host(), starts_k_);
  starts_q[0] = starts_k[0] = 0;
  for (size_t i = 0; i < step.runs.size(); ++i) {
    const DeviceRun& run = step.runs[i];
    for (int32_t r = 0; r < run.num_rows; ++r) {
      contexts[run.first_row + r] = run.start_position + r + 1;
      tables[run.first_row + r] = run.table;
    }
    starts_q[i + 1] = starts_q[i] + run.num_rows;
    starts_k[i + 1] = starts_k[i] + run.start_position + run.num_rows;
  }
  int32_t* const draw_rows = At<int32_t>(in_.host(), draw_rows_);
  int32_t* const targets = At<int32_t>(in_.host(), targets_);
  auto* const params = At<ops::SamplingParams>(in_.host(), params_);
  for (int64_t i = 0; i < shape_.draws; ++i) {
    new (params + i) ops::SamplingParams();
    targets[i] = 0;
    draw_rows[i] = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < plan.draws.size(); ++i) {
    const size_t at = step.recurring ? static_cast<size_t>(step.draw_rows[i]) : i;
    params[at] = plan.draws[i].params;
    targets[at] = std::max(0, plan.draws[i].target);
    draw_rows[at] = step.draw_rows[i];
  }
}

void StepIo::Upload() const { device::CopyAsync(in_.device(), in_.host(), in_bytes_); }
void StepIo::Download() const { device::CopyAsync(out_.host(), out_.device(), out_bytes_); }

ops::CudaBackend::PagedBatch StepIo::Batch(const DeviceStep& step, const StepPlan& plan) {
  const auto ints = [&](size_t offset) { return At<const int32_t>(in_.device(), offset); };
  runs_.clear();
  for (const DeviceRun& run : step.runs) runs_.push_back({run.num_rows, run.start_position});
  ops::CudaBackend::PagedBatch batch{.num_rows = shape_.rows,
                                     .decode_rows = shape_.decode_rows,
                                     .token_ids = ints(tokens_),
                                     .rotary = {.positions = ints(positions_)},
                                     .slots = ints(slots_),
                                     .contexts = ints(contexts_),
                                     .table_index = ints(table_index_),
                                     .page_tables = ints(page_tables_),
                                     .table_pages = shape_.table_pages,
                                     .runs = runs_,
                                     .starts_q = ints(starts_q_),
                                     .starts_k = ints(starts_k_)};
  if (shape_.heads == 0) return batch;
  const auto floats = [&](size_t offset) { return At<float>(out_.device(), offset); };
  const ops::AttentionProbe& probe = *plan.batch.probe;
  batch.probe = &probe;
  batch.tap = {.window_tokens = probe.window_tokens,
               .horizon_min_tokens = probe.horizon_min_tokens,
               .horizon_max_tokens = probe.horizon_max_tokens,
               .num_heads = shape_.heads,
               .prompt_tokens = ints(tap_starts_),
               .span = floats(span_),
               .waad = floats(waad_),
               .fai = floats(fai_),
               .fai_tokens = shape_.fai_tokens,
               .probs = shape_.probs_rows > 0 ? floats(probs_) : nullptr,
               .probs_tokens = shape_.probs_tokens,
               .probs_place = ints(probs_place_)};
  return batch;
}

void StepIo::Read(const DeviceStep& step, const StepPlan& plan, std::span<ops::SampledToken> out) const {
  const auto* const sampled = At<const ops::SampledToken>(out_.host(), sampled_);
  const auto* const scores = At<const ops::TokenLogProb>(out_.host(), scores_);
  for (size_t i = 0; i < plan.draws.size(); ++i) {
    const size_t at = step.recurring ? static_cast<size_t>(step.draw_rows[i]) : i;
    out[i] = plan.draws[i].target < 0 ? sampled[at]
                                      : ops::SampledToken{plan.draws[i].target, scores[at].logprob, scores[at].entropy};
  }
  if (shape_.heads == 0) return;
  ops::ParallelFor(step.decode_rows(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (step.taps[static_cast<size_t>(r)] != nullptr) ReadTap(step, *plan.batch.probe, r);
    }
  });
}

void StepIo::ReadTap(const DeviceStep& step, const ops::AttentionProbe& probe, int64_t row) const {
  const ops::AttentionTap& tap = *step.taps[static_cast<size_t>(row)];
  const int64_t position = step.contexts[static_cast<size_t>(row)] - 1, first_page = tap.prompt_tokens / kPageTokens;
  const auto floats = [&](size_t offset) { return At<const float>(out_.host(), offset); };
  // Keys from the nearest of the horizon to the farthest that is part of the response.
  const int64_t nearest = position - probe.horizon_min_tokens;
  const int64_t farthest = std::max(tap.prompt_tokens, nearest - shape_.fai_tokens + 1);
  for (int64_t h = 0; h < shape_.heads; ++h) {
    const int64_t at = row * shape_.heads + h;
    tap.span_sum[h] += static_cast<double>(floats(span_)[at]);
    tap.waad[h * kPageTokens] = floats(waad_)[at];
    const float* const fai = floats(fai_) + at * shape_.fai_tokens;
    for (int64_t key = nearest; key >= farthest; --key) {
      const int64_t page = key / kPageTokens - first_page;
      tap.fai_sum[(page * tap.num_heads + h) * kPageTokens + key % kPageTokens] += fai[nearest - key];
    }
  }
  if (tap.probs != nullptr) ReadProbs(tap, row);
}

void StepIo::ReadProbs(const ops::AttentionTap& tap, int64_t row) const {
  const int64_t place = At<const int32_t>(in_.host(), probs_place_)[row];
  const float* const all = At<const float>(out_.host(), probs_) + place * shape_.heads * shape_.probs_tokens;
  for (int64_t h = 0; h < shape_.heads; ++h) {
    std::copy_n(all + h * shape_.probs_tokens, std::min(tap.probs_row, shape_.probs_tokens),
                tap.probs + h * tap.probs_row);
  }
}

}  // namespace tactus
