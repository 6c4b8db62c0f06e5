// What `tactus train` shows while it runs: a live block on a terminal, one line per step otherwise. Not thread-safe.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/metrics/step_record.h"

namespace tactus {

// Bars of eight heights; the values are averaged into `width` columns. Not-finite values show as a gap.
std::string Sparkline(const std::vector<double>& values, size_t width);

class TrainDisplay {
 public:
  struct Options {
    std::string title;  // the run's name
    int64_t total_steps = 0;
    bool terminal = false;  // draw and redraw, or print lines
    std::FILE* out = stderr;
  };
  explicit TrainDisplay(Options options) : options_(std::move(options)) {}

  // A step of before a resume: it counts for the trend and is not shown as new.
  void AddHistory(const StepRecord& record) { steps_.push_back(record); }
  // A finished step.
  void AddStep(const StepRecord& record);
  // What the supervisor knows; shown on a terminal.
  void SetActors(int running, int restarts) { running_ = running, restarts_ = restarts; }
  // A sentence that stays above the live block, or one more line.
  void Note(absl::string_view text);
  // Draws the block again, on a terminal only.
  void Redraw();
  // Leaves the last picture on the screen.
  void Finish();

  const std::vector<StepRecord>& steps() const { return steps_; }
  // Estimated from the last steps; negative while unknown.
  double SecondsLeft() const;
  // Mean reward of the last steps minus that of the first ones, as TrendOf takes them; NaN before the second step.
  double RewardGain() const;

  std::string PlainLine() const;           // of the last step
  std::vector<std::string> Block() const;  // the live block's lines
 private:
  Options options_;
  std::vector<StepRecord> steps_;
  int running_ = 0, restarts_ = 0;
  size_t drawn_lines_ = 0;
};

}  // namespace tactus
