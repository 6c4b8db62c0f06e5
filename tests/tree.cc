#include "tests/tree.h"

namespace tactus {

std::string SourcePath(const std::string& path) { return TACTUS_SOURCE_DIR + ("/" + path); }
std::string BuildPath(const std::string& path) { return TACTUS_BINARY_DIR + ("/" + path); }

}  // namespace tactus
