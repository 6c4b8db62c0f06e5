#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "tools/top/terminal_view.h"
#include "tools/top/verdict.h"

namespace tactus::top {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Frame FrameOf(std::map<std::string, PanelValues> panels) {
  Frame frame{.time_s = 1'700'000'000, .panels = std::move(panels)};
  for (const Panel& panel : Panels()) frame.panels.try_emplace(std::string(panel.id));
  return frame;
}

Frame Waiting(double learner, double backpressure, double weights) {
  return FrameOf({{"actors", {{"", 2}}},
                  {"learner_phases", {{"wait_trajectories", learner}, {"forward", 1 - learner}}},
                  {"actor_blocked", {{"backpressure", backpressure}, {"weights", weights}}}});
}

TEST(VerdictTest, NamesTheSideThatWaitsAndWhatWouldHelp) {
  EXPECT_THAT(Verdict(FrameOf({})), HasSubstr("No actor is connected"));
  EXPECT_THAT(Verdict(FrameOf({{"actors", {{"", 1}}}})), HasSubstr("first learner step"));
  EXPECT_THAT(Verdict(Waiting(0.6, 0.1, 0.1)), HasSubstr("The learner waits for answers 60 %"));
  EXPECT_THAT(Verdict(Waiting(0.2, 0.5, 0.1)), HasSubstr("Actors wait for prompts 50 %"));
  EXPECT_THAT(Verdict(Waiting(0.1, 0.1, 0.4)), HasSubstr("Actors wait for new weights 40 %"));
  EXPECT_THAT(Verdict(Waiting(0.05, 0.05, 0)), HasSubstr("Nobody waits"));
}

TEST(VerdictTest, TheWaitShareIsOfAllPhases) {
  EXPECT_DOUBLE_EQ(LearnerWaitShare(FrameOf({{"learner_phases", {{"wait_trajectories", 1}, {"forward", 3}}}})), 0.25);
}

TEST(TopLinesTest, ShowsEveryPanelActorsAndNoDataAsSuch) {
  FrameLog log;
  log.Add(FrameOf({{"reward", {{"", 0.1}}}}));
  log.Add(FrameOf({{"reward", {{"", 0.4321}}},
                   {"actor_tokens", {{"actor-0", 1500}, {"actor-1", 90}}},
                   {"actor_version", {{"actor-0", 12}}}}));
  const std::string text = absl::StrJoin(TopLines(log, "runs/a", false), "\n");
  EXPECT_THAT(text, HasSubstr("runs/a"));
  EXPECT_THAT(text, HasSubstr("0.4321  ▁█"));
  EXPECT_THAT(text, HasSubstr("non-finite values         —  no data"));
  EXPECT_THAT(text, HasSubstr("KL to the starting policy —  no reference policy is kept, as algorithm.kl_beta is 0"));
  EXPECT_THAT(text, HasSubstr("actor-1"));
  EXPECT_THAT(text, HasSubstr("1,500/s"));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
  EXPECT_THAT(absl::StrJoin(TopLines(log, "runs/a", true), "\n"), HasSubstr("\033[1m"));
}

TEST(FrameLogTest, KeepsABoundedNumberOfFrames) {
  FrameLog log;
  for (size_t i = 0; i < FrameLog::kMaxFrames + 5; ++i) log.Add(FrameOf({{"step", {{"", double(i)}}}}));
  EXPECT_EQ(log.frames().size(), FrameLog::kMaxFrames);
  EXPECT_EQ(log.Trend("step").front(), 5);
}

}  // namespace
}  // namespace tactus::top
