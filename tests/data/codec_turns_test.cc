// Conversations on the wire: which tokens are the model's, and what the others may carry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "common/data/codec.h"
#include "common/data/turns.h"
#include "proto/trajectory.pb.h"
#include "tests/data/group_builder.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TrajectoryLimits Limits() {
  TrajectoryLimits limits = kTestLimits;
  limits.max_turns = 3;
  limits.min_credit = 1;
  limits.max_credit = 1.5F;
  return limits;
}

// Nine tokens: three of the model's, two of the environment's, three of the model's, one and none.
TrajectoryGroup Conversation() {
  PromptLease lease;
  lease.lease_id = 7;
  lease.prompt = MakePrompt(5);
  lease.completions_wanted = 2;
  TrajectoryGroup group = MakeGroup(lease, "actor-1", {1, 4}, 9);
  Completion& completion = group.completions[1];
  completion.turns = {{0, 3, 0.25}, {5, 3, 0.5}};
  completion.turns.push_back({8 + 1, 1, 0.3});
  completion.token_ids.push_back(11);
  for (std::vector<float>* values : {&completion.logprobs, &completion.entropy, &completion.credit}) {
    values->push_back(1);
    for (const int between : {3, 4, 8}) (*values)[static_cast<size_t>(between)] = 0;
  }
  completion.logprobs.back() = -1;
  completion.reward = {1.05, 1, 0.05, "solved"};
  return group;
}

TEST(CodecTurns, AConversationKeepsItsTurns) {
  const TrajectoryGroup in = Conversation();
  const absl::StatusOr<TrajectoryGroup> out = DecodeGroup(EncodeGroup(in), Limits());
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_TRUE(out->completions[0].turns.empty()) << "the other one is none";
  EXPECT_EQ(out->completions[1].turns, in.completions[1].turns);
  EXPECT_EQ(out->completions[1].credit, in.completions[1].credit);
}

TEST(CodecTurns, OneThatIsNoneHasTheBytesItAlwaysHad) {
  TrajectoryGroup group = Conversation();
  group.completions.pop_back();
  wire::TrajectoryGroup read;
  ASSERT_TRUE(read.ParseFromString(EncodeGroup(group)));
  EXPECT_EQ(read.completions(0).turn_start_tokens_size() + read.completions(0).turn_tokens_size() +
                read.completions(0).turn_rewards_size(),
            0);
}

