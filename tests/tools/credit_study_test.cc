// `tactus credit-study` as a user calls it, on the quick start's policy with a budget of a few answers.
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/folder_lock.h"
#include "tests/tools/cli.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

class CreditStudyTest : public CliTest {
 protected:
  static constexpr char kQuickStart[] = " --model models/quickstart --config configs/quickstart.textproto";

  Result Study(const std::string& out, const std::string& flags, int threads = 1) const {
    return Tactus(absl::StrCat("credit-study --kv-cache-mib 32 --threads ", threads, " --out ", Path(out), kQuickStart,
                               " ", flags));
  }
  std::string Lines(const std::string& out) const { return ReadAll(Path(out + "/responses.jsonl")); }
  std::string Figures(const std::string& out) const { return ReadAll(Path(out + "/study.json")); }
};

TEST_F(CreditStudyTest, WritesLinesFiguresAndAPage) {
  const Result result = Study("worth", "--responses 3 --positions 4 --samples 4");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("3 responses, 12 tokens probed"));
  const std::vector<std::string> lines = absl::StrSplit(Lines("worth"), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  for (size_t row = 0; row < lines.size(); ++row) {
    const nlohmann::json line = nlohmann::json::parse(lines[row]);
    EXPECT_EQ(line["row"], row);
    EXPECT_EQ(line["positions"].size(), 4u);
    EXPECT_EQ(line["signals"].size(), 13u);
    for (const double value : line["value"]) EXPECT_TRUE(value >= 0 && value <= 1) << value;
  }
  const nlohmann::json figures = nlohmann::json::parse(Figures("worth"));
  EXPECT_EQ(figures["samples"], 4);
  EXPECT_EQ(figures["all"]["signals"].size(), 13u);
  EXPECT_EQ(figures["all"]["tokens"], 12);
  EXPECT_THAT(ReadAll(Path("worth/study.html")), HasSubstr("What tokens were worth to quickstart"));
}

// Where every token is probed, each leads from one V to the next, and the last one to the answer's own reward.
TEST_F(CreditStudyTest, AdvantagesLeadToTheReward) {
  const Result result =
      Study("all", "--responses 2 --positions 192 --samples 2 --set rollout.max_completion_tokens=64");
  ASSERT_EQ(result.code, 0) << result.err;
  for (const absl::string_view text : absl::StrSplit(Lines("all"), '\n', absl::SkipEmpty())) {
    const nlohmann::json line = nlohmann::json::parse(text);
    ASSERT_EQ(line["positions"].size(), line["text"].size());
    for (size_t m = 0; m < line["first"].size(); ++m) {
      const double before = line["value"][m], first = line["first"][m], second = line["second"][m];
      const double after = m + 1 < line["value"].size() ? line["value"][m + 1] : line["reward"];
      EXPECT_NEAR(before + (first + second) / 2, after, 1e-12);
    }
  }
}

TEST_F(CreditStudyTest, TheSeedSaysItAll) {
  const std::string budget = "--responses 2 --positions 3 --samples 4";
  ASSERT_EQ(Study("a", budget).code, 0);
  ASSERT_EQ(Study("b", budget + " --batch 3", /*threads=*/2).code, 0);
  ASSERT_EQ(Study("c", budget + " --seed 2").code, 0);
  EXPECT_EQ(Lines("a"), Lines("b"));
  EXPECT_EQ(Figures("a"), Figures("b"));
  EXPECT_NE(Lines("a"), Lines("c"));
}

