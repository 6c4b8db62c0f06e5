// A decoder's parameters on a GPU, in their storage dtype: the set in use, and one beside it that is made ready while
// the first samples. Changing from one to the other moves nothing.
//
// A set is the flat buffer of ParameterLayout, rounded: q, k and v of a layer are neighbours in it, as are gate and up,
// so products read them in place, and a learner's published buffer is copied as it is. Norms are kept as float32 too.
// Memory: twice the parameters from the second set on.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/base/dtype.h"
#include "common/device/runtime_cuda.h"
#include "common/model/decoder_layout.h"
#include "common/model/model_config.h"

namespace tactus {

at::ScalarType TorchTypeOf(StorageDType dtype);

// Device pointers; T is the storage type. Null where the family has none.
struct DeviceLayer {
  const void* qkv = nullptr;                                // T [(Hq + 2 Hk) D, H]
  const void* qkv_bias = nullptr;                           // T [(Hq + 2 Hk) D]
  const void* o = nullptr;                                  // T [H, Hq D]
  const void* gate_up = nullptr;                            // T [2 I, H]
  const void* down = nullptr;                               // T [H, I]
  const float *input_norm = nullptr, *post_norm = nullptr;  // [H]
  const float *q_norm = nullptr, *k_norm = nullptr;         // [D]
};
struct DeviceParameters {
  const void *embed = nullptr, *head = nullptr;  // T [V, H]
  const float* final_norm = nullptr;             // [H]
  std::vector<DeviceLayer> layers;
};

// Owned by one thread, but for Stage*, which one other thread may call while the owner does anything but Use.
class DeviceWeights {
 public:
  // Allocates nothing yet. Unimplemented: a model whose matrices are no neighbours in the layout.
  static absl::Status Check(const ModelConfig& config);
  DeviceWeights(const ModelConfig& config, StorageDType dtype, int gpu);

  // Fill the set that is not in use, and block until it is there. Throw what the device library throws.
  // Host parameters in ParameterLayout order [layout().total_numel], in pieces through page-locked memory:
  void Stage(std::span<const float> parameters);
  // Or whatever `fill` writes to the set's flat buffer, T in ParameterLayout order; its error is returned.
  absl::Status StageBy(absl::FunctionRef<absl::Status(void* flat)> fill);

  // From the next kernel on; no earlier one that reads the set of before may still run when the next Stage begins.
  // False: nothing is staged.
  bool Use();

  const DeviceParameters* current() const { return current_ < 0 ? nullptr : &sets_[current_].parameters; }
  int current_set() const { return current_; }  // 0 or 1; -1: none yet
  const ParameterLayout& layout() const { return layout_; }
  StorageDType dtype() const { return dtype_; }

 private:
  struct Set {
    at::Tensor flat;   // T [total_numel]
    at::Tensor norms;  // float32, of all norms
    DeviceParameters parameters;
  };

  Set& Spare();
  void Point(Set& set);
  void ConvertNorms(Set& set);
  int spare() const { return current_ == 0 ? 1 : 0; }

  const ModelConfig config_;
  const ParameterLayout layout_;
  const DecoderOffsets offsets_;
  const StorageDType dtype_;
  const int gpu_;
  std::vector<int64_t> norm_offsets_;  // in the flat buffer, with their sizes, as they lie in `norms`
  std::vector<int64_t> norm_sizes_;
  std::array<Set, 2> sets_;
  int current_ = -1;

  // The staging thread's.
  device::Queue queue_;
  std::array<at::Tensor, 2> pieces_;  // page-locked
  bool staged_ = false;
};

}  // namespace tactus
