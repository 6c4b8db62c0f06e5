// A decoder's parameters on a GPU, in their storage dtype: the set in use, and one beside it that is made ready while
// the first samples. Changing from one to the other moves nothing.
//
// A learner's published buffer is a set's, so it is copied as it is. Memory: twice the parameters from the second set
// on.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/base/dtype.h"
#include "common/device/runtime_cuda.h"
#include "common/model/cuda/decoder_weights_cuda.h"
#include "common/model/folder/model_config.h"

namespace tactus {

// Owned by one thread, but for Stage*, which one other thread may call while the owner does anything but Use.
class StagedWeightsCuda {
 public:
  // Allocates nothing yet. The model has passed CheckDecoderShapeCuda.
  StagedWeightsCuda(const ModelConfig& config, StorageDType dtype, int gpu);

  // Fill the set that is not in use, and block until it is there. Throw what the device library throws.
  // Host parameters in ParameterLayout order [layout().total_numel], in pieces through page-locked memory:
  void Stage(std::span<const float> parameters);
  // Or whatever `fill` writes to the set's flat buffer, T in ParameterLayout order; its error is returned.
  absl::Status StageBy(absl::FunctionRef<absl::Status(void* flat)> fill);

  // From the next kernel on; no earlier one that reads the set of before may still run when the next Stage begins.
  // False: nothing is staged.
  bool Use();

  const DecoderParameters<ops::CudaBackend>* current() const {
    return current_ < 0 ? nullptr : &sets_[current_]->parameters();
  }
  int current_set() const { return current_; }  // 0 or 1; -1: none yet
  const ParameterLayout& layout() const { return layout_; }
  StorageDType dtype() const { return dtype_; }

 private:
  DecoderWeightsCuda& Spare();
  int spare() const { return current_ == 0 ? 1 : 0; }

  const ModelConfig config_;
  const ParameterLayout layout_;
  const StorageDType dtype_;
  const int gpu_;
  std::array<std::optional<DecoderWeightsCuda>, 2> sets_;
  int current_ = -1;

  // The staging thread's.
  device::Queue queue_;
  std::array<at::Tensor, 2> pieces_;  // page-locked
  bool staged_ = false;
};

}  // namespace tactus
