// Files in a folder that is in another place: listed, read, and where the place allows it, written and deleted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/storage/storage_uri.h"

namespace tactus {

struct StoredFile {
  std::string name;  // from the folder on: "config.json", "step-000020/state.pb"
  uint64_t bytes = 0;
  std::string tag;         // another one where the content is another
  std::string sha256_hex;  // of the content, where the store tells; else empty
};

// For one thread at a time. Every call blocks for the network; a store that does not answer is given up after about a
// minute of tries (Unavailable). Errors name the URI. NotFound: no such file, bucket or repository; PermissionDenied:
// none for these credentials, or none were given.
class Store {
 public:
  virtual ~Store() = default;

  // All files below the folder, or those right in it, in alphabetical order. None: there is no such folder.
  virtual absl::StatusOr<std::vector<StoredFile>> List(bool below) = 0;

  // Hands over the content from a byte on, in pieces, in order; or ends with what `use` returned.
  virtual absl::Status Read(const StoredFile& file, uint64_t from,
                            absl::FunctionRef<absl::Status(absl::string_view)> use) = 0;

  // Makes the first `bytes` of a file of this machine the content of `name`; who reads sees all of it or what was there
  // before. Cancelled: `give_up` became true. Unimplemented: this store is read only.
  virtual absl::Status Write(const std::string& name, const std::string& path, uint64_t bytes,
                             const std::atomic<bool>& give_up) = 0;

  // Deletes all files below a folder of it; OK when there are none.
  virtual absl::Status RemoveFolder(const std::string& name) = 0;
};

// Of the folder that the URI names. Does not ask it anything yet.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StorageUri& folder);

}  // namespace tactus
