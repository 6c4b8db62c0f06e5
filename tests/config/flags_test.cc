#include "common/config/flags.h"

#include <cstdlib>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct TestFlags {
  std::string config;
  int rank = 0;
  std::optional<double> heat;
  bool fast = false;
  std::string format = "text";
  std::vector<std::string> set, files;
  std::string file;

  void Declare(CLI::App& app) {
    AddRequired(app, "--config FILE", config, "the run's configuration");
    AddFlag(app, "--rank R", rank, "this rank", 0, 7);
    AddFlag(app, "--heat X", heat, "temperature", 0, 2);
    AddSwitch(app, "--fast", fast, "hurry");
    AddChoice(app, "--log-format FORMAT", format, "of events", {"text", "json"});
    AddFlag(app, "--set-x K=V", set, "override");
  }
};

enum class Files { kNone, kOne, kAny };

absl::Status Read(const std::vector<std::string>& args, TestFlags* flags, Files files = Files::kNone,
                  bool environment = false) {
  return ParseFlags(
      [&](CLI::App& app) {
        flags->Declare(app);
        if (files == Files::kOne) AddArgument(app, flags->file, "a folder");
        if (files == Files::kAny) AddArgument(app, flags->files, "files");
      },
      args, environment);
}

TestFlags Parse(const std::vector<std::string>& args, bool environment = false) {
  TestFlags flags;
  EXPECT_EQ(Read(args, &flags, Files::kNone, environment), absl::OkStatus());
  return flags;
}

