// The names inside a run's folder, and reading back what a run has written there. Thread-safe; blocking reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/metrics/sample_record.h"
#include "common/metrics/step_record.h"

namespace tactus {

struct RunFolder {
  std::string root;
  std::string config() const { return root + "/config.textproto"; }  // resolved
  std::string metrics() const { return root + "/metrics.jsonl"; }
  std::string samples() const { return root + "/samples.jsonl"; }
  std::string timeline() const { return root + "/timeline.jsonl"; }
  std::string held_out() const { return root + "/held_out.jsonl"; }
  std::string tensorboard() const { return root + "/tensorboard"; }
  std::string checkpoints() const { return root + "/checkpoints"; }  // step-NNNNNN/ in it
  std::string best() const { return checkpoints() + "/best"; }       // the one with the best held-out score, likewise
  std::string report() const { return root + "/report.html"; }
  std::string logs() const { return root + "/logs"; }
  std::string targets() const { return logs() + "/metrics-targets.json"; }  // Prometheus' file_sd form
};

// The records of a metrics file in order, without a torn last line and without damaged ones, of which a warning in the
// log tells. NotFound: no such file.
absl::StatusOr<std::vector<StepRecord>> ReadSteps(const std::string& path);

// The first and the last few samples, in order, without damaged ones, likewise. A run without the file has none.
absl::StatusOr<std::vector<SampleRecord>> ReadSamples(const std::string& path, size_t first, size_t last);

// "step-000150".
std::string CheckpointName(int64_t step);

// The highest step-NNNNNN folder under checkpoints(), or "" if there is none.
std::string NewestCheckpoint(const RunFolder& folder);

// Follows a metrics file that another process appends to. Not thread-safe.
class StepFollower {
 public:
  explicit StepFollower(std::string path) : path_(std::move(path)) {}
  // The records completed since the last call. Lines that do not parse are skipped: the learner's own log has the
  // error.
  std::vector<StepRecord> Poll();

 private:
  std::string path_;
  uint64_t offset_ = 0;
  std::string partial_;  // at most kMaxPartialBytes
};

}  // namespace tactus
