// The panels as lines of text. Pure; thread-safe.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "tools/top/source.h"

namespace tactus::top {

// The newest frames of a job, oldest first. Bounded: old ones make room.
class FrameLog {
 public:
  static constexpr size_t kMaxFrames = 600;
  void Add(Frame frame);
  const std::deque<Frame>& frames() const { return frames_; }
  const Frame& newest() const { return frames_.back(); }
  // A panel's values over time, for a trend.
  std::vector<double> Trend(absl::string_view panel, absl::string_view label = "") const;

 private:
  std::deque<Frame> frames_;
};

// One line per panel, in groups, then a table of actors and the verdict. `color`: with terminal colours.
std::vector<std::string> TopLines(const FrameLog& log, const std::string& title, bool color);

}  // namespace tactus::top
