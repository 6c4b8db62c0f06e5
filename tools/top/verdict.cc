#include "tools/top/verdict.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tactus::top {
namespace {

// Below this share nobody is said to wait.
constexpr double kNoticeable = 0.1;

double OrZero(double value) { return std::isfinite(value) ? value : 0; }
std::string Percent(double share) { return absl::StrFormat("%.0f %%", 100 * share); }

}  // namespace

double LearnerWaitShare(const Frame& frame) {
  const auto phases = frame.panels.find("learner_phases");
  if (phases == frame.panels.end() || phases->second.empty()) return std::nan("");
  double wait = 0, all = 0;
  for (const auto& [phase, share] : phases->second) {
    all += share;
    if (phase == "wait_trajectories") wait = share;
  }
  return all > 0 ? wait / all : std::nan("");
}

std::string Verdict(const Frame& frame) {
  if (!(frame.Value("actors") > 0)) return "No actor is connected: the learner waits for one.";
  const double wait = LearnerWaitShare(frame);
  if (std::isnan(wait)) return "Waiting for the first learner step.";
  const double backpressure = OrZero(frame.Value("actor_blocked", "backpressure"));
  const double weights = OrZero(frame.Value("actor_blocked", "weights"));
  if (wait >= kNoticeable && wait >= backpressure + weights) {
    return absl::StrCat("The learner waits for answers ", Percent(wait), " of its time: more actors would help.");
  }
  if (backpressure >= kNoticeable && backpressure >= weights) {
    return absl::StrCat("Actors wait for prompts ", Percent(backpressure),
                        " of their time, as the learner is the slower side: fewer actors would do, or a larger "
                        "rollout.max_staleness_steps.");
  }
  if (weights >= kNoticeable) {
    return absl::StrCat("Actors wait for new weights ", Percent(weights),
                        " of their time: with rollout.max_staleness_steps of 1 or more they would go on meanwhile.");
  }
  return "Nobody waits for long: learner and actors keep pace.";
}

}  // namespace tactus::top
