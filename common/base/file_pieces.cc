#include "common/base/file_pieces.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/file_calls.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::Status ForEachPiece(const std::string& path, uint64_t bytes,
                          absl::FunctionRef<absl::Status(absl::string_view)> use) {
  constexpr size_t kPieceBytes = size_t{4} << 20;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return FromErrno("cannot read", path);
  const absl::Cleanup close = [file] { ::close(file); };
  std::vector<char> piece(std::min<uint64_t>(kPieceBytes, bytes));
  while (bytes > 0) {
    const ssize_t read = ::read(file, piece.data(), std::min<uint64_t>(piece.size(), bytes));
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return FromErrno("cannot read", path);
    if (read == 0) return absl::DataLossError(absl::StrCat(path, ": ended ", bytes, " bytes too soon"));
    RETURN_IF_ERROR(use({piece.data(), static_cast<size_t>(read)}));
    bytes -= static_cast<uint64_t>(read);
  }
  return absl::OkStatus();
}

}  // namespace tactus
