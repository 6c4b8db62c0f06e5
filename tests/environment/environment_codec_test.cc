#include "common/environment/environment_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "common/data/codec.h"
#include "proto/environment_service.pb.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace v1 = environment::v1;

v1::ScoreReply Reply(const std::vector<double>& parts, v1::Verdict verdict) {
  v1::ScoreReply reply;
  v1::Score& score = *reply.add_scores();
  for (const double value : parts) {
    v1::RewardPart& part = *score.add_parts();
    part.set_name("p");
    part.set_value(value);
  }
  score.set_verdict(verdict);
  score.set_reason("so");
  return reply;
}

TEST(EnvironmentCodec, ARewardIsTheSumOfItsParts) {
  const Reward right = FromWire(Reply({1, 0.25, -0.5}, v1::PASS), 1).value()[0];
  EXPECT_EQ(right.total, 0.75);
  EXPECT_EQ(right.correct, 1);
  EXPECT_EQ(right.format, -0.25);
  EXPECT_EQ(right.reason, "so");
  const Reward wrong = FromWire(Reply({-3}, v1::FAIL), 1).value()[0];
  EXPECT_EQ(wrong.total, -3);
  EXPECT_EQ(wrong.correct, 0);
  EXPECT_EQ(wrong.format, -3);
}

// What a learner takes from an actor, it takes of any reward that an actor takes from a server.
TEST(EnvironmentCodec, TheLearnerTakesWhatTheCodecTakes) {
  for (const double total : {-kMaxEnvironmentReward, -0.1, 0.0, 1e-300, 0.7, kMaxEnvironmentReward}) {
    for (const v1::Verdict verdict : {v1::PASS, v1::FAIL}) {
      const Reward reward = FromWire(Reply({total}, verdict), 1).value()[0];
      EXPECT_GE(reward.format, -kMaxEnvironmentReward - 1);
      EXPECT_LE(reward.format, kMaxEnvironmentReward);
      EXPECT_LE(std::abs(reward.total - reward.correct - reward.format), 1e-9);
    }
  }
}

TEST(EnvironmentCodec, RefusesWhateverIsNoReward) {
  const auto error = [](const std::function<void(v1::ScoreReply&)>& change, size_t answers = 1) {
    v1::ScoreReply reply = Reply({0.5}, v1::PASS);
    change(reply);
    const absl::StatusOr<std::vector<Reward>> rewards = FromWire(reply, answers);
    EXPECT_EQ(rewards.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(rewards.status().message());
  };
  const auto value = [](double number) {
    return [number](v1::ScoreReply& reply) { reply.mutable_scores(0)->mutable_parts(0)->set_value(number); };
  };
  EXPECT_THAT(error(value(std::numeric_limits<double>::quiet_NaN())), HasSubstr("scores[0]: reward part \"p\" is nan"));
  EXPECT_THAT(error(value(std::numeric_limits<double>::infinity())), HasSubstr("is inf; expected a finite number"));
  EXPECT_THAT(error(value(-1.1e6)), HasSubstr("the reward is -1.1e+06"));
  EXPECT_THAT(error([](auto& r) { r.mutable_scores(0)->mutable_parts(0)->clear_value(); }), HasSubstr("has no value"));
  EXPECT_THAT(error([](auto& r) { r.mutable_scores(0)->clear_parts(); }), HasSubstr("has 0 reward parts"));
  EXPECT_THAT(error([](auto& r) {
                for (int i = 0; i < kMaxRewardParts; ++i) r.mutable_scores(0)->add_parts()->set_value(0);
              }),
              HasSubstr("has 17 reward parts"));
  EXPECT_THAT(error([](auto& r) { r.mutable_scores(0)->mutable_parts(0)->set_name(std::string(65, 'n')); }),
              HasSubstr("name has 65 bytes"));
  EXPECT_THAT(error([](auto& r) { r.mutable_scores(0)->clear_verdict(); }), HasSubstr("expected PASS or FAIL"));
  EXPECT_THAT(error([](auto& r) { r.mutable_scores(0)->set_verdict(static_cast<v1::Verdict>(9)); }),
              HasSubstr("has the verdict 9"));
  EXPECT_THAT(error([](auto& r) { r.mutable_scores(0)->set_reason(std::string(257, 'r')); }),
              HasSubstr("reason has 257 bytes"));
  EXPECT_THAT(error([](auto& r) { r.clear_scores(); }),
              HasSubstr("it has 0 scores; expected one for each of 1 answers"));
  EXPECT_THAT(error([](auto&) {}, 2), HasSubstr("it has 1 scores"));
}

TEST(EnvironmentCodec, AQuestionIsValidText) {
  const std::vector<TokenId> prompt = {1, 2}, ids = {7, 8, 9};
  const std::vector<Answer> answers = {{.text = "caf\xc3", .token_ids = ids, .truncated = true},
                                       {.text = "", .token_ids = ids, .undecodable = true}};
  const v1::ScoreRequest request =
      ToWire({.text = "Q\xff", .token_ids = prompt, .answer_key = {"k\0\xff", 3}}, answers);
  EXPECT_EQ(request.prompt(), "Q\uFFFD");
  EXPECT_THAT(request.prompt_token_ids(), ElementsAre(1, 2));
  EXPECT_EQ(request.answer_key(), std::string("k\0\xff", 3)) << "bytes stay as they are";
  ASSERT_EQ(request.completions_size(), 2);
  EXPECT_EQ(request.completions(0).text(), "caf\uFFFD");
  EXPECT_THAT(request.completions(0).token_ids(), ElementsAre(7, 8, 9));
  EXPECT_TRUE(request.completions(0).truncated());
  EXPECT_FALSE(request.completions(0).undecodable());
  EXPECT_TRUE(request.completions(1).undecodable());
}

TEST(EnvironmentCodec, ChecksDescriptionsAndPrompts) {
  v1::Description description;
  EXPECT_THAT(std::string(FromWire(description).status().message()), HasSubstr("kind is 0; expected SINGLE_TURN"));
  description.set_kind(v1::CONVERSATION);
  EXPECT_TRUE(FromWire(description)->conversations);
  description.set_kind(v1::SINGLE_TURN);
  EXPECT_FALSE(FromWire(description)->conversations);
  description.set_max_calls(4'000'000'000);
  EXPECT_GT(FromWire(description)->max_calls, 0);
  v1::EnvironmentPrompt prompt;
  EXPECT_THAT(std::string(FromWire(prompt).status().message()), HasSubstr("id has 0 bytes"));
  prompt.set_id("a\n");
  EXPECT_THAT(std::string(FromWire(prompt).status().message()), HasSubstr("prompt \"a\\n\" is empty"));
  prompt.set_prompt("Why?");
  prompt.set_answer_key(std::string(kMaxAnswerKeyBytes + 1, 'x'));
  EXPECT_THAT(std::string(FromWire(prompt).status().message()), HasSubstr("answer_key has 65537 bytes"));
  prompt.set_answer_key("42");
  const NamedExample example = FromWire(prompt).value();
  EXPECT_EQ(example.id, "a\n");
  EXPECT_EQ(example.example.user, "Why?");
  EXPECT_EQ(example.example.answer_key_json, "42");
  EXPECT_EQ(example.example.tools_json, "");
  prompt.set_tools("[{}]");
  EXPECT_EQ(FromWire(prompt)->example.tools_json, "[{}]");
  prompt.set_tools(std::string(kMaxAnswerKeyBytes + 1, 'x'));
  EXPECT_THAT(std::string(FromWire(prompt).status().message()), HasSubstr("tools has 65537 bytes"));
}

}  // namespace
}  // namespace tactus
