// A run's report: one HTML page that needs no network and nothing beside it. Thread-safe; blocking reads and one write.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/metrics/held_out.h"
#include "common/metrics/run_folder.h"
#include "common/metrics/timeline.h"
#include "tools/report/rhythm_page.h"

namespace tactus {

struct ReportData {
  std::string title;
  std::string config_text;  // may be empty
  std::vector<StepRecord> steps;
  std::vector<RhythmAnswer> answers;  // the samples, as the page shows them
  std::optional<BestCheckpoint> best = {};
  std::vector<StepTimeline> timeline = {};   // of the last steps
  std::vector<HeldOutRecord> held_out = {};  // of all sets
};

RhythmAnswer AnswerOf(const SampleRecord& sample);

// Adds to the answers what samples do not carry; see AddAttention in rhythm_view.h.
// Empty: nothing is added.
using EnrichAnswers =
    std::function<absl::Status(const RunFolder&, const std::vector<SampleRecord>&, std::vector<RhythmAnswer>&)>;

// The page. Every text in `data` is escaped: completions are not trusted.
std::string ReportHtml(const ReportData& data);

// Reads the folder and writes the page. An error of `enrich` is logged, and the page shows what the samples hold.
// NotFound: no metrics.jsonl; InvalidArgument names the file and line.
absl::Status WriteReport(const RunFolder& folder, const std::string& path, const EnrichAnswers& enrich);

}  // namespace tactus
