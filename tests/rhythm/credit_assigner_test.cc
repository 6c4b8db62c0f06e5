// From a resolved configuration to credit; the weights themselves are tested in credit_test.cc.
#include "common/rhythm/credit_assigner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/config/run_config.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

using config::CreditOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

CreditOptions Options(const std::vector<std::string>& overrides) {
  return config::ParseRunConfig("model { path: 'm' } task { name: 'countdown' } service { plaintext: true }", "test",
                                overrides)
      ->credit();
}

TEST(CreditAssignerTest, EachStrategyHasItsWeights) {
  // FAI, Delta, receiver score and entropy each peak at a token of their own.
  const std::vector<float> entropy = {0, 9, 0, 0, 0, 0};
  const std::vector<double> flow = {0.1, 0, 0.2, 0, 0, 0.5}, worth = {1, 1, 0, 2, 2, 0};
  Rhythm rhythm;
  rhythm.waad = {1, 1, 1, 1, 1, 1};
  rhythm.delta = {2, 2, 9, 2, 0.5, 2};
  rhythm.fai = {1, 2, 3, 9, 0.5, 0};
  rhythm.receiver = {9, 1, 1, 1, 1, 0};
  rhythm.receiver_heads = {0};
  rhythm.eligible = {0, 1, 2, 3, 4};
  const std::vector<std::pair<std::string, std::vector<float>>> cases = {
      {"UNIFORM", {1, 1, 1, 1, 1, 1}},       {"ENTROPY", {1, 1.5, 1, 1, 1, 1}},
      {"LOCAL_CHUNK", {1, 1, 1.5, 1, 1, 1}}, {"GLOBAL_ANCHOR", {1, 1, 1, 1.5, 1, 1}},
      {"COUPLED", {1, 1, 1.25, 1.25, 1, 1}}, {"BOTTOM_DELTA", {1, 1, 1, 1, 1.5, 1}},
      {"BOTTOM_FAI", {1, 1, 1, 1, 1.5, 1}},  {"RECEIVER", {1.5, 1, 1, 1, 1, 1}},
      {"FLOW", {1, 1, 1, 1, 1, 1.5}},        {"VINE", {1, 1, 1, 1.5, 1, 1}},
  };
  ASSERT_EQ(cases.size() + 1, static_cast<size_t>(CreditOptions::Strategy_descriptor()->value_count())) << "and RANDOM";
  for (const auto& [strategy, expected] : cases) {
    const auto credit = CreditAssigner::FromProto(
        Options({"credit.strategy=" + strategy, "credit.q=0.2", "credit.head_mode=CALIBRATED"}));
    ASSERT_TRUE(credit.ok()) << credit.status();
    EXPECT_EQ(credit->Weights({.entropy = entropy, .rhythm = &rhythm, .flow = flow, .worth = worth}), expected)
        << strategy;
    EXPECT_EQ(credit->TracesFlow(), strategy == "FLOW");
    EXPECT_EQ(credit->vine().has_value(), strategy == "VINE");
  }
  const auto random = CreditAssigner::FromProto(Options({"credit.strategy=RANDOM", "credit.q=0.2"}));
  EXPECT_THAT(random->Weights({.entropy = entropy}), ::testing::Contains(1.5f).Times(1));
}

TEST(CreditAssignerTest, CoupledTakesItsParameters) {
  const std::vector<float> entropy(6, 0.0f);
  Rhythm rhythm;
  rhythm.waad = {5, 5, 1, 1, 2, 2};
  rhythm.delta = {0, 4, 0, 1, 0, 0};
  rhythm.fai = {0, 0, 0, 9, 0, 0};
  rhythm.eligible = {0, 1, 2, 3, 4, 5};
  const auto weights = [&](std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), {"credit.strategy=COUPLED", "credit.q=0.2", "credit.amplification=2"});
    return CreditAssigner::FromProto(Options(overrides))->Weights({.entropy = entropy, .rhythm = &rhythm});
  };
  EXPECT_THAT(weights({}), ElementsAre(1, 1.5, 1, 1.5, 1, 1));
  EXPECT_THAT(weights({"credit.alpha=0.25"}), ElementsAre(1, 1.25, 1, 1.75, 1, 1));
  EXPECT_THAT(weights({"credit.lookback_tokens=1", "credit.delta_quantile=0.9"}), ElementsAre(1, 1, 1, 2, 1, 1));
  EXPECT_THAT(weights({"credit.delta_quantile=1"}), ElementsAre(1, 1.5, 1, 1.5, 1, 1)) << "equality is enough";
  rhythm.waad[3] = 3;  // above the median, and not above the largest
  EXPECT_THAT(weights({}), ElementsAre(1, 1, 1, 2, 1, 1));
  EXPECT_THAT(weights({"credit.waad_quantile=1"}), ElementsAre(1, 1.5, 1, 1.5, 1, 1));
}

