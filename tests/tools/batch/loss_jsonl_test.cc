#include "tools/batch/loss_jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json Line() {
  return Json::parse(R"({"id": "x", "estimator": "dr_grpo", "loss": "clip", "agg": "token_mean", "fixed_length": 4,
    "eps_low": 0.2, "eps_high": 0.2, "tis_cap": null, "kl_beta": 0.0, "sign": "v2", "rewards": [1, 0],
    "group_ids": ["g", "g"], "mask": [[1, 1], [1, 0]], "gamma": [[1.5, 1], [1, 1]],
    "logp_new": [[-1, -2], [-3, -4]], "logp_old": [[-1, -2], [-3, -4]], "logp_behav": [[-1, -2], [-3, -4]],
    "logp_ref": [[-1, -2], [-3, -4]]})");
}

absl::Status ErrorOf(const Json& line) { return LossLine(line.dump(), "f:3").status(); }

TEST(LossJsonlTest, ComputesByHand) {
  const auto result = LossLine(Line().dump(), "f");
  ASSERT_TRUE(result.ok()) << result.status();
  const Json out = Json::parse(*result);
  EXPECT_EQ(out["id"], "x");
  EXPECT_EQ(out["advantages"], Json({0.5, -0.5}));
  EXPECT_DOUBLE_EQ(out["loss"].get<double>(), -(0.5 * 1.5 + 0.5 - 0.5) / 3);
  EXPECT_DOUBLE_EQ(out["grad"][0][0].get<double>(), -0.25);
  EXPECT_DOUBLE_EQ(out["grad"][0][1].get<double>(), -0.5 / 3);
  EXPECT_DOUBLE_EQ(out["grad"][1][0].get<double>(), 0.5 / 3);
  EXPECT_EQ(out["grad"][1][1], 0.0);
}

TEST(LossJsonlTest, EveryOptionIsRead) {
  Json line = Line();
  line["loss"] = "cispo";
  line["agg"] = "fixed_length";
  line["sign"] = "none";
  line["tis_cap"] = 2.0;
  line["kl_beta"] = 0.5;
  line["logp_behav"][0][0] = -5;  // weight e^4, capped at 2
  line["logp_ref"][1][0] = -2;    // log ratio 1
  const auto result = LossLine(line.dump(), "f");
  ASSERT_TRUE(result.ok()) << result.status();
  const double terms = -2 * 0.5 * -1 + -0.5 * -2 + 0.5 * -3 + 0.5 * (std::exp(1.0) - 2);
  EXPECT_DOUBLE_EQ(Json::parse(*result)["loss"].get<double>(), terms / 8);
  line["loss"] = "gspo";
  line["agg"] = "seq_mean";
  const auto gspo = LossLine(line.dump(), "f");
  ASSERT_TRUE(gspo.ok()) << gspo.status();
  const double first = (-2 * 0.5 - 0.5) / 2, second = 0.5 + 0.5 * (std::exp(1.0) - 2);
  EXPECT_DOUBLE_EQ(Json::parse(*gspo)["loss"].get<double>(), (first + second) / 2);
}

// Of two tokens, in turns of one each.
Json Conversation() {
  Json line = Line();
  line["estimator"] = "dr_grpo";
  line["sign"] = "none";
  line["rewards"] = {1, 0.5};
  line["turn_rewards"] = {{0.25, 0.75}, {0.5}};
  line["turns"] = {{0, 1}, {0, "anything"}};  // the last one's mask is 0
  return line;
}

TEST(LossJsonlTest, ByTurnEachTokenHasItsTurnsAdvantage) {
  const auto result = LossLine(Conversation().dump(), "f");
  ASSERT_TRUE(result.ok()) << result.status();
  const Json out = Json::parse(*result);
  EXPECT_EQ(out["advantages"], Json({{0.25, 0.0}, Json::array({-0.25})})) << "the second turn is one answer's alone";
  EXPECT_DOUBLE_EQ(out["grad"][0][0].get<double>(), -0.25 / 3);
  EXPECT_EQ(out["grad"][0][1], 0.0);
  EXPECT_DOUBLE_EQ(out["grad"][1][0].get<double>(), 0.25 / 3);
}

