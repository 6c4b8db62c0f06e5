// Appends JSON lines to metrics.jsonl, samples.jsonl and timeline.jsonl, each line handed to the kernel at once so that
// a reader following the file sees whole lines. Not thread-safe. Blocking writes.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/metrics/sample_record.h"
#include "common/metrics/step_record.h"
#include "common/metrics/timeline.h"

namespace tactus {

class JsonlWriter {
 public:
  // Opens or creates the file. Lines of steps after `keep_through_step`, and a torn last line, are dropped: a resumed
  // run writes those steps again. Damaged lines are left out, and the file with them is kept (CutRunLines).
  // PermissionDenied, NotFound, ... name the path.
  static absl::StatusOr<std::unique_ptr<JsonlWriter>> Open(const std::string& path, int64_t keep_through_step);
  ~JsonlWriter();
  JsonlWriter(const JsonlWriter&) = delete;
  JsonlWriter& operator=(const JsonlWriter&) = delete;

  // Unavailable when the disk refuses the line.
  absl::Status WriteStep(const StepRecord& record) { return WriteLine(StepRecordToJson(record)); }
  absl::Status WriteSample(const SampleRecord& record) { return WriteLine(SampleRecordToJson(record)); }
  absl::Status WriteTimeline(const StepTimeline& timeline) { return WriteLine(StepTimelineToJson(timeline)); }

  // Where the file is larger than that, leaves out the lines of every second step (HalveRunLines): the older, the fewer
  // stay. Reads and writes the whole file then. Errors of the disk.
  absl::Status HalveAbove(int64_t max_bytes);

 private:
  JsonlWriter(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  static absl::StatusOr<std::FILE*> OpenToAppend(const std::string& path);
  absl::Status WriteLine(std::string line);
  std::string path_;
  std::FILE* file_;
};

}  // namespace tactus
