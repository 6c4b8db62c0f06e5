// The files of lines that a run appends to: metrics.jsonl, samples.jsonl, timeline.jsonl, held_out.jsonl. A line that a
// disk or a hand has damaged costs neither the others nor the run: it is left out, and said. Thread-safe; blocking.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr size_t kMaxRunLineBytes = size_t{16} << 20;

// What was left out of a file.
struct LineDamage {
  int64_t lines = 0;  // damaged ones
  std::string first;  // which one, and what is wrong with it: "line 14: not valid JSON at byte 20"
  bool torn = false;  // the last line has no end, as a killed writer leaves it; it is not among the damaged ones
};

// Hands over the lines in order. One that `use` returns an error for, or that is longer than kMaxRunLineBytes, is
// damaged; blank ones and a torn last one are passed over. NotFound: no such file; InvalidArgument: no regular file.
absl::StatusOr<LineDamage> ForEachRunLine(const std::string& path,
                                          absl::FunctionRef<absl::Status(absl::string_view line)> use);

// The same, with a warning in the log about what is damaged.
absl::Status ReadRunLines(const std::string& path, absl::FunctionRef<absl::Status(absl::string_view line)> use);

// Makes a file end where a run goes on: keeps the lines whose "step" is at most keep_through_step. Nothing is written
// for that but where lines are damaged: then the file as it was stays beside it (KeepAside), with a warning in the log.
// No file: OK. Only for the process that owns the run: what others left aside of the file when they were killed goes.
absl::Status CutRunLines(const std::string& path, int64_t keep_through_step);

// Keeps the lines of every second step that has lines in the file, the first one among them. For the same process.
absl::Status HalveRunLines(const std::string& path);

}  // namespace tactus
