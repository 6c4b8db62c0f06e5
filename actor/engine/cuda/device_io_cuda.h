// What goes to a GPU before a step and comes back after it: one block of bytes each way, so one copy each way.
//
// Not thread-safe. Pointers into a block hold until it grows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "actor/engine/cuda/device_step.h"
#include "common/ops/cuda/backend_cuda.h"
#include "common/ops/token_types.h"

namespace tactus {

// The same bytes on the host, page-locked, and on the device.
class DeviceBlock {
 public:
  explicit DeviceBlock(int gpu) : gpu_(gpu) {}
  // No more than that: what is recorded at the old place is lost when it moves, so the largest step's is reserved
  // first. True: it moved, and its content is lost.
  bool Reserve(size_t bytes);
  std::byte* host() const { return static_cast<std::byte*>(host_.data_ptr()); }
  std::byte* device() const { return static_cast<std::byte*>(device_.data_ptr()); }

 private:
  const int gpu_;
  at::Tensor host_, device_;
};

// How a recurring step draws; others may draw in several ways.
enum class DrawKind { kNone, kSample, kForce };
// Whether two draws can be made by one call.
bool DrawnAlike(const RowDraw& a, const RowDraw& b);
float ForcedTemperature(const RowDraw& draw);

// The sizes of a step's blocks; two steps of equal shape have all of their arrays at the same addresses.
struct StepShape {
  int64_t rows = 0, decode_rows = 0, runs = 0, table_pages = 0;
  int64_t draws = 0;  // a recurring step has one per row, so that its rows need not be chosen
  DrawKind kind = DrawKind::kNone;
  float forced_temperature = 1;  // of kForce
  int64_t heads = 0;             // measured: H of the probe; 0: nothing is
  int64_t fai_tokens = 0;
  int64_t probs_rows = 0, probs_tokens = 0;  // rows that keep their attention, and of each
};
bool operator<(const StepShape& a, const StepShape& b);  // some order of all fields
// A step that draws in several ways is not `recurring` afterwards.
StepShape ShapeOf(DeviceStep& step, const StepPlan& plan, int64_t heads_per_layer);

class StepIo {
 public:
  explicit StepIo(int gpu) : in_(gpu), out_(gpu) {}

  // Lays both blocks out. True: memory moved.
  bool Prepare(const StepShape& shape);
  size_t out_bytes() const { return out_bytes_; }  // of what comes back
  // Writes the host's block of what Prepare laid out.
  void Fill(const DeviceStep& step, const StepPlan& plan);

  void Upload() const;  // enqueue the copies
  void Download() const;

  // On the device:
  ops::CudaBackend::PagedBatch Batch(const DeviceStep& step, const StepPlan& plan);
  const int32_t* draw_rows() const { return At<const int32_t>(in_.device(), draw_rows_); }
  const ops::SamplingParams* params() const { return At<const ops::SamplingParams>(in_.device(), params_); }
  const int32_t* targets() const { return At<const int32_t>(in_.device(), targets_); }
  ops::SampledToken* sampled() const { return At<ops::SampledToken>(out_.device(), sampled_); }
  ops::TokenLogProb* scores() const { return At<ops::TokenLogProb>(out_.device(), scores_); }

  // After the download has run: the draws' results [plan.draws.size()], and what was measured into the plan's taps.
  void Read(const DeviceStep& step, const StepPlan& plan, std::span<ops::SampledToken> out) const;

 private:
  template <typename T>
  static T* At(std::byte* block, size_t offset) {
    return reinterpret_cast<T*>(block + offset);
  }
  void ReadTap(const DeviceStep& step, const ops::AttentionProbe& probe, int64_t row) const;
  void ReadProbs(const ops::AttentionTap& tap, int64_t row) const;

  DeviceBlock in_, out_;
  StepShape shape_;
  // Offsets in the blocks.
  size_t tokens_ = 0, positions_ = 0, slots_ = 0, contexts_ = 0, table_index_ = 0, tap_starts_ = 0, page_tables_ = 0;
  size_t probs_place_ = 0;
  size_t starts_q_ = 0, starts_k_ = 0, draw_rows_ = 0, params_ = 0, targets_ = 0, in_bytes_ = 0;
  size_t sampled_ = 0, scores_ = 0, span_ = 0, waad_ = 0, fai_ = 0, probs_ = 0, out_bytes_ = 0;
  std::vector<ops::CudaBackend::Run> runs_;
};

}  // namespace tactus
