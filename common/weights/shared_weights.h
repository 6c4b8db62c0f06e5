// Where a learner keeps its published weights for actors on the GPUs of its own machine. Plain data; no torch, no CUDA.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/dtype.h"
#include "common/data/types.h"

namespace tactus {

// One published set in GPU memory: `elements` numbers of `dtype`, in ParameterLayout order with its padding, behind a
// header that names the version (shared_weights_cuda.h).
struct SharedWeights {
  std::string machine;  // ThisMachine() of the learner
  std::string handle;   // device::ExportedMemory's
  uint64_t elements = 0;
  StorageDType dtype = StorageDType::kFloat32;
  PolicyVersion version = {};
};

// The same on two processes that run under one kernel, and different after a reboot; empty where the system does not
// say. Whether one can open the other's memory shows when it tries.
std::string ThisMachine();

}  // namespace tactus
