#include "common/base/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(StrictJsonTest, HoldsEveryLimit) {
  JsonLimits limits;
  limits.max_bytes = 40;
  limits.max_depth = 3;
  limits.max_values = 5;
  limits.max_string = 4;
  EXPECT_TRUE(ParseStrictJson("[[[1,2]]]", "f", limits).ok());
  EXPECT_TRUE(ParseStrictJson(R"({"abcd":"efgh"})", "f", limits).ok());
  const auto code = [&](const std::string& text) { return ParseStrictJson(text, "f", limits).status().code(); };
  EXPECT_EQ(code("[[[[1]]]]"), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code("[1,2,3,4,5]"), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(R"(["abcde"])"), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(R"({"abcde":1})"), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(std::string(41, ' ')), absl::StatusCode::kResourceExhausted);
}

TEST(StrictJsonTest, DeepNestingDoesNotOverflowTheStack) {
  JsonLimits limits;
  limits.max_bytes = 4 << 20;
  EXPECT_EQ(ParseStrictJson(std::string(3 << 20, '['), "f", limits).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tactus
