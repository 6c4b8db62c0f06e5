#include "common/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kTime[] = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z";

class LogTest : public ::testing::Test {
 protected:
  void TearDown() override {
    ConfigureLog({});
    SetLogVersion("");
  }
  static void Configure(bool json) {
    ConfigureLog({.json = json, .role = "actor", .run_id = "run \"1\"", .instance_kind = "actor", .instance = "a-0"});
    SetLogVersion("0.7");
  }
  template <typename Write>
  static std::string Stderr(Write write) {
    ::testing::internal::CaptureStderr();
    write();
    return ::testing::internal::GetCapturedStderr();
  }
};

TEST_F(LogTest, JsonHasEveryFieldAndStrictStrings) {
  Configure(/*json=*/true);
  const std::string hostile("quote\" back\\ line\nfeed \x01 bad\xff\xc3 caf\xc3\xa9 \x7f end\0after", 42);
  const std::string text = Stderr([&] { TACTUS_LOG(WARNING) << hostile; });
  ASSERT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  const nlohmann::json line = nlohmann::json::parse(text);
  EXPECT_THAT(line.at("time").get<std::string>(), MatchesRegex(kTime));
  EXPECT_EQ(line.at("severity"), "WARNING");
  EXPECT_EQ(line.at("run"), "run \"1\"");
  EXPECT_EQ(line.at("role"), "actor");
  EXPECT_EQ(line.at("actor"), "a-0");
  EXPECT_EQ(line.at("version"), "0.7");
  EXPECT_THAT(line.at("source").get<std::string>(), MatchesRegex("tests/base/log_test\\.cc:[0-9]+"));
  std::string shown = hostile;
  for (const std::string bad : {"\xff", "\xc3 "}) shown.replace(shown.find(bad), 1, "\xef\xbf\xbd");
  EXPECT_EQ(line.at("message"), shown);
}

TEST_F(LogTest, TextIsOneLineForPeople) {
  Configure(/*json=*/false);
  const std::string text = Stderr([] { TACTUS_LOG(ERROR) << "two\nlines \x1b[31m and caf\xc3\xa9"; });
  EXPECT_THAT(text, MatchesRegex(std::string(kTime) + " E actor a-0 0\\.7  two\\\\n?.*lines.*\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("caf\xc3\xa9"));
}

TEST_F(LogTest, AFailureIsASentenceOrAnEvent) {
  EXPECT_EQ(Stderr([] { LogFailure("tactus-actor", "no such file."); }), "tactus-actor: no such file.\n");
  Configure(/*json=*/true);
  const nlohmann::json line = nlohmann::json::parse(Stderr([] { LogFailure("tactus-actor", "no such file."); }));
  EXPECT_EQ(line.at("severity"), "ERROR");
  EXPECT_EQ(line.at("message"), "no such file.");
}

TEST_F(LogTest, LinesOfManyThreadsAreWhole) {
  Configure(/*json=*/true);
  const std::string text = Stderr([] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        for (int n = 0; n < 50; ++n) TACTUS_LOG(INFO) << "event " << n;
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  EXPECT_EQ(count, 200);
}

}  // namespace
}  // namespace tactus
