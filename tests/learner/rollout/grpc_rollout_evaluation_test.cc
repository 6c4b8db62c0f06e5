// Held-out prompts between those of the training, over loopback.
#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr int kSamples = 1;  // half of those to a prompt of the training: twice as many prompts are leased

struct GrpcEvaluation : RolloutFixture {
  static RolloutServerOptions Options(int staleness = 0) {
    RolloutServerOptions options = ServerOptions(staleness);
    options.evaluation_samples = kSamples;
    return options;
  }
  absl::Status Begin(PolicyVersion version, size_t prompts) const {
    auto held_out = std::make_shared<std::vector<Prompt>>();
    for (uint64_t row = 0; row < prompts; ++row) held_out->push_back(MakePrompt(row));
    return server->BeginEvaluation(
        {.version = version, .sets = {{.name = "", .prompts = held_out, .samples = kSamples}}, .seed = 1});
  }
};

TEST_F(GrpcEvaluation, HeldOutPromptsGoFirstAndTheirAnswersComeBackApart) {
  StartServer(Options());
  const auto port = Attach("a");
  ASSERT_TRUE(Begin({0, 0}, 3).ok());
  AddPrompts();
  const std::vector<PromptLease> held_out = Lease(*port, 4, {0, 0});
  ASSERT_EQ(held_out.size(), 3u);
  for (const PromptLease& lease : held_out) EXPECT_TRUE(lease.evaluation.has_value());
  const std::vector<PromptLease> training = Lease(*port, 4, {0, 0});
  ASSERT_EQ(training.size(), 4u);
  for (const PromptLease& lease : training) EXPECT_FALSE(lease.evaluation.has_value());
  EXPECT_FALSE(server->AwaitEvaluation(kShort));
  for (const PromptLease& lease : held_out) EXPECT_TRUE(port->Submit(MakeGroup(lease, "a", {0, 0}), kLong).ok());
  EXPECT_TRUE(server->AwaitEvaluation(kLong));
  const std::optional<EvalResult> result = server->TakeEvaluation();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->sets.at(0).answers.size(), 3u);
  for (const PromptLease& lease : training) EXPECT_TRUE(port->Submit(MakeGroup(lease, "a", {0, 0}), kLong).ok());
  EXPECT_THAT(Ids(server->TakeGroups(4, kLong)), testing::ElementsAre(0, 1, 2, 3));
  const LedgerCounters counters = server->Counters();
  EXPECT_TRUE(counters.Balanced());
  EXPECT_EQ(counters.received, 4) << "and no held-out one";
  EXPECT_EQ(counters.leases_granted, 4);
}

// Synchronous: the step is trained, and its version waits for the round that a lost actor has left unfinished. The
// other actor, which would be sent for newer weights that it can't have yet, stays and answers.
TEST_F(GrpcEvaluation, WhatALostActorHeldIsAnsweredByOneThatStillHoldsTheVersion) {
  StartServer(Options());
  auto lost = Attach("lost");
  ASSERT_TRUE(Begin({0, 0}, 2).ok());
  ASSERT_EQ(Lease(*lost, 2, {0, 0}).size(), 2u);
  const auto port = Attach("a");
  AddPrompts();
  for (const PromptLease& lease : Lease(*port, 4, {0, 0})) {
    EXPECT_TRUE(port->Submit(MakeGroup(lease, "a", {0, 0}), kLong).ok());
  }
  ASSERT_EQ(Ids(server->TakeGroups(4, kLong)).size(), 4u);
  ASSERT_TRUE(server->SetTrained({0, 1}).ok());
  const auto nothing = port->Lease(2, {0, 0}, kShort);
  EXPECT_FALSE(absl::IsFailedPrecondition(nothing.status())) << nothing.status();
  lost.reset();
  const std::vector<PromptLease> again = Lease(*port, 2, {0, 0});
  ASSERT_EQ(again.size(), 2u);
  for (const PromptLease& lease : again) EXPECT_TRUE(port->Submit(MakeGroup(lease, "a", {0, 0}), kLong).ok());
  EXPECT_TRUE(server->AwaitEvaluation(kLong));
  EXPECT_EQ(server->TakeEvaluation()->given_up, "");
  const auto refused = port->Lease(2, {0, 0}, kLong);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << "nothing keeps it any more: " << refused.status();
}

TEST_F(GrpcEvaluation, AnActorHearsThatItsRoundIsOver) {
  StartServer(Options());
  const auto port = Attach("a");
  ASSERT_TRUE(Begin({0, 0}, 1).ok());
  const PromptLease lease = Lease(*port, 1, {0, 0}).at(0);
  server->GiveUpEvaluation("as the test says");
  EXPECT_TRUE(server->AwaitEvaluation(kShort));
  EXPECT_THAT(server->TakeEvaluation()->given_up, HasSubstr("0 of 1 prompts were answered; as the test says"));
  EXPECT_TRUE(absl::IsNotFound(port->Submit(MakeGroup(lease, "a", {0, 0}), kLong)));
  EXPECT_EQ(server->ProtocolViolations(), 0);
}

TEST_F(GrpcEvaluation, AnEndingLearnerBeginsNoMore) {
  StartServer(Options());
  ASSERT_TRUE(Begin({0, 0}, 1).ok());
  server->EndEvaluations();
  EXPECT_TRUE(server->TakeEvaluation().has_value());
  ASSERT_TRUE(Begin({0, 0}, 1).ok());
  EXPECT_TRUE(server->AwaitEvaluation(absl::ZeroDuration()));
}

TEST_F(GrpcEvaluation, ARoundThatDoesNotFitTheRunIsRefused) {
  StartServer(ServerOptions());
  EXPECT_THAT(std::string(Begin({0, 0}, 1).message()), HasSubstr("a held-out set with 1 samples; expected at most 0"));
}

}  // namespace
}  // namespace tactus