TEST(LossJsonlTest, RefusesTurnsThatAreNone) {
  const auto error = [](const char* field, const Json& value) {
    Json line = Conversation();
    line[field] = value;
    return std::string(ErrorOf(line).message());
  };
  EXPECT_THAT(error("turn_rewards", Json({{0.25, 0.75}})), HasSubstr("turn_rewards: expected an array of 2 arrays"));
  EXPECT_THAT(error("turn_rewards", nullptr), HasSubstr("turn_rewards: expected"));
  EXPECT_THAT(error("turn_rewards", Json({{0.25, 0.75}, Json::array()})),
              HasSubstr("turn_rewards[1]: expected an array"));
  EXPECT_THAT(error("turn_rewards", Json({{0.25, 0.5}, {0.5}})),
              HasSubstr("turn_rewards[0]: expected rewards that add up to 1"));
  EXPECT_THAT(error("turns", nullptr), HasSubstr("turns: expected"));
  EXPECT_THAT(error("turns", Json({{0, 2}, {0, 0}})), HasSubstr("turns[0][1]: expected"));
  EXPECT_THAT(error("turns", Json({{0, -1}, {0, 0}})), HasSubstr("turns[0][1]: expected"));
  EXPECT_THAT(error("turns", Json({{0}, {0}})), HasSubstr("turns[0]: expected 2 entries"));
}

TEST(LossJsonlTest, GroupsNeedNotBeAdjacent) {
  Json line = Line();
  line["estimator"] = "rloo";
  line["rewards"] = {1, 5, 0, 5};
  line["group_ids"] = {"a", "b", "a", "b"};
  for (const char* field : {"mask", "gamma", "logp_new", "logp_old", "logp_behav", "logp_ref"}) {
    line[field] = Json::array({{1}, {1}, {1}, {1}});
  }
  const auto result = LossLine(line.dump(), "f");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Json::parse(*result)["advantages"], Json({1.0, 0.0, -1.0, 0.0}));
}

TEST(LossJsonlTest, AnythingMayStandUnderTheMask) {
  const std::string clean = *LossLine(Line().dump(), "f");
  for (const char* garbage : {"NaN", "-Infinity", "Infinity", "null", "1e300", "\"text \\\" NaN\""}) {
    std::string text = Line().dump();
    for (size_t at; (at = text.find("-4")) != std::string::npos;) text.replace(at, 2, garbage);
    const auto result = LossLine(text, "f");
    ASSERT_TRUE(result.ok()) << garbage << ": " << result.status();
    EXPECT_EQ(*result, clean) << garbage;
  }
}

TEST(LossJsonlTest, NonFiniteTrainedValuesAreErrors) {
  for (const char* garbage : {"NaN", "-Infinity", "null", "\"-3\"", "true"}) {
    std::string text = Line().dump();
    text.replace(text.find("[-3", text.find("logp_new")), 3, std::string("[") + garbage);
    EXPECT_THAT(std::string(LossLine(text, "f").status().message()),
                HasSubstr("logp_new[1][0]: expected a finite number"))
        << garbage;
  }
}

TEST(LossJsonlTest, FieldsWithoutEffectMayBeLeftOut) {
  Json line = Line();
  line["sign"] = "none";
  for (const char* field : {"gamma", "logp_behav", "logp_ref", "tis_cap", "fixed_length"}) line.erase(field);
  EXPECT_TRUE(LossLine(line.dump(), "f").ok());
}

TEST(LossJsonlTest, AFieldWithAnEffectMayNot) {
  for (const char* field : {"id", "estimator", "loss", "agg", "eps_low", "eps_high", "kl_beta", "sign", "rewards",
                            "group_ids", "mask", "gamma", "logp_new", "logp_old", "logp_behav", "logp_ref"}) {
    Json line = Line();
    line["tis_cap"] = 2;
    line["kl_beta"] = 1;
    line.erase(field);
    if (std::string(field) == "kl_beta") line["kl_beta"] = nullptr;
    EXPECT_THAT(std::string(ErrorOf(line).message()), AnyOf(HasSubstr(absl::StrCat("key \"", field, "\" is missing")),
                                                            HasSubstr(absl::StrCat("f:3: ", field, ": "))))
        << field;
  }
}

