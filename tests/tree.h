// Where the source tree and the build folder are, for tests that read files or start programs. Paths stand in tree.cc
// alone, so that every other object of the tests is the same wherever a checkout lies.
#pragma once

#include <string>

namespace tactus {

// An absolute path; without `path`, the folder itself.
std::string SourcePath(const std::string& path = "");
std::string BuildPath(const std::string& path = "");

}  // namespace tactus
