// A run's report: one HTML page that needs no network and nothing beside it. Thread-safe; blocking reads and one write.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/metrics/run_folder.h"

namespace tactus {

struct ReportData {
  std::string title;
  std::string config_text;  // may be empty
  std::vector<StepRecord> steps;
  std::vector<SampleRecord> samples;
};

// The page. Every text in `data` is escaped: completions are not trusted.
std::string ReportHtml(const ReportData& data);

// Reads the folder and writes the page. NotFound: no metrics.jsonl; InvalidArgument names the file and line.
absl::Status WriteReport(const RunFolder& folder, const std::string& path);

}  // namespace tactus