TEST(CreditAssignerTest, ControlsAreConfigured) {
  const auto weights = [](std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), {"credit.strategy=ENTROPY", "credit.q=0.5", "credit.amplification=3"});
    const CreditAssigner credit = *CreditAssigner::FromProto(Options(overrides));
    const std::vector<float> entropy = {9, 8, 0, 0};
    const std::vector<TokenKind> kinds = {TokenKind::kWord, TokenKind::kNumber, TokenKind::kWord, TokenKind::kNumber};
    EXPECT_EQ(credit.ReadsKinds(), !overrides[0].empty() && overrides[0].find("KIND") != std::string::npos);
    return credit.Weights({.seed = 5, .entropy = entropy, .kinds = kinds});
  };
  EXPECT_THAT(weights({"credit.normalize=false"}), ElementsAre(3, 3, 1, 1));
  EXPECT_THAT(weights({"credit.normalize=true"}), ElementsAre(1.5, 1.5, 0.5, 0.5));
  EXPECT_THAT(weights({"credit.shuffle=POSITION"}), ElementsAre(3, 3, 1, 1)) << "each is a tenth of its own";
  for (const char* shuffle : {"KIND", "POSITION_AND_KIND"}) {
    const std::vector<float> dealt = weights({absl::StrCat("credit.shuffle=", shuffle)});
    EXPECT_EQ(dealt[0] + dealt[2], 4) << shuffle;
    EXPECT_EQ(dealt[1] + dealt[3], 4) << shuffle;
  }
  EXPECT_TRUE(CreditAssigner::FromProto(Options({"credit.ignore_first_token=true"}))->Probe(30, 9)->ignore_first_token);
}

TEST(CreditAssignerTest, SaysWhatMustBeMeasured) {
  EXPECT_FALSE(CreditAssigner::FromProto(Options({"credit.strategy=ENTROPY"}))->MeasuresAttention());
  EXPECT_TRUE(
      CreditAssigner::FromProto(Options({"credit.strategy=ENTROPY", "credit.measure=true"}))->MeasuresAttention());
  const CreditAssigner credit = *CreditAssigner::FromProto(
      Options({"credit.strategy=COUPLED", "credit.window_tokens=5", "credit.horizon_min_tokens=4",
               "credit.horizon_max_tokens=0", "credit.head_share=0.2", "credit.receiver_share=0.25",
               "credit.audit_share=0.5", "credit.layers=3,29"}));
  EXPECT_TRUE(credit.MeasuresAttention());
  EXPECT_EQ(credit.rhythm_options().window_tokens, 5);
  EXPECT_EQ(credit.rhythm_options().horizon_min_tokens, 4);
  EXPECT_EQ(credit.rhythm_options().horizon_max_tokens, RhythmOptions::kToTheEnd);
  EXPECT_EQ(credit.rhythm_options().head_share.FloorOf(10), 2);
  EXPECT_EQ(credit.rhythm_options().receiver_share.FloorOf(8), 2);
  EXPECT_EQ(credit.audit_share().FloorOf(10), 5);
  EXPECT_THAT(credit.Probe(30, 9)->layers, ElementsAre(3, 29));
  EXPECT_EQ(credit.Probe(30, 9)->flow_row_entries, 0);
  EXPECT_FALSE(credit.Probe(30, 9)->ignore_first_token);
  const CreditAssigner flow =
      *CreditAssigner::FromProto(Options({"credit.strategy=FLOW", "credit.head_mode=CALIBRATED",
                                          "credit.flow_row_entries=7", "credit.flow_answer_tokens=3"}));
  EXPECT_EQ(flow.Probe(30, 9)->flow_row_entries, 7);
  EXPECT_EQ(flow.flow_options().answer_tokens, 3);
  const CreditAssigner vine =
      *CreditAssigner::FromProto(Options({"credit.strategy=VINE", "credit.vine_positions=5", "credit.vine_samples=3"}));
  EXPECT_FALSE(vine.MeasuresAttention());
  EXPECT_EQ(vine.vine()->positions, 5);
  EXPECT_EQ(vine.vine()->samples, 3);
  EXPECT_EQ(std::string(credit.Probe(29, 9).status().message()),
            "credit.layers holds 29: expected layers from 0 to 28, as the model has 29.");
}

TEST(CreditAssignerTest, RefusesMoreHeadsThanATrajectoryMayCarry) {
  std::string layers = "0";
  for (int layer = 1; layer < 65; ++layer) absl::StrAppend(&layers, ",", layer);
  const CreditAssigner credit = *CreditAssigner::FromProto(Options({"credit.layers=" + layers}));
  EXPECT_TRUE(credit.Probe(80, 126).ok());  // 65 * 126 = 8190
  EXPECT_EQ(std::string(credit.Probe(80, 128).status().message()),
            "credit.layers gives 65 layers: expected at most 64, as the model has 128 heads a layer and a completion "
            "carries at most 8192.");
}

TEST(CreditAssignerTest, CalibratesWhatItMeasures) {
  const auto heads = [](const std::vector<std::string>& overrides) {
    return CreditAssigner::FromProto(Options(overrides))->CalibratedHeads(30, 9);
  };
  EXPECT_EQ(*heads({"credit.strategy=COUPLED"}), 0);
  EXPECT_EQ(*heads({"credit.strategy=COUPLED", "credit.head_mode=CALIBRATED"}), 45);
  EXPECT_EQ(*heads({"credit.head_mode=CALIBRATED", "credit.measure=true", "credit.layers=3,29"}), 18);
  EXPECT_EQ(*heads({"credit.strategy=ENTROPY", "credit.head_mode=CALIBRATED"}), 0);
  EXPECT_THAT(
      std::string(
          heads({"credit.strategy=COUPLED", "credit.head_mode=CALIBRATED", "credit.layers=30"}).status().message()),
      HasSubstr("credit.layers holds 30"));
}

TEST(CreditAssignerTest, NamesTheFieldOfAMistake) {
  CreditOptions options = Options({});
  options.set_receiver_share("1.5");
  const auto share = CreditAssigner::FromProto(options);
  EXPECT_EQ(share.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(share.status().message()), HasSubstr("credit.receiver_share"));
}

}  // namespace
}  // namespace tactus
