// Writes docs/configuration.md from proto/config.proto:
//
//   build/release/bin/config_docs docs
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/field_docs.h"

namespace {

absl::Status Write(const char* folder) {
  ASSIGN_OR_RETURN(const std::string descriptors, tactus::ReadFile(TACTUS_CONFIG_DESCRIPTORS));
  ASSIGN_OR_RETURN(const std::string text, tactus::config::FieldsMarkdown(descriptors));
  return tactus::WriteFileAtomic(absl::StrCat(folder, "/configuration.md"), text);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "config_docs: expected the folder for configuration.md: config_docs docs\n");
    return 2;
  }
  const absl::Status status = Write(argv[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "config_docs: %s\n", std::string(status.message()).c_str());
  return 1;
}
