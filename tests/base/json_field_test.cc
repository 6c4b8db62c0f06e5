#include "common/base/json_field.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace tactus {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

const json kDocument = json::parse(R"({"s": "x", "b": true, "i": -3, "n": 1.5, "big": 18446744073709551615,
    "ids": [0, 2147483647], "bad_ids": [1, -1], "o": {"a": [{"b": 1}]}, "null": null, "strings": ["a", ""]})");

class JsonFieldTest : public ::testing::Test {
 protected:
  JsonField At(const char* key) const { return *root_.Member(key); }
  JsonField root_{kDocument, "f.json"};
};

TEST_F(JsonFieldTest, ReadsEveryType) {
  EXPECT_EQ(*At("s").String(), "x");
  EXPECT_EQ(*At("b").Bool(), true);
  EXPECT_EQ(*At("none").BoolOr(true), true);
  EXPECT_EQ(*At("i").Integer(), -3);
  EXPECT_EQ(*At("i").IntegerIn(-3, 0), -3);
  EXPECT_EQ(*At("n").Number(), 1.5);
  EXPECT_EQ(*At("i").Number(), -3);
  EXPECT_THAT(*At("ids").Indices(), ElementsAre(0, 2147483647));
  EXPECT_EQ(*At("big").Unsigned(), 18446744073709551615u);
  EXPECT_THAT(*At("bad_ids").Numbers(), ElementsAre(1, -1));
  EXPECT_THAT(*At("strings").Strings(), ElementsAre("a", ""));
  EXPECT_EQ(*At("s").Id(), "\"x\"");
  EXPECT_EQ(*At("i").Id(), "-3");
  EXPECT_TRUE(At("null").is_null());
  EXPECT_TRUE(At("none").is_null());
}

TEST_F(JsonFieldTest, ErrorsNameSourceAndPath) {
  const auto message = [](const auto& value) { return std::string(value.status().message()); };
  EXPECT_EQ(message(At("i").String()), "f.json: i: expected a string");
  EXPECT_EQ(message(At("none").String()), "f.json: none: expected a string");
  EXPECT_EQ(message(At("s").Bool()), "f.json: s: expected true or false");
  for (const char* key : {"n", "big", "s", "null"}) {
    EXPECT_EQ(message(At(key).Integer()), absl::StrCat("f.json: ", key, ": expected a 64-bit integer"));
  }
  EXPECT_EQ(message(At("i").IntegerIn(0, 5)), "f.json: i: expected an integer from 0 to 5");
  EXPECT_EQ(message(At("s").Number()), "f.json: s: expected a number");
  EXPECT_EQ(message(At("i").Unsigned()), "f.json: i: expected an integer of at least 0");
  EXPECT_EQ(message(At("o").Indices()), "f.json: o: expected an array");
  EXPECT_EQ(message(At("strings").Numbers()), "f.json: strings[0]: expected a number");
  EXPECT_EQ(message(At("ids").Strings()), "f.json: ids[0]: expected a string");
  EXPECT_EQ(message(At("bad_ids").Indices()), "f.json: bad_ids[1]: expected an integer from 0 to 2147483647");
  EXPECT_EQ(message(At("n").Id()), "f.json: n: expected a string or an integer");
  EXPECT_EQ(message(At("o").Member("a")->Element(0).Member("b")->String()), "f.json: o.a[0].b: expected a string");
  EXPECT_EQ(message(At("s").Member("a")), "f.json: s: expected an object");
}

TEST(JsonField, ReadsANumberAsTextWhereItKeepsEveryDigit) {
  const auto text = [](const char* written) {
    const json value = json::parse(written);
    const auto read = JsonField(value, "f").StringOrNumber();
    return read.ok() ? *read : "expected";
  };
  EXPECT_EQ(text("\"Paris\""), "Paris");
  EXPECT_EQ(text("72"), "72");
  EXPECT_EQ(text("-7"), "-7");
  EXPECT_EQ(text("0.1"), "0.1");
  EXPECT_EQ(text("-12.50"), "-12.5");
  EXPECT_EQ(text("18446744073709551615"), "18446744073709551615");
  for (const char* written :
       {"18446744073709551616", "0.12345678901234567", "1e30", "1e-9", "true", "null", "[1]", "{}"}) {
    EXPECT_EQ(text(written), "expected") << written;
  }
}

TEST_F(JsonFieldTest, ANumberThatIsUsedIsFinite) {
  const json object = {{"n", std::nan("")}, {"list", {1, HUGE_VAL}}};
  const JsonField field(object, "f");
  EXPECT_EQ(field.Member("n")->Number().status().message(), "f: n: expected a number");
  EXPECT_EQ(field.Member("n")->Integer().status().message(), "f: n: expected a 64-bit integer");
  EXPECT_EQ(field.Member("list")->Numbers().status().message(), "f: list[1]: expected a number");
}

TEST_F(JsonFieldTest, ChecksKeys) {
  const json object = {{"a", 1}, {"b", nullptr}};
  const JsonField field(object, "f.jsonl:2");
  EXPECT_TRUE(field.CheckKeys({"a", "b"}).ok());
  EXPECT_TRUE(field.CheckKeys({"a"}, {"b", "c"}).ok());
  EXPECT_EQ(field.CheckKeys({"a"}).message(), "f.jsonl:2: unknown key \"b\", expected a");
  EXPECT_EQ(field.CheckKeys({"a", "c"}, {"b"}).message(), "f.jsonl:2: key \"c\" is missing, expected a, c, b");
  EXPECT_TRUE(field.CheckHas({"b"}).ok());
  EXPECT_EQ(field.CheckHas({"a", "c"}).message(), "f.jsonl:2: key \"c\" is missing, expected a, c");
  const json array = json::array();
  EXPECT_EQ(JsonField(array, "f").CheckHas({"a"}).message(), "f: expected a JSON object with the keys a");
  EXPECT_EQ(JsonField(array, "f").CheckKeys({"a"}).message(), "f: expected a JSON object with the keys a");
}

}  // namespace
}  // namespace tactus
