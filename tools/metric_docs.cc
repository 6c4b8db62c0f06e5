// Writes docs/metrics.md and docs/metrics.json from the table of metrics:
//
//   build/release/bin/metric_docs docs
#include "common/metrics/metric_docs.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "metric_docs: expected the folder for metrics.md and metrics.json: metric_docs docs\n");
    return 2;
  }
  absl::Status status = tactus::WriteFileAtomic(absl::StrCat(argv[1], "/metrics.md"), tactus::MetricsMarkdown());
  status.Update(tactus::WriteFileAtomic(absl::StrCat(argv[1], "/metrics.json"), tactus::MetricsJson()));
  if (status.ok()) return 0;
  std::fprintf(stderr, "metric_docs: %s\n", std::string(status.message()).c_str());
  return 1;
}