TEST(CodecTurns, RefusesTurnsThatAreNone) {
  const auto error = [](const std::function<void(Completion&)>& change, int max_turns = 3) {
    TrajectoryGroup group = Conversation();
    change(group.completions[1]);
    TrajectoryLimits limits = Limits();
    limits.max_turns = max_turns;
    return std::string(DecodeGroup(EncodeGroup(group), limits).status().message());
  };
  EXPECT_EQ(error([](Completion&) {}), "");
  EXPECT_THAT(error([](Completion&) {}, 2), HasSubstr("completions[1].turns has 3 turns; expected at most 2"));
  EXPECT_THAT(error([](Completion& c) { c.turns[0] = {1, 2, 0.25}; }), HasSubstr("turns[0] starts at token 1"));
  EXPECT_THAT(error([](Completion& c) {
                c.turns[1] = {3, 5, 0.5};
              }),
              HasSubstr("turns[1] starts at token 3"))
      << "nothing of the environment's between two turns";
  EXPECT_THAT(error([](Completion& c) { c.turns[1] = {-9, 3, 0.5}; }), HasSubstr("turns[1] starts at token -9"));
  EXPECT_THAT(error([](Completion& c) { c.turns[1].num_tokens = 0; }), HasSubstr("turns[1] has no token"));
  EXPECT_THAT(error([](Completion& c) { c.turns[2].num_tokens = 2'000'000'000; }), HasSubstr("of 10"));
  EXPECT_THAT(error([](Completion& c) { c.turns.pop_back(); }), HasSubstr("turns end at token 8 of 10"));
  EXPECT_THAT(error([](Completion& c) { c.turns[1].reward = 0.6; }), HasSubstr("expected the sum over the turns"));
  EXPECT_THAT(error([](Completion& c) { c.turns[1].reward = std::numeric_limits<double>::quiet_NaN(); }),
              HasSubstr("turns[1].reward must be a finite number"));
  EXPECT_THAT(error([](Completion& c) { c.logprobs[3] = -1; }),
              HasSubstr("logprobs[3] is -1; expected a finite number in [0, 0]"));
  EXPECT_THAT(error([](Completion& c) { c.entropy[8] = 0.5; }), HasSubstr("entropy[8] is 0.5"));
  EXPECT_THAT(error([](Completion& c) { c.credit[4] = 1; }), HasSubstr("credit[4] is 1"));
  EXPECT_THAT(error([](Completion& c) { c.credit[5] = 0; }), HasSubstr("credit[5] is 0"))
      << "of the model's a credit of 0 is as wrong as ever";
}

TEST(CodecTurns, TheRhythmIsThatOfTheModelsTokens) {
  TrajectoryGroup group = Conversation();
  AddRhythm(group);
  RhythmRecord& rhythm = *group.completions[1].rhythm;
  const auto error = [&] { return std::string(DecodeGroup(EncodeGroup(group), Limits()).status().message()); };
  EXPECT_THAT(error(), HasSubstr("rhythm.waad[3] is 9; expected a finite number in [0, 0]"));
  for (const size_t between : {3, 4, 8}) rhythm.waad[between] = 0;
  EXPECT_THAT(error(), HasSubstr("rhythm.fai[3] is 0.1875"));
  for (const size_t between : {3, 4, 8}) rhythm.fai[between] = 0;
  const absl::StatusOr<TrajectoryGroup> out = DecodeGroup(EncodeGroup(group), Limits());
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->completions[1].rhythm, rhythm);
}

TEST(CodecTurns, TheLargestGroupFitsItsStatedBound) {
  TrajectoryLimits limits = kTestLimits;
  limits.max_turns = 16;
  PromptLease lease;
  lease.prompt = MakePrompt(5);
  lease.completions_wanted = 2;
  TrajectoryGroup plain = MakeGroup(lease, "a", {1, 4}, 32), group = plain;
  for (Completion& completion : group.completions) {
    for (int t = 0; t < 32; t += 2) completion.turns.push_back({1 << 30, 1 << 30, 0.1});
  }
  TrajectoryLimits without = limits;
  without.max_turns = 0;
  // The three columns' own tags and lengths are in what every message has room for.
  const size_t columns = group.completions.size() * 3 * 6;
  EXPECT_LE(EncodeGroup(group).size() - EncodeGroup(plain).size(),
            MaxGroupBytes(limits) - MaxGroupBytes(without) + columns);
}

TEST(Turns, TellWhichTokensWereSampled) {
  const Completion completion = Conversation().completions[1];
  EXPECT_EQ(SampledTokens(completion), 7);
  EXPECT_EQ(SampledBetween(completion, 2, 6), 2);
  EXPECT_EQ(SampledBetween(completion, 3, 5), 0);
  const std::vector<int> values = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<int> sampled = OfSampled(completion.turns, std::span<const int>(values));
  EXPECT_THAT(sampled, ElementsAre(0, 1, 2, 5, 6, 7, 9));
  EXPECT_THAT(AmongTokens(completion.turns, std::span<const int>(sampled), 10),
              ElementsAre(0, 1, 2, 0, 0, 5, 6, 7, 0, 9));
  EXPECT_EQ(OfSampled({}, std::span<const int>(values)), values);
  const std::vector<int32_t> places = PlacesOf(completion.turns, 10);
  EXPECT_EQ(places, sampled);
  EXPECT_EQ(PlacesOf({}, 10), values);
  std::vector<size_t> starts;
  for (size_t i = 1; i < places.size(); ++i) {
    if (!GoesOn(places, i)) starts.push_back(i);
  }
  EXPECT_THAT(starts, ElementsAre(3, 6));
  EXPECT_TRUE(GoesOn({}, 3));
}

TEST(TurnsAtTest, IsTheInverseOfPlacesOf) {
  const std::vector<Turn> turns = {{.start_token = 0, .num_tokens = 2}, {.start_token = 5, .num_tokens = 1}};
  const std::vector<int32_t> places = PlacesOf(turns, 6);
  const std::optional<std::vector<Turn>> back = TurnsAt(places, 6);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(PlacesOf(*back, 6), places);
  ASSERT_EQ(back->size(), 2u);
  EXPECT_EQ((*back)[1].start_token, 5);
  EXPECT_EQ((*back)[1].num_tokens, 1);
}

TEST(TurnsAtTest, RefusesWhatIsNoConversation) {
  using Places = std::vector<int32_t>;
  for (const Places& bad : {Places{}, Places{1, 2}, Places{0, 1}, Places{0, 0, 2}, Places{2, 1, 0}, Places{-1, 0, 1, 2},
                            Places{0, 3}, Places{0, 2, 1, 2}}) {
    EXPECT_FALSE(TurnsAt(bad, 3).has_value()) << bad.size();
  }
  EXPECT_TRUE(TurnsAt(Places{0, 2}, 3).has_value());
  EXPECT_FALSE(TurnsAt(Places{}, 0).has_value());
}

}  // namespace
}  // namespace tactus
