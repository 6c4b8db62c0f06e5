// S3, Google's Cloud Storage and local folders by Arrow's file systems (the C++ API of arrow::fs, whose headers stay in
// the .cc). Credentials come from where the clouds' own tools take them: environment, files, the machine's role.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/storage/store.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<Store>> OpenArrowStore(const StorageUri& folder);

}  // namespace tactus
