// Files that are written piece by piece and appear whole. Blocking; not thread-safe.
#pragma once

#include <fstream>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tactus {

// A file written aside, as PATH.<process>.tmp, and renamed over PATH when it is complete: whatever fails before, PATH
// is what it was. A process that is killed leaves what it had under the name aside.
class AsideFile {
 public:
  // A link is followed; a file that is there lends its permissions. InvalidArgument: PATH is something else than a
  // regular file, such as a folder, a pipe or a device. Other errors name the path, too.
  static absl::StatusOr<std::unique_ptr<AsideFile>> Create(const std::string& path);
  ~AsideFile();  // removes what was not published
  AsideFile(const AsideFile&) = delete;
  AsideFile& operator=(const AsideFile&) = delete;

  std::ostream& out() { return out_; }

  // Removes what killed processes left aside of PATH. Only for who alone writes PATH: another's file under way goes,
  // too.
  static void RemoveLeftovers(const std::string& path);

  // Makes all of it durable and puts it in place. Unavailable: something could not be written.
  absl::Status Publish();

 private:
  AsideFile(std::string path, std::string aside);

  const std::string path_;
  const std::string aside_;
  std::ofstream out_;
  bool published_ = false;
};

// An empty file without a name, in $TMPDIR or /tmp, that goes with the stream.
absl::StatusOr<std::unique_ptr<std::fstream>> OpenScratchFile();
// The same as a descriptor, which the caller closes.
absl::StatusOr<int> OpenScratchDescriptor();

}  // namespace tactus
