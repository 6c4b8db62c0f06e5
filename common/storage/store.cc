#include "common/storage/store.h"

#include "common/storage/arrow_store.h"
#include "common/storage/hub_store.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StorageUri& folder) {
  return folder.scheme == "hf" ? OpenHubStore(folder) : OpenArrowStore(folder);
}

}  // namespace tactus
