#include "tools/report/timeline_chart.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/report/html_page.h"

namespace tactus {
namespace {

constexpr size_t kMaxActors = 32;
constexpr int kDigits = 7;

struct Lane {
  std::string label;
  std::map<std::string, std::vector<TimeSpan>> spans;  // by kind; seconds on the page's axis
  std::vector<double> marks;                           // groups that came
};

double Total(const std::vector<TimeSpan>& spans) {
  double sum = 0;
  for (const TimeSpan& span : spans) sum += span.end_s - span.begin_s;
  return sum;
}

// Seconds since the first step shown began.
std::vector<Lane> LanesOf(const std::vector<StepTimeline>& steps) {
  const double origin = steps.front().start_s;
  Lane learner{.label = "learner", .spans = {}, .marks = {}};
  std::map<std::string, Lane> actors;
  for (const StepTimeline& step : steps) {
    const double shift = step.start_s - origin;
    for (const LearnerSpan& span : step.learner) {
      learner.spans[LearnerWorkName(span.work)].push_back({span.when.begin_s + shift, span.when.end_s + shift});
    }
    for (const ActorTimeline& actor : step.actors) {
      Lane& lane = actors[actor.actor];
      lane.label = actor.actor;
      for (const TimeSpan& span : actor.sampling) {
        // What was sampled before the first step shown is cut off.
        const TimeSpan shown{std::max(0.0, span.begin_s + shift), span.end_s + shift};
        if (shown.end_s > 0) lane.spans["sampling"].push_back(shown);
      }
      for (const double arrived : actor.arrived_s) {
        if (arrived + shift >= 0) lane.marks.push_back(arrived + shift);
      }
    }
  }
  std::vector<Lane> lanes = {std::move(learner)};
  for (auto& [name, lane] : actors) {
    if (lanes.size() <= kMaxActors) lanes.push_back(std::move(lane));
  }
  return lanes;
}

std::string LaneJson(const Lane& lane) {
  std::vector<std::string> spans;
  for (const auto& [kind, list] : lane.spans) {
    for (const TimeSpan& span : list) {
      spans.push_back(absl::StrCat("[", JsonText(kind), ",", JsonNumber(span.begin_s, kDigits), ",",
                                   JsonNumber(span.end_s, kDigits), "]"));
    }
  }
  return absl::StrCat("{\"label\":", JsonText(lane.label), ",\"spans\":[", absl::StrJoin(spans, ","),
                      "],\"marks\":", JsonNumbers(lane.marks, kDigits), "}");
}

// Seconds of each kind, for who runs no script.
std::string LaneRow(const Lane& lane, double length_s) {
  std::vector<std::string> kinds;
  for (const auto& [kind, list] : lane.spans) {
    const double seconds = Total(list);
    kinds.push_back(absl::StrFormat("%s %s s (%.0f %%)", kind, NumberText(seconds, 3), 100 * seconds / length_s));
  }
  return absl::StrCat("<tr><th scope=\"row\">", EscapeHtml(lane.label), "</th><td>", absl::StrJoin(kinds, ", "),
                      "</td></tr>");
}

}  // namespace

std::string TimelineHtml(const std::vector<StepTimeline>& steps) {
  if (steps.empty()) return "";
  const std::vector<Lane> lanes = LanesOf(steps);
  const double origin = steps.front().start_s, length = steps.back().start_s + steps.back().length_s - origin;
  std::vector<std::string> json, rows, borders;
  for (const Lane& lane : lanes) json.push_back(LaneJson(lane)), rows.push_back(LaneRow(lane, length));
  for (const StepTimeline& step : steps) {
    borders.push_back(absl::StrCat("{\"step\":", step.step, ",\"from\":", JsonNumber(step.start_s - origin, kDigits),
                                   ",\"to\":", JsonNumber(step.start_s + step.length_s - origin, kDigits), "}"));
  }
  return absl::StrCat(
      "<figure class=\"lanes\"><figcaption><b>Who worked when</b> <small>the last steps, ", steps.front().step, " to ",
      steps.back().step,
      ", in seconds of the learner's clock; a tick is a group that came. An actor's span ends when its group came, "
      "less "
      "what it says it took to hand it in, and is as long as it says: the network's time counts as the "
      "actor's</small></figcaption><noscript><table><tbody>",
      absl::StrJoin(rows, ""),
      "</tbody></table></noscript><script type=\"application/json\">{\"length\":", JsonNumber(length, kDigits),
      ",\"steps\":[", absl::StrJoin(borders, ","), "],\"lanes\":[", absl::StrJoin(json, ","), "]}</script></figure>\n");
}

}  // namespace tactus