TEST_F(CreditStudyTest, GoesOnWhereItWas) {
  const std::string budget = " --positions 3 --samples 4";
  ASSERT_EQ(Study("whole", "--responses 3" + budget).code, 0);
  ASSERT_EQ(Study("parts", "--responses 1" + budget).code, 0);
  const std::string first = Lines("parts");
  EXPECT_EQ(Lines("whole").substr(0, first.size()), first);
  std::ofstream(Path("parts/responses.jsonl"), std::ios::app) << Lines("whole").substr(first.size(), 100);  // torn
  ASSERT_EQ(Study("parts", "--responses 3" + budget).code, 0);
  EXPECT_EQ(Lines("parts"), Lines("whole"));
  EXPECT_EQ(Figures("parts"), Figures("whole"));
  // Fewer answers than there are: figures of those, and no line is lost.
  ASSERT_EQ(Study("parts", "--responses 1" + budget).code, 0);
  EXPECT_EQ(Lines("parts"), Lines("whole"));
  EXPECT_EQ(nlohmann::json::parse(Figures("parts"))["all"]["responses"], 1);
}

TEST_F(CreditStudyTest, StopsWhenAskedTo) {
  const auto study = ChildProcess::Start(
      {BuildPath("bin/tactus"), "credit-study", "--model", SourcePath("models/quickstart"), "--config",
       SourcePath("configs/quickstart.textproto"), "--out", Path("stopped"), "--threads", "1", "--responses", "300",
       "--positions", "2", "--samples", "2", "--kv-cache-mib", "32"},
      Path("log"));
  ASSERT_TRUE(study.ok()) << study.status();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  while (Lines("stopped").empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  (*study)->Signal(SIGTERM);
  EXPECT_EQ((*study)->Wait(absl::Seconds(120)), 130) << ReadAll(Path("log"));
  EXPECT_THAT(ReadAll(Path("log")), HasSubstr("stopped; the same command goes on."));
  EXPECT_FALSE(std::filesystem::exists(Path("stopped/study.json")));
}

TEST_F(CreditStudyTest, Mistakes) {
  const std::string flags = absl::StrCat(kQuickStart, " --out ", Path("out"), " ");
  ExpectMistake("credit-study" + flags + "--samples 3", "--samples is 3: expected an even number.");
  ExpectMistake("credit-study" + flags + "--samples 0", "--samples cannot be \"0\"");
  ExpectMistake("credit-study" + flags + "--responses 600",
                "--responses is 600: expected at most 512, which the test set has.");
  ExpectMistake("credit-study" + flags + "--set task.test_size=0",
                "--responses is 200: expected at most 0, which the test set has.");
  ExpectMistake("credit-study" + flags + "--set credit.layers=99", "layers from 0 to");
  ExpectMistake("credit-study --model nowhere --config configs/quickstart.textproto --out " + Path("out"), "nowhere");
  ExpectMistake("credit-study --model models/quickstart --out " + Path("out"), "--config");
  EXPECT_FALSE(std::filesystem::exists(Path("out"))) << "a study that cannot be leaves no folder";
}

TEST_F(CreditStudyTest, AFolderOfOtherSettingsOrDamagedIsRefused) {
  const std::string budget = "--responses 2 --positions 2 --samples 2";
  ASSERT_EQ(Study("a", budget).code, 0);
  const std::string lines = Lines("a"), call = absl::StrCat("credit-study", kQuickStart, " --out ", Path("a"), " ");
  ExpectMistake(call + budget + " --seed 2", "settings.json is of a study with other settings");
  ExpectMistake(call + budget + " --set credit.q=0.3", "settings.json is of a study with other settings");
  std::ofstream(Path("a/responses.jsonl")) << lines << "{\"row\": 7}\n";
  ExpectMistake(call + budget, "a/responses.jsonl:3: ");
  std::ofstream(Path("a/responses.jsonl")) << lines << lines;
  ExpectMistake(call + budget, "responses.jsonl:3: row: expected one that no line before has");
}

TEST_F(CreditStudyTest, TwoOnOneFolderExcludeEachOther) {
  std::filesystem::create_directories(Path("a"));
  const absl::StatusOr<FolderLock> lock = FolderLock::Take(Path("a"), "this test");
  ASSERT_TRUE(lock.ok()) << lock.status();
  const Result result = Study("a", "--responses 1 --positions 1 --samples 2");
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("a is in use by another tactus credit-study"));
  EXPECT_EQ(Lines("a"), "");
}

}  // namespace
}  // namespace tactus
