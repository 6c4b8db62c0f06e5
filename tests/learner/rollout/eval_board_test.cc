// Held-out prompts on their way to the actors and back, against the rules that eval_board.h states.
#include "learner/rollout/eval_board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/group_builder.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr PolicyVersion kVersion{2, 40};
constexpr PolicyVersion kNewer{2, 41};
constexpr EvaluationSampling kGreedy{.temperature = 0, .top_p = 0.5F, .top_k = 3};
constexpr size_t kPrompts = 5;
constexpr int kSamples = 3;

absl::Duration At(double seconds) { return absl::Seconds(seconds); }

struct EvalBoardTest : ::testing::Test {
  void Begin(PolicyVersion version = kVersion) {
    auto prompts = std::make_shared<std::vector<Prompt>>();
    for (uint64_t i = 0; i < kPrompts; ++i) prompts->push_back(MakePrompt(7 * i));  // rows: some are left out
    board.Begin({.version = version,
                 .sets = {{.name = "", .prompts = prompts, .samples = kSamples, .sampling = kGreedy}},
                 .seed = 9},
                At(0));
  }
  std::vector<PromptLease> Lease(const std::string& actor, int count, double now = 0) {
    return board.Lease(actor, count, kVersion, At(now));
  }
  absl::Status Answer(const PromptLease& lease, const std::string& actor, double now = 1) {
    return board.Submit(MakeGroup(lease, actor, kVersion), At(now));
  }

  EvalBoard board{{.lease_timeout = absl::Seconds(10), .max_attempts = 2}};
};

TEST_F(EvalBoardTest, EveryPromptIsAnsweredOnceAndTheResultIsInTheirOrder) {
  EXPECT_FALSE(board.open());
  EXPECT_THAT(Lease("a", 8), IsEmpty()) << "no round";
  Begin();
  std::vector<PromptLease> first = Lease("a", 2), rest = Lease("b", 8);
  ASSERT_EQ(first.size(), 2u);
  ASSERT_EQ(rest.size(), kPrompts - 2);
  EXPECT_FALSE(board.PromptsWait());
  EXPECT_EQ(board.LeasesOf("a"), 2);
  for (const PromptLease& lease : first) {
    EXPECT_TRUE(IsEvaluation(lease.lease_id));
    EXPECT_EQ(lease.completions_wanted, kSamples);
    EXPECT_EQ(lease.seed, 9u);
    EXPECT_EQ(lease.version, kVersion);
    EXPECT_EQ(lease.evaluation, kGreedy);
    EXPECT_EQ(lease.timeout_s, 10);
  }
  for (auto lease = rest.rbegin(); lease != rest.rend(); ++lease) ASSERT_TRUE(Answer(*lease, "b").ok());
  EXPECT_FALSE(board.TakeResult().has_value());
  ASSERT_TRUE(Answer(first[1], "a").ok());
  ASSERT_TRUE(Answer(first[1], "a").ok()) << "a repeat, as its acknowledgement was lost";
  EXPECT_TRUE(board.open()) << "which is no answer to another";
  ASSERT_TRUE(Answer(first[0], "a", 2.5).ok());
  EXPECT_FALSE(board.open());
  const std::optional<EvalResult> result = board.TakeResult();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->given_up, "");
  EXPECT_EQ(result->version, kVersion);
  EXPECT_EQ(result->took, At(2.5));
  ASSERT_EQ(result->sets.size(), 1u);
  const std::vector<TrajectoryGroup>& answers = result->sets[0].answers;
  ASSERT_EQ(answers.size(), kPrompts);
  for (uint64_t i = 0; i < kPrompts; ++i) {
    EXPECT_EQ(answers[i].prompt_id, 7 * i);
    EXPECT_EQ(answers[i].completions.size(), static_cast<size_t>(kSamples));
    EXPECT_EQ(answers[i].completions[0].token_ids.size(), 4u);
  }
  EXPECT_FALSE(board.TakeResult().has_value());
}

