// What the components that call the system on open files have in common. Blocking; thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

// The error that errno says, as "WHAT PATH: the reason".
absl::Status FromErrno(absl::string_view what, const std::string& path);

// All of `content`, in however many writes the system takes it. `path` is for the error.
absl::Status WriteAll(int fd, absl::string_view content, const std::string& path);

}  // namespace tactus
