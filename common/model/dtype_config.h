// The configuration's dtype as the code's.
#pragma once

#include "common/base/dtype.h"
#include "proto/config.pb.h"

namespace tactus {

inline StorageDType StorageDTypeOf(config::DType dtype) {
  return dtype == config::BFLOAT16 ? StorageDType::kBFloat16 : StorageDType::kFloat32;
}

}  // namespace tactus
