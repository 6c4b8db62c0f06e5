#include "tools/top/live_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/tools/report/browser.h"

namespace tactus::top {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

FrameLog Log() {
  FrameLog log;
  for (const double reward : {0.25, 0.5}) {
    Frame frame{.time_s = 1'700'000'000,
                .panels = {{"reward", {{"", reward}}},
                           {"actors", {{"", 2}}},
                           {"learner_phases", {{"wait_trajectories", 0.75}, {"forward", 0.25}}},
                           {"actor_tokens", {{"actor-<b>0", 1500}}}}};
    for (const Panel& panel : Panels()) frame.panels.try_emplace(std::string(panel.id));
    log.Add(std::move(frame));
  }
  return log;
}

TEST(FramesJsonTest, HoldsTextsTrendsAndTheVerdict) {
  const auto json = nlohmann::json::parse(FramesJson(Log(), "runs/a"));
  EXPECT_EQ(json["title"], "runs/a");
  EXPECT_THAT(json["verdict"].get<std::string>(), HasSubstr("The learner waits for answers 75 %"));
  ASSERT_EQ(json["panels"].size(), Panels().size());
  EXPECT_EQ(json["panels"][0]["id"], "reward");
  EXPECT_EQ(json["panels"][0]["values"][""]["text"], "0.5000");
  EXPECT_EQ(json["panels"][0]["trend"].dump(), "[0.25,0.5]");
  const auto empty = nlohmann::json::parse(FramesJson(FrameLog(), "t"));
  EXPECT_EQ(empty["panels"][0]["values"].dump(), "{}");
}

TEST(LivePageTest, ServesTwoPathsAndRefusesTheRest) {
  const auto page = LivePage::Start("127.0.0.1:0", [] { return FramesJson(Log(), "t"); });
  ASSERT_TRUE(page.ok()) << page.status();
  httplib::Client client(absl::StrCat("http://", (*page)->address()));
  const auto root = client.Get("/");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->status, 200);
  EXPECT_THAT(root->get_header_value("Content-Security-Policy"), HasSubstr("default-src 'none'"));
  EXPECT_THAT(root->body, Not(HasSubstr("src=")));  // nothing is loaded from elsewhere
  EXPECT_TRUE(nlohmann::json::accept(client.Get("/frames.json")->body));
  EXPECT_EQ(client.Get("/etc/passwd")->status, 404);
  EXPECT_EQ(client.Post("/", std::string(100'000, 'x'), "text/plain")->status, 413);
  const absl::Status taken = LivePage::Start((*page)->address(), [] { return ""; }).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(taken.message()), HasSubstr((*page)->address()));
  EXPECT_EQ(LivePage::Start("nonsense", [] { return ""; }).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LivePageTest, ABrowserShowsTheNumbersAsText) {
  if (Chromium().empty()) GTEST_SKIP() << "Chromium is not installed (scripts/setup.sh --lint, on Debian)";
  const auto page = LivePage::Start("127.0.0.1:0", [] { return FramesJson(Log(), "runs/<i>a</i>"); });
  ASSERT_TRUE(page.ok());
  const std::string dom = DumpDom(absl::StrCat("http://", (*page)->address(), "/"),
                                  absl::StrCat(testing::TempDir(), "/live-page"), "--virtual-time-budget=3000");
  EXPECT_THAT(dom, HasSubstr("The learner waits for answers 75 %"));
  EXPECT_THAT(dom, HasSubstr("data-panel=\"reward\""));
  EXPECT_THAT(dom, HasSubstr("0.5000"));
  EXPECT_THAT(dom, HasSubstr("<path d=\"M0.00"));
  EXPECT_THAT(dom, HasSubstr("actor-&lt;b&gt;0"));  // names are text, never markup
  EXPECT_THAT(dom, HasSubstr("runs/&lt;i&gt;a"));
}

}  // namespace
}  // namespace tactus::top
