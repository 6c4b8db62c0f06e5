#include "tools/top/live_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "tests/tools/report/browser.h"

namespace tactus::top {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

FrameLog Log() {
  FrameLog log;
  double time_s = 1'700'000'000;
  for (const double reward : {0.25, std::nan(""), 0.375, 0.5}) {
    Frame frame{.time_s = time_s,
                .panels = {{"reward", {{"", reward}}},
                           {"actors", {{"", 2}}},
                           {"learner_phases", {{"wait_trajectories", 0.75}, {"forward", 0.25}}},
                           {"actor_tokens", {{"actor-<b>0", 1500}}}}};
    for (const Panel& panel : Panels()) frame.panels.try_emplace(std::string(panel.id));
    log.Add(std::move(frame));
    time_s += 2;
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
  EXPECT_EQ(json["panels"][0]["absent"], "");
  EXPECT_EQ(json["panels"][0]["trend"].dump(), "[0.25,null,0.375,0.5]");
  EXPECT_EQ(json["times"].dump(), "[1700000000.0,1700000002.0,1700000004.0,1700000006.0]");
  for (const auto& panel : json["panels"]) {
    EXPECT_EQ(panel["trend"].size(), panel["by"] == "" ? 4U : 0U) << panel["id"];
    EXPECT_EQ(panel["absent"] == "", !panel["values"].empty()) << panel["id"];
  }
  FrameLog divided;
  Frame frame = Log().newest();
  frame.panels["correct"] = {{"", std::nan("")}};
  divided.Add(std::move(frame));
  const auto nothing = nlohmann::json::parse(FramesJson(divided, "t"))["panels"][1];
  EXPECT_EQ(nothing["unit"], "ratio");
  EXPECT_TRUE(nothing["values"][""]["value"].is_null());
  EXPECT_EQ(nothing["absent"], "not measured in this window");
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
  EXPECT_EQ(client.Post("/", std::string(100'000, 'x'), "text/plain")->status, 405);
  const absl::Status taken = LivePage::Start((*page)->address(), [] { return ""; }).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(taken.message()), HasSubstr((*page)->address()));
  EXPECT_EQ(LivePage::Start("nonsense", [] { return ""; }).status().code(), absl::StatusCode::kInvalidArgument);
  if (const auto v6 = LivePage::Start("[::1]:0", [] { return ""; }); v6.ok()) {  // else this machine has no IPv6
    EXPECT_EQ(httplib::Client(absl::StrCat("http://", (*v6)->address())).Get("/")->status, 200);
  }
}

TEST(LivePageTest, ABrowserShowsTheNumbersAsText) {
  if (Chromium().empty()) GTEST_SKIP() << "Chromium is not installed (scripts/setup.sh --lint, on Debian)";
  const auto page = LivePage::Start("127.0.0.1:0", [] { return FramesJson(Log(), "runs/<i>a</i>"); });
  ASSERT_TRUE(page.ok());
  const std::string folder = absl::StrCat(testing::TempDir(), "/live-page");
  const std::string dom =
      DumpDom(absl::StrCat("http://", (*page)->address(), "/"), folder, "--virtual-time-budget=5000");
  EXPECT_THAT(dom, HasSubstr("The learner waits for answers 75 %"));
  EXPECT_THAT(dom, HasSubstr("0.5000"));
  EXPECT_THAT(dom, HasSubstr("actor-&lt;b&gt;0"));  // names are text, never markup
  EXPECT_THAT(dom, HasSubstr("runs/&lt;i&gt;a"));
  EXPECT_THAT(dom, HasSubstr("<span>wait_trajectories</span><i><u style=\"width: 75%;\"></u></i><span>75.0 %</span>"));
  EXPECT_THAT(ReadFile(folder + "/log").value(), Not(HasSubstr("CONSOLE"))) << "nothing went wrong in the page";
  // One tile for the reward, however often it was filled: a gap where there was no number, and the bounds as text.
  const size_t begin = dom.find("data-panel=\"reward\""), end = dom.find("data-panel=", begin + 1);
  ASSERT_NE(begin, std::string::npos);
  EXPECT_EQ(dom.find("data-panel=\"reward\"", begin + 1), std::string::npos);
  const std::string tile = dom.substr(begin, end - begin);
  std::smatch line;
  ASSERT_TRUE(std::regex_search(tile, line, std::regex("<path class=\"s0\" d=\"(M[0-9. ]+h0)(M[0-9. ]+)(L[0-9. ]+)\"")))
      << tile;
  EXPECT_THAT(tile, HasSubstr("<circle class=\"s0\"")) << "the lone number";
  EXPECT_THAT(tile, HasSubstr("class=\"gap\""));
  EXPECT_THAT(tile, HasSubstr(">0.25</text>"));
  EXPECT_THAT(tile, HasSubstr(">0.5</text>"));
  // What no process reports is not 0.
  const size_t absent = dom.find("data-panel=\"held_out\"");
  EXPECT_THAT(dom.substr(absent, 300), HasSubstr("<b>–</b><small class=\"absent\">no held-out evaluation"));
}

}  // namespace
}  // namespace tactus::top