TEST_F(EvalBoardTest, OnlyWhoHoldsTheVersionIsAsked) {
  Begin();
  EXPECT_THAT(board.Lease("a", 8, kNewer, At(0)), IsEmpty());
  EXPECT_THAT(board.Lease("a", 8, {2, 39}, At(0)), IsEmpty());
  EXPECT_THAT(board.Lease("a", 8, {1, 40}, At(0)), IsEmpty()) << "another incarnation's";
  EXPECT_TRUE(board.Measures(kVersion));
  EXPECT_FALSE(board.Measures(kNewer));
  EXPECT_EQ(Lease("a", 8).size(), kPrompts);
}

TEST_F(EvalBoardTest, ALeaseThatNobodyRenewsGoesToAnother) {
  Begin();
  const std::vector<PromptLease> leases = Lease("a", 2);
  EXPECT_THAT(board.Renew("a", std::vector{leases[0].lease_id}, At(6)), IsEmpty());
  EXPECT_THAT(board.Renew("b", std::vector{leases[0].lease_id}, At(6)), testing::ElementsAre(leases[0].lease_id));
  EXPECT_THAT(board.Expire(At(9.9)), IsEmpty());
  const std::vector<LeaseInfo> expired = board.Expire(At(10));
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].lease_id, leases[1].lease_id);
  EXPECT_EQ(expired[0].actor_id, "a");
  EXPECT_TRUE(absl::IsNotFound(Answer(leases[1], "a")));
  EXPECT_THAT(board.Renew("a", std::vector{leases[1].lease_id}, At(11)), testing::ElementsAre(leases[1].lease_id));
  const std::vector<PromptLease> again = Lease("b", 1, 11);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].prompt.id, leases[1].prompt.id) << "the first that waits";
  EXPECT_NE(again[0].lease_id, leases[1].lease_id);
  EXPECT_TRUE(Answer(again[0], "b").ok());
  EXPECT_EQ(board.Expire(At(16)).size(), 1u) << "its renewal";
}

TEST_F(EvalBoardTest, WhatALostActorHeldWaitsAgain) {
  Begin();
  const std::vector<PromptLease> lost = Lease("a", 3), others = Lease("b", 1);
  EXPECT_EQ(board.ReturnLeases("a", std::vector{lost[1].lease_id}, At(1)).size(), 2u) << "it came back with one";
  EXPECT_EQ(board.LeasesOf("a"), 1);
  EXPECT_EQ(board.LeasesOf("b"), 1);
  EXPECT_EQ(Lease("b", 8).size(), 3u);
  EXPECT_TRUE(Answer(lost[1], "a").ok());
  EXPECT_TRUE(absl::IsNotFound(Answer(lost[0], "a")));
}

TEST_F(EvalBoardTest, APromptThatKeepsFailingEndsTheRoundWithoutANumber) {
  Begin();
  for (int attempt = 0; attempt < 2; ++attempt) {
    ASSERT_TRUE(board.open());
    ASSERT_EQ(Lease("a", 1).size(), 1u);
    ASSERT_EQ(board.ReturnLeases("a", {}, At(attempt)).size(), 1u);
  }
  EXPECT_FALSE(board.open());
  EXPECT_FALSE(board.PromptsWait());
  const std::optional<EvalResult> result = board.TakeResult();
  ASSERT_TRUE(result.has_value());
  EXPECT_THAT(result->given_up, HasSubstr("0 of 5 prompts were answered; held-out prompt 0 had 2 leases"));
  EXPECT_THAT(result->sets, IsEmpty());
}