TEST(LossJsonlTest, ErrorsNameTheLineAndTheField) {
  const auto expect = [](const char* field, const Json& value, const char* message) {
    Json line = Line();
    line[field] = value;
    const absl::Status status = ErrorOf(line);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr("f:3")) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << field;
  };
  expect("gama", 1, "unknown key \"gama\"");
  expect("estimator", "gae", "\"reinforce_pp\", \"reinforce_pp_baseline\"");
  expect("clip_dual", -1, "clip_dual: expected a number of at least 0");
  expect("tis_level", "word", "\"token\", \"sequence\", \"geometric\"");
  expect("tis_rule", "drop", "\"truncate\", \"mask\"");
  expect("kl_estimator", "k4", "\"k1\", \"k2\", \"k3\"");
  expect("kl_place", "prompt", "\"loss\", \"reward\"");
  expect("overlong_buffer", 2, "overlong_max");
  expect("truncated", {1}, "truncated: expected an array of 0 or 1, one per reward");
  expect("truncated", {1, 2}, "truncated[1]: expected 0 or 1");
  expect("loss", "ppo", "\"clip\", \"gspo\", \"cispo\"");
  expect("eps_low", "0.2", "eps_low: expected a number of at least 0");
  expect("eps_low", -0.1, "eps_low: expected a number of at least 0");
  expect("rewards", Json::array(), "rewards: expected an array of numbers");
  expect("rewards", {1, "a"}, "rewards[1]: expected a number");
  expect("group_ids", {"g"}, "2 strings");
  expect("group_ids", {"g", 1}, "group_ids[1]: expected a string");
  expect("mask", {{1, 1}, {1}}, "mask[1]: expected 2 entries, found 1");
  expect("mask", {{1, 1}, {1, 2}}, "mask[1][1]: expected 0 or 1");
  expect("mask", {{1, 1}}, "2 rows");
  expect("logp_new", {{1, 1, 1}, {1, 1, 1}}, "logp_new[0]: expected 2 entries, found 3");
  expect("logp_old", {1, 2}, "logp_old[0]: expected an array");
  expect("agg", "fixed", "agg: expected one of \"token_mean\", \"seq_mean\", \"fixed_length\"");
  Json fixed = Line();
  fixed["agg"] = "fixed_length";
  for (const Json& length : {Json(0), Json(1.5), Json(-4), Json("4"), Json(nullptr)}) {
    fixed["fixed_length"] = length;
    EXPECT_THAT(std::string(ErrorOf(fixed).message()), HasSubstr("fixed_length"));
  }
}

TEST(LossJsonlTest, HostileTextIsRefused) {
  for (const std::string& text :
       {std::string("{"), std::string("[1]"), std::string("nul"), std::string("\xff\xfe"), std::string(100000, '['),
        std::string("{\"id\": [[[[1]]]]}"), std::string("\"\\"), std::string("{\"id\": 1e999}")}) {
    EXPECT_FALSE(LossLine(text, "f").ok()) << text.substr(0, 20);
  }
}

TEST(LossJsonlTest, AnOverflowIsAnError) {
  Json line = Line();
  line["logp_new"][1][0] = 2000;  // negative advantage: the ratio is not clipped
  EXPECT_THAT(std::string(ErrorOf(line).message()), HasSubstr("not finite"));
}

TEST(LossJsonlTest, LinesAreNumberedAndBlankOnesSkipped) {
  std::istringstream in(Line().dump() + "\n\n" + Line().dump() + "\n{}\n");
  std::ostringstream out;
  const absl::Status status = LossJsonl(in, out, "in.jsonl");
  EXPECT_THAT(std::string(status.message()), HasSubstr("in.jsonl:4"));
  const std::string line = *LossLine(Line().dump(), "f");
  EXPECT_EQ(out.str(), line + "\n" + line + "\n");
}

TEST(LossJsonlTest, ALineIsBoundedAndMayEndInCrLf) {
  std::istringstream good(Line().dump() + "\r\n\r\n");
  std::ostringstream out;
  EXPECT_TRUE(LossJsonl(good, out, "in.jsonl").ok());
  std::istringstream endless(std::string(kMaxLossLineBytes + 1, ' '));
  const absl::Status status = LossJsonl(endless, out, "in.jsonl");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("in.jsonl:1: expected a line of at most"));
  std::string values = "{\"id\": [";
  for (int i = 0; i < (1 << 22); ++i) values += "1,";
  EXPECT_THAT(std::string(LossLine(values + "1]}", "f").status().message()), HasSubstr("more than 4194304 values"));
}

TEST(LossJsonlTest, NumbersKeepAllTheirDigits) {
  Json line = Line();
  line["rewards"] = {0.1, 1.0 / 3};
  const Json out = Json::parse(*LossLine(line.dump(), "f"));
  EXPECT_EQ(out["advantages"][0].get<double>(), 0.1 - (0.1 + 1.0 / 3) / 2);
}

}  // namespace
}  // namespace tactus
