// The configuration's dtype as the code's.
#pragma once

#include "common/base/dtype.h"
#include "common/config/config_fwd.h"

namespace tactus {

StorageDType StorageDTypeOf(config::DType dtype);

}  // namespace tactus
