// One set of a decoder's parameters on a GPU, in their storage dtype, as kernels and products read them.
//
// The set is the flat buffer of ParameterLayout, rounded: q, k and v of a layer are neighbours in it, as are gate and
// up, so products read them in place. Norms are kept as float32 too. Owned by one thread; calls enqueue on the current
// queue.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/base/dtype.h"
#include "common/model/decoder_layout.h"
#include "common/model/folder/model_config.h"

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

class DeviceParameterSet {
 public:
  // Unimplemented: a model whose matrices are no neighbours in the layout.
  static absl::Status Check(const ModelConfig& config);

  // `flat`: T [layout.total_numel] on GPU `gpu`, kept by reference. Call NormsChanged once it is filled.
  DeviceParameterSet(const ModelConfig& config, at::Tensor flat, int gpu);

  // After `flat` was written to.
  void NormsChanged();

  const at::Tensor& flat() const { return flat_; }
  const DeviceParameters& parameters() const { return parameters_; }

 private:
  struct Norm {
    int64_t offset = 0;  // in the flat buffer
    int64_t size = 0;
  };

  const at::Tensor flat_;
  std::vector<Norm> norms_;  // as they lie in norm_values_
  at::Tensor norm_values_;   // float32
  DeviceParameters parameters_;
};

}  // namespace tactus
