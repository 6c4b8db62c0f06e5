// A repository of the Hugging Face hub, or of what serves its paths at $HF_ENDPOINT. Read only. A revision is looked up
// once, so that all files are of one commit. For what is not public, the token of $HF_TOKEN or of the hub's own login
// (~/.cache/huggingface/token).
//
//   GET /api/models/ORG/NAME/revision/REV?blobs=true    its commit and files, with sizes and hashes
//   GET /ORG/NAME/resolve/COMMIT/FILE                   a file; datasets likewise, with datasets/ before ORG
//
// https://huggingface.co/docs/hub/api describes them.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/storage/store.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<Store>> OpenHubStore(const StorageUri& folder);

}  // namespace tactus
