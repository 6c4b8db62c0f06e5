#include "common/base/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

TEST(StrictJsonTest, ParsesAndKeepsKeyOrder) {
  const auto json = ParseStrictJson(R"({"b":[1,2.5,null,true],"a":{"b":"x"}})", "f.json");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->dump(), R"({"b":[1,2.5,null,true],"a":{"b":"x"}})");
}

TEST(StrictJsonTest, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "{}x", "{\"a\":}", "[1,]", "nan", "\"\xff\"", "[1e999]"}) {
    const auto json = ParseStrictJson(text, "f.json");
    EXPECT_EQ(json.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(json.status().message()), HasSubstr("f.json: not valid JSON")) << text;
  }
}

TEST(StrictJsonTest, RefusesAKeyTwiceInOneObjectOnly) {
  EXPECT_TRUE(ParseStrictJson(R"({"a":{"a":1},"b":{"a":1}})", "f").ok());
  EXPECT_THAT(std::string(ParseStrictJson(R"([{"x":{"a":1,"b":2,"a":1}}])", "f").status().message()),
              HasSubstr("key \"a\" stands twice"));
}

TEST(StrictJsonTest, ShowsTheBeginningOfALongKey) {
  const std::string key(100'000, 'k');
  const absl::Status status = ParseJson(absl::StrCat("{\"", key, "\":1,\"", key, "\":2}"), "f").status();
  EXPECT_EQ(status.message(), absl::StrCat("f: key \"", key.substr(0, 100), "\" stands twice in one object"));
}

TEST(StrictJsonTest, ReadsWhatEditorsAndPythonAdd) {
  EXPECT_EQ(ParseJson("\xEF\xBB\xBF{\"a\":\r\n1}\r\n", "f")->dump(), "{\"a\":1}");
  EXPECT_FALSE(ParseJson("{\xEF\xBB\xBF}", "f").ok()) << "a byte order mark stands first";
  const nlohmann::json json = *ParseJson("[NaN, {\"NaN\": [-Infinity,Infinity]}, \"NaN\", \"\\\"Infinity\", 1]", "f");
  EXPECT_TRUE(std::isnan(json[0].get<double>()));
  EXPECT_EQ(json[1]["NaN"][0].get<double>(), -HUGE_VAL);
  EXPECT_EQ(json[1]["NaN"][1].get<double>(), HUGE_VAL);
  EXPECT_EQ(json[2], "NaN");
  EXPECT_EQ(json[3], "\"Infinity");
  EXPECT_EQ(json[4], 1);
  EXPECT_TRUE(std::isnan((*ParseStrictJson("{\"a\":NaN}", "f"))["a"].get<double>()));
  EXPECT_EQ(ParseJson("{\"a\":NaN,\n\"b\":-Infinity,x}", "f").status().message(),
            "f: not valid JSON at line 2, byte 15")
      << "the place in the text as it came";
  for (const char* text : {"nan", "Inf", "NaNs", "-NaN", "+Infinity", "{NaN:1}", "\"\x01\"", "[NaN"}) {
    EXPECT_FALSE(ParseJson(text, "f").ok()) << text;
  }
}

TEST(StrictJsonTest, NamesThePlaceOfAMistake) {
  EXPECT_EQ(ParseJson("{\"a\":x}", "f").status().message(), "f: not valid JSON at byte 6");
  EXPECT_EQ(ParseJson("{\n \"a\": 1,\n \"b\":x}", "f").status().message(), "f: not valid JSON at line 3, byte 6");
}

TEST(StrictJsonTest, HoldsEveryLimit) {
  JsonLimits limits;
  limits.max_bytes = 40;
  limits.max_depth = 3;
  limits.max_values = 5;
  limits.max_string = 4;
  EXPECT_TRUE(ParseStrictJson("[[[1,2]]]", "f", limits).ok());
  EXPECT_TRUE(ParseStrictJson(R"({"abcd":"efgh"})", "f", limits).ok());
  const auto error = [&](const std::string& text) { return ParseStrictJson(text, "f", limits).status(); };
  EXPECT_EQ(error("[[[[1]]]]"), absl::InvalidArgumentError("f: more than 3 nested levels"));
  EXPECT_EQ(error("[1,2,3,4,5]"), absl::InvalidArgumentError("f: more than 5 values"));
  EXPECT_EQ(error(R"(["abcde"])"), absl::InvalidArgumentError("f: more than 4 bytes in one string"));
  EXPECT_EQ(error(R"({"abcde":1})"), absl::InvalidArgumentError("f: more than 4 bytes in one string"));
  EXPECT_EQ(error(std::string(41, ' ')), absl::InvalidArgumentError("f: 41 bytes of JSON, more than the limit of 40"));
}

TEST(StrictJsonTest, DeepNestingDoesNotOverflowTheStack) {
  JsonLimits limits;
  limits.max_bytes = 4 << 20;
  EXPECT_EQ(ParseStrictJson(std::string(3 << 20, '['), "f", limits).status(),
            absl::InvalidArgumentError("f: more than 32 nested levels"));
}

}  // namespace
}  // namespace tactus