// Two prompts of one answer and three of four, at another temperature.
TEST_F(EvalBoardTest, SetsOfOneRoundHaveTheirOwnSamplesAndSampling) {
  const auto prompts = [](uint64_t first, uint64_t count) {
    auto made = std::make_shared<std::vector<Prompt>>();
    for (uint64_t i = 0; i < count; ++i) made->push_back(MakePrompt(first + i));
    return made;
  };
  const EvalRound round{.version = kVersion,
                        .sets = {{.name = "", .prompts = prompts(0, 2), .samples = 1, .sampling = kGreedy},
                                 {.name = "hard", .prompts = prompts(0, 3), .samples = 4, .sampling = {}}},
                        .seed = 9};
  board.Begin(round, At(0));
  const std::vector<PromptLease> leases = Lease("a", 8);
  ASSERT_EQ(leases.size(), 5u);
  EXPECT_EQ(board.AnswersAwaitedOf("a"), 2 * 1 + 3 * 4);
  EXPECT_EQ(board.AnswersAwaitedOf("b"), 0);
  for (size_t i = 0; i < leases.size(); ++i) {
    EXPECT_EQ(leases[i].prompt.id, i < 2 ? i : i - 2);
    EXPECT_EQ(leases[i].completions_wanted, i < 2 ? 1 : 4);
    EXPECT_EQ(leases[i].evaluation, i < 2 ? kGreedy : EvaluationSampling{});
  }
  PromptLease as_hard = leases[0];
  as_hard.completions_wanted = 4;
  EXPECT_THAT(std::string(Answer(as_hard, "a").message()), HasSubstr("has 4 completions; expected 1"));
  for (size_t i : {4, 1, 2, 0, 3}) ASSERT_TRUE(Answer(leases[i], "a").ok());
  std::optional<EvalResult> result = board.TakeResult();
  ASSERT_TRUE(result.has_value());
  ASSERT_EQ(result->sets.size(), 2u);
  EXPECT_EQ(result->sets[0].set, "");
  EXPECT_EQ(result->sets[0].answers.size(), 2u);
  EXPECT_EQ(result->sets[1].set, "hard");
  ASSERT_EQ(result->sets[1].answers.size(), 3u);
  EXPECT_EQ(result->sets[1].answers[2].completions.size(), 4u);
  board.Begin(round, At(2));  // and one of which only the second set is answered in time
  for (const PromptLease& lease : Lease("a", 8, 2)) {
    if (lease.completions_wanted == 1) continue;
    ASSERT_TRUE(Answer(lease, "a", 3).ok());
  }
  board.GiveUp("it is late", At(4));
  result = board.TakeResult();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->given_up, "3 of 5 prompts were answered; it is late");
  ASSERT_EQ(result->sets.size(), 1u);
  EXPECT_EQ(result->sets[0].set, "hard");
}

TEST_F(EvalBoardTest, ANewRoundTakesNothingOfTheOneBefore) {
  Begin();
  const std::vector<PromptLease> old = Lease("a", 2);
  ASSERT_TRUE(Answer(old[0], "a").ok());
  Begin(kNewer);
  const std::optional<EvalResult> result = board.TakeResult();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->version, kVersion);
  EXPECT_THAT(result->given_up, HasSubstr("1 of 5 prompts were answered; version 2.41 is measured instead"));
  EXPECT_TRUE(absl::IsNotFound(Answer(old[1], "a"))) << "late";
  EXPECT_TRUE(absl::IsNotFound(Answer(old[0], "a"))) << "a repeat of what counts no more";
  std::vector<PromptLease> leases = board.Lease("a", 8, kNewer, At(1));
  ASSERT_EQ(leases.size(), kPrompts);
  EXPECT_NE(leases[0].lease_id, old[0].lease_id);
}

TEST_F(EvalBoardTest, AForgedAnswerIsRefusedAndTheLeaseStaysOut) {
  Begin();
  const PromptLease lease = Lease("a", 1)[0];
  const auto refused = [&](TrajectoryGroup group, const char* why) {
    const absl::Status status = board.Submit(std::move(group), At(1));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << why;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  };
  const TrajectoryGroup good = MakeGroup(lease, "a", kVersion);
  TrajectoryGroup forged = good;
  forged.actor_id = "b";
  refused(forged, "another actor");
  forged = good;
  forged.prompt_id += 7;
  refused(forged, "another prompt");
  forged = good;
  forged.prompt_token_ids.push_back(1);
  refused(forged, "another prompt");
  forged = good;
  forged.completions.pop_back();
  refused(forged, "has 2 completions; expected 3");
  forged = good;
  forged.completions[2].versions = {{0, kNewer}};
  refused(forged, "not wholly of version 2.40");
  forged = good;
  forged.completions[0].versions = {{0, kVersion}, {2, kNewer}};
  refused(forged, "not wholly of version 2.40");
  forged.completions[0].versions = {};
  refused(forged, "not wholly of version 2.40");
  EXPECT_EQ(board.LeasesOf("a"), 1);
  EXPECT_TRUE(board.Submit(good, At(1)).ok());
}

}  // namespace
}  // namespace tactus
