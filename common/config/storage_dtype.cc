#include "common/config/storage_dtype.h"

#include <cstdlib>

#include "proto/config.pb.h"

namespace tactus {

StorageDType StorageDTypeOf(config::DType dtype) {
  switch (dtype) {
    case config::FLOAT32:
      return StorageDType::kFloat32;
    case config::BFLOAT16:
      return StorageDType::kBFloat16;
  }
  std::abort();  // the enum is closed
}

}  // namespace tactus
