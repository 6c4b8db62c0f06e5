#include "tools/top/terminal_view.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tools/job/train_display.h"
#include "tools/top/verdict.h"

namespace tactus::top {
namespace {

constexpr size_t kTrendColumns = 32;
constexpr size_t kMaxActorRows = 32;

std::string Styled(absl::string_view code, absl::string_view text, bool color) {
  return color ? absl::StrCat("\033[", code, "m", text, "\033[0m") : std::string(text);
}

// "wait 41.0 %  forward 20.3 %": the panel's values by label, those that are not 0.
std::string Labelled(const Panel& panel, const PanelValues& values) {
  std::string text;
  for (const auto& [label, value] : values) {
    if (value != 0) absl::StrAppend(&text, text.empty() ? "" : "   ", label, " ", ValueText(panel.unit, value));
  }
  return text.empty() ? "0" : text;
}

std::string PanelLine(const Panel& panel, const FrameLog& log, bool color) {
  const PanelValues& values = log.newest().panels.at(std::string(panel.id));
  const std::string title = absl::StrFormat("  %-26s", panel.title);
  if (values.empty())
    return absl::StrCat(title,
                        Styled("2", absl::StrCat("—  ", panel.absent.empty() ? "no data" : panel.absent), color));
  if (!panel.by.empty()) return absl::StrCat(title, Labelled(panel, values));
  return absl::StrCat(title, Styled("1", absl::StrFormat("%12s", ValueText(panel.unit, values.begin()->second)), color),
                      "  ", Styled("36", Sparkline(log.Trend(panel.id), kTrendColumns), color));
}

// The panels by instance, one row for each actor: an instance that generates.
std::vector<std::string> ActorRows(const Frame& frame, bool color) {
  std::vector<std::string> lines;
  const auto generating = frame.panels.find("actor_tokens");
  if (generating == frame.panels.end() || generating->second.empty()) return lines;
  std::string head = absl::StrFormat("  %-26s", "actor");
  for (const Panel& panel : Panels()) {
    if (panel.group == "actors") absl::StrAppend(&head, absl::StrFormat("%14s", panel.title));
  }
  lines.push_back(Styled("2", head, color));
  for (const auto& [instance, tokens] : generating->second) {
    if (lines.size() > kMaxActorRows) {
      lines.push_back(absl::StrCat("  and ", generating->second.size() - kMaxActorRows, " more"));
      break;
    }
    std::string line = absl::StrFormat("  %-26s", instance.substr(0, 26));
    for (const Panel& panel : Panels()) {
      if (panel.group == "actors")
        absl::StrAppend(&line, absl::StrFormat("%14s", ValueText(panel.unit, frame.Value(panel.id, instance))));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace

void FrameLog::Add(Frame frame) {
  frames_.push_back(std::move(frame));
  if (frames_.size() > kMaxFrames) frames_.pop_front();
}

std::vector<double> FrameLog::Trend(absl::string_view panel, absl::string_view label) const {
  std::vector<double> values;
  for (const Frame& frame : frames_) values.push_back(frame.Value(panel, label));
  return values;
}

std::vector<std::string> TopLines(const FrameLog& log, const std::string& title, bool color) {
  const Frame& frame = log.newest();
  std::vector<std::string> lines = {absl::StrCat(
      " ", Styled("1", title, color), "   ",
      absl::FormatTime("%H:%M:%S", absl::FromUnixMicros(std::llround(frame.time_s * 1e6)), absl::UTCTimeZone()),
      " UTC")};
  lines.push_back(absl::StrCat(" ", Styled("33", Verdict(frame), color)));
  absl::string_view group;
  for (const Panel& panel : Panels()) {
    if (panel.group == "actors") continue;
    if (panel.group != group) lines.push_back(Styled("2", absl::StrCat(" ", panel.group), color));
    group = panel.group;
    lines.push_back(PanelLine(panel, log, color));
  }
  for (std::string& line : ActorRows(frame, color)) lines.push_back(std::move(line));
  return lines;
}

}  // namespace tactus::top
