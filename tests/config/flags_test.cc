#include "common/config/flags.h"

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr FlagSpec kSpecs[] = {
    {.name = "config", .value = "FILE", .help = "the run's configuration", .required = true},
    {.name = "rank", .type = FlagType::kInt, .value = "R", .help = "this rank", .fallback = "0", .min = 0, .max = 7},
    {.name = "heat", .type = FlagType::kDouble, .value = "X", .help = "temperature", .min = 0, .max = 2},
    {.name = "fast", .type = FlagType::kSwitch, .help = "hurry"},
    {.name = "set-x", .value = "K=V", .help = "override", .repeated = true},
};

absl::StatusOr<Flags> Parse(const std::vector<std::string>& args, const FlagRules& rules = {}) {
  return Flags::Parse(kSpecs, args, rules);
}
std::string ErrorOf(const std::vector<std::string>& args, const FlagRules& rules = {}) {
  const absl::StatusOr<Flags> flags = Parse(args, rules);
  EXPECT_EQ(flags.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(flags.status().message());
}

TEST(FlagsTest, ReadsEveryForm) {
  const Flags flags =
      Parse({"--config", "a b", "--rank=3", "--fast", "--set-x", "k=v", "--set-x=k=w=1", "-", "--", "--heat"},
            {.max_positional = 2})
          .value();
  EXPECT_EQ(flags.Text("config"), "a b");
  EXPECT_EQ(flags.Int("rank"), 3);
  EXPECT_TRUE(flags.On("fast"));
  EXPECT_FALSE(flags.Has("heat"));
  EXPECT_THAT(flags.All("set-x"), ElementsAre("k=v", "k=w=1"));
  EXPECT_THAT(flags.positional(), ElementsAre("-", "--heat"));
  EXPECT_EQ(Parse({"--config=x"})->Int("rank"), 0) << "default";
  EXPECT_EQ(Parse({"--config=x", "--heat", "1.5"})->Double("heat"), 1.5);
}

TEST(FlagsTest, MistakesGetOneSentence) {
  EXPECT_EQ(ErrorOf({"--confg", "x"}), "there is no flag --confg: did you mean --config?");
  EXPECT_EQ(ErrorOf({"--zzzzzz"}), "there is no flag --zzzzzz; --help lists them.");
  EXPECT_THAT(ErrorOf({"-config", "x"}), HasSubstr("did you mean --config?"));
  EXPECT_THAT(ErrorOf({"--config"}), HasSubstr("--config needs a value"));
  EXPECT_THAT(ErrorOf({}), HasSubstr("--config FILE is missing"));
  EXPECT_THAT(ErrorOf({"--config="}), HasSubstr("--config cannot be \"\""));
  EXPECT_THAT(ErrorOf({"--config=x", "--config=y"}), HasSubstr("given twice"));
  EXPECT_THAT(ErrorOf({"--config=x", "--fast=1"}), HasSubstr("takes no value"));
  EXPECT_THAT(ErrorOf({"--config=x", "--rank=8"}), HasSubstr("a whole number from 0 to 7"));
  EXPECT_THAT(ErrorOf({"--config=x", "--rank=1.0"}), HasSubstr("a whole number"));
  EXPECT_THAT(ErrorOf({"--config=x", "--heat=nan"}), HasSubstr("a number from 0 to 2"));
  EXPECT_THAT(ErrorOf({"--config=x", "stray"}), HasSubstr("did not expect \"stray\""));
  EXPECT_THAT(ErrorOf({"--config=x"}, {.min_positional = 1, .max_positional = 1, .positional = "a folder"}),
              HasSubstr("expected a folder"));
}

TEST(FlagsTest, EnvironmentFillsWhatIsNotGiven) {
  setenv("TACTUS_CONFIG", "from-env", 1);
  setenv("TACTUS_RANK", "5", 1);
  setenv("TACTUS_FAST", "true", 1);
  const FlagRules rules = {.environment = true};
  EXPECT_EQ(Parse({}, rules)->Text("config"), "from-env");
  EXPECT_EQ(Parse({}, rules)->Int("rank"), 5);
  EXPECT_EQ(Parse({"--rank=2"}, rules)->Int("rank"), 2) << "the command line wins";
  EXPECT_TRUE(Parse({}, rules)->On("fast"));
  EXPECT_THAT(ErrorOf({}), HasSubstr("--config FILE is missing")) << "not asked for";
  setenv("TACTUS_RANK", "99", 1);
  EXPECT_THAT(ErrorOf({}, rules), HasSubstr("TACTUS_RANK"));
  unsetenv("TACTUS_RANK");
  setenv("TACTUS_FAST", "maybe", 1);
  EXPECT_THAT(ErrorOf({}, rules), HasSubstr("TACTUS_FAST cannot be \"maybe\""));
  unsetenv("TACTUS_FAST");
  unsetenv("TACTUS_CONFIG");
}

TEST(FlagsTest, HelpShowsEveryFlag) {
  const std::string help = FlagHelp(kSpecs);
  EXPECT_THAT(help, HasSubstr("  --config FILE           the run's configuration (required)\n"));
  EXPECT_THAT(help, HasSubstr("[0]"));
  EXPECT_THAT(help, HasSubstr("(repeatable)"));
}

TEST(FlagsTest, NearestForgivesSlipsOnly) {
  EXPECT_EQ(Nearest("trian", {"train", "report"}), "train");
  EXPECT_EQ(Nearest("xyz", {"train", "report"}), "");
  EXPECT_EQ(Nearest("", {"train"}), "");
  EXPECT_EQ(Nearest(std::string(100000, 'x'), {"train"}), "");
}

}  // namespace
}  // namespace tactus
