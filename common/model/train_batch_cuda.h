// A micro-batch of packed sequences on a GPU: everything about it that kernels read. Internal to common/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "common/model/decoder_layout.h"
#include "common/model/train_sequences.h"
#include "common/ops/cuda/training_attention_cuda.h"

namespace tactus {

// Device memory that grows to its largest use and stays. Its content is lost when it grows, or is asked for another
// shape.
class DeviceScratch {
 public:
  explicit DeviceScratch(int gpu = 0) : gpu_(gpu) {}
  at::Tensor Get(at::IntArrayRef sizes, at::ScalarType type);

 private:
  int gpu_;
  at::Tensor bytes_;
};

// Numbers on their way to the device in one copy: arrays are added one after the other, then sent.
class DeviceUpload {
 public:
  explicit DeviceUpload(int gpu) : device_(gpu) {}

  // Forgets the last batch, whose copy must be over.
  void Begin() { host_.clear(); }
  // The array's place, for At. Floats are carried as their bits.
  int64_t Add(std::vector<int32_t> values);
  int64_t Add(const std::vector<float>& values);
  void Send();
  const int32_t* At(int64_t place) const { return sent_.const_data_ptr<int32_t>() + place; }

 private:
  std::vector<int32_t> host_;
  at::Tensor pinned_;
  DeviceScratch device_;
  at::Tensor sent_;
};

// Shapes: T rows, n sequences, N targets, U distinct tokens. Owned by one thread; Load enqueues on the current queue.
class DeviceBatch {
 public:
  DeviceBatch(const ModelConfig& config, int gpu) : upload_(gpu), rope_(config), gpu_(gpu) {}

  // What the queue still has to do with the batch before may not include its copy to the device.
  void Load(const TrainSequences& sequences);

  int64_t rows() const { return attention_.rows; }
  const int32_t* tokens() const { return upload_.At(tokens_); }        // [T]
  const int32_t* positions() const { return upload_.At(positions_); }  // [T]
  const ops::cuda::PackedSequences& attention() const { return attention_; }
  int64_t targets() const { return num_targets_; }                         // N
  const int32_t* target_rows() const { return upload_.At(target_rows_); }  // [N]
  const int32_t* target_tokens() const { return upload_.At(targets_); }    // [N]
  // Which rows read each token: see ops::cuda::EmbedBackward.
  int64_t distinct_tokens() const { return num_distinct_; }                        // U
  const int32_t* distinct() const { return upload_.At(distinct_); }                // [U]
  const int32_t* distinct_starts() const { return upload_.At(distinct_starts_); }  // [U + 1]
  const int32_t* rows_by_token() const { return upload_.At(rows_by_token_); }      // [T]
  const float* cosines() const { return cosines_.const_data_ptr<float>(); }        // [positions, D / 2]
  const float* sines() const { return sines_.const_data_ptr<float>(); }

 private:
  void AddSequences(const TrainSequences& sequences);
  void AddTokenOrder(const TrainSequences& sequences);
  void ExtendRope(int64_t positions);

  DeviceUpload upload_;
  RopeTables rope_;
  const int gpu_;
  at::Tensor cosines_, sines_;
  ops::cuda::PackedSequences attention_;
  int64_t num_targets_ = 0, num_distinct_ = 0;
  // Places in upload_.
  int64_t tokens_ = 0, positions_ = 0, row_begin_ = 0, row_end_ = 0, starts_ = 0, target_rows_ = 0, targets_ = 0;
  int64_t distinct_ = 0, distinct_starts_ = 0, rows_by_token_ = 0;
};

}  // namespace tactus