std::string ErrorOf(const std::vector<std::string>& args, Files files = Files::kNone, bool environment = false) {
  TestFlags flags;
  const absl::Status status = Read(args, &flags, files, environment);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(FlagsTest, ReadsEveryForm) {
  TestFlags flags;
  const absl::Status status =
      Read({"--config", "a b", "--rank=3", "--fast", "--set-x", "k=v", "-", "--set-x=k=w=1", "--", "--heat"}, &flags,
           Files::kAny);
  ASSERT_EQ(status, absl::OkStatus());
  EXPECT_EQ(flags.config, "a b");
  EXPECT_EQ(flags.rank, 3);
  EXPECT_TRUE(flags.fast);
  EXPECT_EQ(flags.heat, std::nullopt);
  EXPECT_THAT(flags.set, ElementsAre("k=v", "k=w=1"));
  EXPECT_THAT(flags.files, ElementsAre("-", "--heat"));
  EXPECT_EQ(Parse({"--config=x"}).rank, 0) << "default";
  EXPECT_EQ(Parse({"--config=x", "--heat", "1.5"}).heat, 1.5);
  EXPECT_EQ(Parse({"--config=x", "--rank=07"}).rank, 7) << "decimal";
  EXPECT_EQ(Parse({"--config", "--rank"}).config, "--rank") << "a value is taken as it is";
  EXPECT_THAT(Parse({"--config=x", "--set-x=", "--set-x", "[a,b]"}).set, ElementsAre("", "[a,b]"));
}

TEST(FlagsTest, MistakesGetOneSentence) {
  EXPECT_EQ(ErrorOf({"--confg", "x"}), "there is no flag --confg: did you mean --config?");
  EXPECT_EQ(ErrorOf({"--confg=x"}), "there is no flag --confg: did you mean --config?");
  EXPECT_EQ(ErrorOf({"--zzzzzz"}), "there is no flag --zzzzzz; --help lists them.");
  EXPECT_EQ(ErrorOf({"---"}), "there is no flag --; --help lists them.");
  EXPECT_THAT(ErrorOf({"-config", "x"}), HasSubstr("did you mean --config?"));
  EXPECT_EQ(ErrorOf({"--config"}), "--config needs a value: expected --config FILE.");
  EXPECT_EQ(ErrorOf({}), "--config FILE is missing: the run's configuration.");
  EXPECT_EQ(ErrorOf({"--config="}), "--config cannot be \"\": expected FILE.");
  EXPECT_EQ(ErrorOf({"--config=", "--rank", "3"}), "--config cannot be \"\": expected FILE.");
  EXPECT_EQ(ErrorOf({"--config=x", "--config=y"}), "--config is given twice: expected it once.");
  EXPECT_EQ(ErrorOf({"--config=x", "--fast=1"}), "--fast takes no value.");
  EXPECT_EQ(ErrorOf({"--config=x", "--rank=8"}), "--rank cannot be \"8\": expected a whole number from 0 to 7.");
  EXPECT_THAT(ErrorOf({"--config=x", "--rank=1.0"}), HasSubstr("a whole number"));
  EXPECT_EQ(ErrorOf({"--config=x", "--heat=nan"}), "--heat cannot be \"nan\": expected a number from 0 to 2.");
  EXPECT_EQ(ErrorOf({"--config=x", "--log-format=xml"}), "--log-format cannot be \"xml\": expected text or json.");
  EXPECT_THAT(ErrorOf({"--config=x", "stray"}), HasSubstr("did not expect \"stray\""));
  EXPECT_EQ(ErrorOf({"--config=x"}, Files::kOne), "expected a folder after the flags.");
  EXPECT_THAT(ErrorOf({"--config=x", "a", "b"}, Files::kOne), HasSubstr("did not expect \"b\""));
}

TEST(FlagsTest, EnvironmentFillsWhatIsNotGiven) {
  setenv("TACTUS_CONFIG", "from-env", 1);
  setenv("TACTUS_RANK", "5", 1);
  setenv("TACTUS_FAST", "true", 1);
  setenv("TACTUS_LOG_FORMAT", "", 1);
  EXPECT_EQ(Parse({}, true).config, "from-env");
  EXPECT_EQ(Parse({}, true).rank, 5);
  EXPECT_EQ(Parse({"--rank=2"}, true).rank, 2) << "the command line wins";
  EXPECT_TRUE(Parse({}, true).fast);
  EXPECT_EQ(Parse({}, true).format, "text") << "empty is as good as unset";
  EXPECT_THAT(ErrorOf({}), HasSubstr("--config FILE is missing")) << "not asked for";
  setenv("TACTUS_RANK", "99", 1);
  EXPECT_EQ(ErrorOf({}, Files::kNone, true),
            "TACTUS_RANK: --rank cannot be \"99\": expected a whole number from 0 to 7.");
  unsetenv("TACTUS_RANK");
  setenv("TACTUS_FAST", "0", 1);
  EXPECT_FALSE(Parse({}, true).fast);
  setenv("TACTUS_FAST", "maybe", 1);
  EXPECT_EQ(ErrorOf({}, Files::kNone, true), "TACTUS_FAST cannot be \"maybe\": expected 1, true, 0 or false.");
  for (const char* name : {"TACTUS_FAST", "TACTUS_CONFIG", "TACTUS_LOG_FORMAT"}) unsetenv(name);
}

TEST(FlagsTest, HelpShowsEveryFlag) {
  TestFlags flags;
  const std::string help = FlagHelp([&flags](CLI::App& app) { flags.Declare(app); });
  EXPECT_THAT(help, HasSubstr("  --config FILE           the run's configuration (required)\n"));
  EXPECT_THAT(help, HasSubstr("  --rank R                this rank [0]\n"));
  EXPECT_THAT(help, HasSubstr("  --heat X                temperature\n"));
  EXPECT_THAT(help, HasSubstr("  --set-x K=V             override (repeatable)\n"));
  EXPECT_THAT(help, HasSubstr("  --fast                  hurry\n"));
  EXPECT_TRUE(AsksForHelp({"a", "-h"}));
  EXPECT_FALSE(AsksForHelp({"a", "--", "--help"}));
}

TEST(FlagsTest, NearestForgivesSlipsOnly) {
  EXPECT_EQ(Nearest("trian", {"train", "report"}), "train");
  EXPECT_EQ(Nearest("xyz", {"train", "report"}), "");
  EXPECT_EQ(Nearest("", {"train"}), "");
  EXPECT_EQ(Nearest(std::string(100000, 'x'), {"train"}), "");
}

}  // namespace
}  // namespace tactus
