// Scenarios of the ledger: crash, duplicate, late, stale, out of order; S = 0, 1, 2; snapshot, restore, replay.
#include "learner/ledger/rollout_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/learner/ledger/ledger_helpers.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

struct LedgerTest : ::testing::Test {
  void TearDown() override { EXPECT_TRUE(ledger.counters().Balanced()); }
  RolloutLedger ledger{Options(0)};
  uint64_t next_id = 0;
};

TEST_F(LedgerTest, OneStep) {
  Fill(ledger, next_id);
  EXPECT_EQ(ledger.Add(MakePrompt(next_id)).code(), absl::StatusCode::kResourceExhausted);
  const std::vector<PromptLease> leases = Lease(ledger, "a", 4, {0, 0});
  ASSERT_EQ(leases.size(), 4u);
  EXPECT_EQ(leases[2].prompt.id, 2u);
  EXPECT_EQ(leases[2].completions_wanted, 2);
  EXPECT_EQ(leases[2].seed, 11u);
  EXPECT_EQ(leases[2].timeout_s, 100);
  EXPECT_EQ(ledger.Lease("b", 1, {0, 0}, kStart).status().code(), absl::StatusCode::kResourceExhausted);
  for (int i : {3, 0, 2, 1}) EXPECT_TRUE(Answer(ledger, leases[static_cast<size_t>(i)], "a", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(4)), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(ledger.View().taken, 4);
  EXPECT_EQ(ledger.View().free_slots, 0);
  ASSERT_TRUE(ledger.SetVersion({0, 1}).ok());
  ASSERT_TRUE(ledger.Release(4).ok());
  EXPECT_EQ(ledger.View().free_slots, 4);
  EXPECT_EQ(ledger.counters().trained, 4);
  EXPECT_EQ(ledger.counters().queued, 0);
}

TEST_F(LedgerTest, PromptsComeInOrderAndSomeMayBePassedOver) {
  EXPECT_TRUE(ledger.Add(MakePrompt(1)).ok());
  EXPECT_EQ(ledger.Add(MakePrompt(0)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ledger.Add(MakePrompt(1)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(ledger.Add(MakePrompt(4)).ok());
  EXPECT_EQ(ledger.View().open, 2);
  EXPECT_EQ(ledger.View().added, 2);
  const LedgerSnapshot snapshot = ledger.Snapshot().value();
  EXPECT_EQ(snapshot.next_prompt_id, 5u);
  EXPECT_THAT(snapshot.open_prompt_ids, ElementsAre(1, 4));
  RolloutLedger after(Options(0));
  ASSERT_TRUE(after.Restore(snapshot, {MakePrompt(1), MakePrompt(4)}, 1).ok());
  EXPECT_EQ(after.Add(MakePrompt(4)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(after.Add(MakePrompt(9)).ok());
  EXPECT_EQ(after.View().added, 3);
}

TEST_F(LedgerTest, TheBatchDoesNotDependOnWhoAnsweredWhen) {
  Fill(ledger, next_id);
  const std::vector<PromptLease> slow = Lease(ledger, "slow", 1, {0, 0});
  const std::vector<PromptLease> fast = Lease(ledger, "fast", 3, {0, 0});
  for (const PromptLease& lease : fast) EXPECT_TRUE(Answer(ledger, lease, "fast", {0, 0}).ok());
  EXPECT_TRUE(ledger.Take(3).empty()) << "three are ready, but not the three that were admitted first";
  EXPECT_TRUE(Answer(ledger, slow[0], "slow", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(3)), ElementsAre(0, 1, 2));
  EXPECT_THAT(PromptIds(ledger.Take(1)), ElementsAre(3));
}

TEST_F(LedgerTest, DuplicateIsAcknowledgedAndChangesNothing) {
  Fill(ledger, next_id);
  const std::vector<PromptLease> leases = Lease(ledger, "a", 1, {0, 0});
  EXPECT_TRUE(Answer(ledger, leases[0], "a", {0, 0}).ok());
  EXPECT_TRUE(Answer(ledger, leases[0], "a", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(1)), ElementsAre(0));
  EXPECT_TRUE(Answer(ledger, leases[0], "a", {0, 0}).ok()) << "also once taken";
  ASSERT_TRUE(ledger.Release(1).ok());
  EXPECT_TRUE(Answer(ledger, leases[0], "a", {0, 0}).ok()) << "also once trained";
  EXPECT_EQ(ledger.counters().accepted, 1);
  EXPECT_EQ(ledger.counters()[RejectReason::kDuplicate], 3);
}

TEST_F(LedgerTest, LateAnswerIsRefusedAndThePromptIsNextInLine) {
  Fill(ledger, next_id);
  const std::vector<PromptLease> lost = Lease(ledger, "a", 2, {0, 0});
  EXPECT_TRUE(ledger.Expire(kStart + absl::Seconds(99)).empty());
  EXPECT_EQ(ledger.Expire(kStart + absl::Seconds(100)).size(), 2u);
  EXPECT_EQ(Answer(ledger, lost[0], "a", {0, 0}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ledger.counters()[RejectReason::kExpired], 1);
  const std::vector<PromptLease> again = Lease(ledger, "b", 2, {0, 0});
  EXPECT_EQ(again[0].prompt.id, 0u);
  EXPECT_EQ(again[1].prompt.id, 1u);
  EXPECT_NE(again[0].lease_id, lost[0].lease_id);
  EXPECT_EQ(Answer(ledger, lost[0], "a", {0, 0}).code(), absl::StatusCode::kNotFound) << "also when leased again";
  EXPECT_TRUE(Answer(ledger, again[0], "b", {0, 0}).ok());
}

TEST_F(LedgerTest, LostActorsLeasesReturnExceptThoseItKeeps) {
  Fill(ledger, next_id);
  const std::vector<PromptLease> leases = Lease(ledger, "a", 3, {0, 0});
  Lease(ledger, "b", 1, {0, 0});
  const uint64_t keep[] = {leases[1].lease_id};
  EXPECT_EQ(ledger.ReturnLeases("a", keep).size(), 2u);
  EXPECT_EQ(ledger.LeasesOf("a"), 1);
  EXPECT_EQ(ledger.LeasesOf("b"), 1);
  EXPECT_TRUE(Answer(ledger, leases[1], "a", {0, 0}).ok());
  EXPECT_EQ(Answer(ledger, leases[0], "a", {0, 0}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ledger.counters().leases_returned, 2);
}

TEST_F(LedgerTest, AnswerMustMatchItsLease) {
  Fill(ledger, next_id);
  const PromptLease lease = Lease(ledger, "a", 1, {0, 0})[0];
  const auto refused = [&](auto spoil) {
    TrajectoryGroup group = MakeGroup(lease, "a", {0, 0});
    spoil(group);
    EXPECT_EQ(ledger.Submit(group).code(), absl::StatusCode::kInvalidArgument);
  };
  refused([](TrajectoryGroup& g) { g.actor_id = "b"; });
  refused([](TrajectoryGroup& g) { g.prompt_id = 1; });
  refused([](TrajectoryGroup& g) { g.prompt_token_ids[0] = 400; });
  refused([](TrajectoryGroup& g) { g.completions.pop_back(); });
  refused([](TrajectoryGroup& g) { g.completions[1].versions.clear(); });
  refused([](TrajectoryGroup& g) { g.completions[1].versions[0].version.incarnation = 1; });
  ledger.CountMalformed();
  EXPECT_EQ(ledger.counters()[RejectReason::kMalformed], 7);
  EXPECT_TRUE(Answer(ledger, lease, "a", {0, 0}).ok()) << "the lease is still out";
}

TEST_F(LedgerTest, WeightsThatActorsCannotHaveYetAgeTheOthersAllTheSame) {
  ASSERT_TRUE(ledger.SetTrained({0, 1}).ok());
  EXPECT_FALSE(ledger.SetTrained({0, 1}).ok());
  EXPECT_EQ(ledger.published(), (PolicyVersion{0, 0}));
  Fill(ledger, next_id);
  EXPECT_EQ(ledger.Lease("a", 1, {0, 0}, kStart).status().code(), absl::StatusCode::kFailedPrecondition)
      << "synchronous: too old already";
  ASSERT_TRUE(ledger.SetVersion({0, 1}).ok());
  EXPECT_FALSE(ledger.SetVersion({0, 1}).ok());
  EXPECT_EQ(Lease(ledger, "a", 1, {0, 1}).size(), 1u);

  RolloutLedger ahead(Options(1));
  uint64_t id = 0;
  Fill(ahead, id);
  for (const PromptLease& lease : Lease(ahead, "a", 4, {0, 0})) ASSERT_TRUE(Answer(ahead, lease, "a", {0, 0}).ok());
  ASSERT_EQ(ahead.Take(4).size(), 4u);
  ASSERT_TRUE(ahead.SetTrained({0, 1}).ok());
  ASSERT_TRUE(ahead.Release(4).ok());
  Fill(ahead, id);
  EXPECT_EQ(Lease(ahead, "a", 8, {0, 0}).size(), 4u) << "as many as the next step can train in time";
  EXPECT_EQ(ahead.Lease("a", 1, {0, 0}, kStart).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(ahead.SetTrained({0, 2}).ok());
  ASSERT_TRUE(ahead.SetVersion({0, 1}).ok()) << "publishing may be behind";
  EXPECT_EQ(ahead.version(), (PolicyVersion{0, 2}));
}

TEST_F(LedgerTest, JudgeChangesNothing) {
  Fill(ledger, next_id);
  const PromptLease lease = Lease(ledger, "a", 1, {0, 0})[0];
  EXPECT_FALSE(ledger.Judge(MakeGroup(lease, "a", {0, 0})).rejected.has_value());
  EXPECT_EQ(ledger.counters().received, 0);
  EXPECT_EQ(ledger.View().leased, 1);
}

TEST_F(LedgerTest, OnlyTheNewestVersionLeasesWhenSynchronous) {
  ASSERT_TRUE(ledger.SetVersion({0, 7}).ok());
  EXPECT_FALSE(ledger.SetVersion({0, 7}).ok());
  Fill(ledger, next_id);
  EXPECT_EQ(ledger.Lease("a", 1, {0, 6}, kStart).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ledger.Lease("a", 1, {1, 7}, kStart).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(ledger.Lease("a", 1, {0, 7}, kStart).ok());
  EXPECT_EQ(ledger.Lease("a", 0, {0, 7}, kStart).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LedgerTest, AStepIsTakenInPortionsInAdmissionOrder) {
  Fill(ledger, next_id);
  const std::vector<PromptLease> leases = Lease(ledger, "a", 4, {0, 0});
  ASSERT_TRUE(Answer(ledger, leases[1], "a", {0, 0}).ok());
  EXPECT_TRUE(ledger.Take(4, 1).empty()) << "it is not the next";
  ASSERT_TRUE(Answer(ledger, leases[0], "a", {0, 0}).ok());
  EXPECT_TRUE(ledger.Take(4, 3).empty());
  EXPECT_THAT(PromptIds(ledger.Take(4, 1)), ElementsAre(0, 1));
  EXPECT_TRUE(ledger.Take(2, 1).empty());
  ASSERT_TRUE(Answer(ledger, leases[2], "a", {0, 0}).ok());
  ASSERT_TRUE(Answer(ledger, leases[3], "a", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(1, 1)), ElementsAre(2)) << "no more than wanted";
  EXPECT_THAT(PromptIds(ledger.Take(1, 1)), ElementsAre(3));
  EXPECT_TRUE(ledger.Release(4).ok());
}

TEST_F(LedgerTest, WhatAStepLeavesIsTakenAgain) {
  Fill(ledger, next_id);
  const std::vector<PromptLease> leases = Lease(ledger, "a", 4, {0, 0});
  for (size_t i = 0; i < 3; ++i) ASSERT_TRUE(Answer(ledger, leases[i], "a", {0, 0}).ok());
  std::vector<TrajectoryGroup> first = ledger.Take(2, 1), second = ledger.Take(2, 1);
  ASSERT_EQ(first.size() + second.size(), 3u);
  EXPECT_FALSE(ledger.Snapshot().ok());
  EXPECT_EQ(ledger.PutBack(first).code(), absl::StatusCode::kFailedPrecondition) << "others were taken later";
  EXPECT_EQ(ledger.View().taken, 3);
  ASSERT_TRUE(ledger.PutBack(std::move(second)).ok());
  ASSERT_TRUE(ledger.PutBack(first).ok());
  EXPECT_EQ(ledger.PutBack(std::move(first)).code(), absl::StatusCode::kFailedPrecondition) << "they are back";
  EXPECT_EQ(ledger.View().ready, 3);
  EXPECT_EQ(ledger.Snapshot()->ready.size(), 3u);
  EXPECT_TRUE(ledger.counters().Balanced());
  EXPECT_THAT(PromptIds(ledger.Take(4, 1)), ElementsAre(0, 1, 2));
}

TEST_F(LedgerTest, ReleaseTakesNoMoreThanWasTaken) {
  EXPECT_EQ(ledger.Release(1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(LedgerAsync, LeasesWhileTheLearnerTrains) {
  RolloutLedger ledger(Options(1));
  uint64_t next_id = 0;
  Fill(ledger, next_id);
  EXPECT_EQ(next_id, 8u);
  const std::vector<PromptLease> first = Lease(ledger, "a", 4, {0, 0});
  for (const PromptLease& lease : first) ASSERT_TRUE(Answer(ledger, lease, "a", {0, 0}).ok());
  ASSERT_EQ(ledger.Take(4).size(), 4u);
  const std::vector<PromptLease> second = Lease(ledger, "a", 8, {0, 0});
  EXPECT_EQ(second.size(), 4u) << "granted while the first four are taken";
  ASSERT_TRUE(ledger.SetVersion({0, 1}).ok());
  ASSERT_TRUE(ledger.Release(4).ok());
  Fill(ledger, next_id);
  EXPECT_FALSE(ledger.Lease("a", 1, {0, 0}, kStart).ok()) << "what it would make is one step old at birth";
  const std::vector<PromptLease> third = Lease(ledger, "a", 4, {0, 1});
  for (const PromptLease& lease : third) ASSERT_TRUE(Answer(ledger, lease, "a", {0, 1}).ok());
  EXPECT_TRUE(ledger.Take(4).empty()) << "the second four are on their last chance and must go first";
  for (const PromptLease& lease : second) ASSERT_TRUE(Answer(ledger, lease, "a", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(4)), ElementsAre(4, 5, 6, 7));
  EXPECT_EQ(ledger.counters()[DropReason::kStale], 0);
  EXPECT_TRUE(ledger.counters().Balanced());
}

// P = 4, S = 1: five groups at step 0, of which the fifth must be trained at step 1 at the latest, with three places
// for younger ones.
TEST(LedgerAsync, GroupsAreTakenAsTheyComeButPlacesAreKeptForOlderWork) {
  RolloutLedger ledger(Options(1));
  uint64_t next_id = 0;
  Fill(ledger, next_id);
  const std::vector<PromptLease> old = Lease(ledger, "slow", 5, {0, 0});
  for (size_t i = 1; i < 5; ++i) ASSERT_TRUE(Answer(ledger, old[i], "slow", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(4, 1)), ElementsAre(1, 2, 3, 4)) << "none of them is younger than the first";
  ASSERT_TRUE(ledger.SetVersion({0, 1}).ok());
  ASSERT_TRUE(ledger.Release(4).ok());
  Fill(ledger, next_id);
  const std::vector<PromptLease> young = Lease(ledger, "fast", 4, {0, 1});
  for (const PromptLease& lease : young) ASSERT_TRUE(Answer(ledger, lease, "fast", {0, 1}).ok());
  EXPECT_TRUE(ledger.Take(4).empty());
  EXPECT_THAT(PromptIds(ledger.Take(4, 1)), ElementsAre(5, 6, 7));
  EXPECT_TRUE(ledger.Take(1, 1).empty()) << "this place is prompt 0's";
  ASSERT_TRUE(Answer(ledger, old[0], "slow", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(1, 1)), ElementsAre(0));
  EXPECT_EQ(ledger.counters()[DropReason::kStale], 0);
}

TEST(LedgerAsync, StaleGroupIsDroppedCountedAndAnsweredAgain) {
  RolloutLedger ledger(Options(1));
  uint64_t next_id = 0;
  Fill(ledger, next_id);
  const PromptLease lease = Lease(ledger, "a", 1, {0, 0})[0];
  ASSERT_TRUE(Answer(ledger, lease, "a", {0, 0}).ok());
  ASSERT_TRUE(ledger.SetVersion({0, 2}).ok());
  EXPECT_TRUE(ledger.Take(1).empty());
  EXPECT_EQ(ledger.counters()[DropReason::kStale], 1);
  EXPECT_TRUE(ledger.counters().Balanced());
  EXPECT_EQ(Lease(ledger, "a", 1, {0, 2})[0].prompt.id, 0u);
}

TEST(LedgerAsync, StalenessCountsFromTheOldestToken) {
  RolloutLedger ledger(Options(2));
  uint64_t next_id = 0;
  ASSERT_TRUE(ledger.SetVersion({0, 5}).ok());
  Fill(ledger, next_id);
  EXPECT_FALSE(ledger.Lease("a", 1, {0, 3}, kStart).ok());
  const std::vector<PromptLease> old_weights = Lease(ledger, "a", 1, {0, 4});
  const std::vector<PromptLease> new_weights = Lease(ledger, "a", 1, {0, 5});
  TrajectoryGroup swapped = MakeGroup(old_weights[0], "a", {0, 4});
  for (Completion& completion : swapped.completions) completion.versions.push_back({2, {0, 5}});
  ASSERT_TRUE(ledger.Submit(swapped).ok());
  ASSERT_TRUE(Answer(ledger, new_weights[0], "a", {0, 5}).ok());
  ASSERT_TRUE(ledger.SetVersion({0, 7}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(1)), ElementsAre(1)) << "prompt 0 began at step 4, three steps ago";
  EXPECT_EQ(ledger.counters()[DropReason::kStale], 1);
}

// P = 2, S = 2: of what is begun at step 0, two groups each can be trained at steps 0, 1 and 2.
TEST(LedgerAsync, ASlowActorWithManyLeasesWastesNothing) {
  RolloutLedger ledger(Options(2, 2));
  uint64_t next_id = 0;
  Fill(ledger, next_id);
  const std::vector<PromptLease> slow = Lease(ledger, "slow", 3, {0, 0});
  const auto train = [&](uint64_t step) {
    std::vector<uint64_t> ids = PromptIds(ledger.Take(2));
    if (ids.empty()) return ids;
    EXPECT_TRUE(ledger.SetVersion({0, step + 1}).ok());
    EXPECT_TRUE(ledger.Release(2).ok());
    Fill(ledger, next_id);
    return ids;
  };
  const auto fast = [&](int groups, uint64_t step) {
    for (const PromptLease& lease : Lease(ledger, "fast", groups, {0, step})) {
      ASSERT_TRUE(Answer(ledger, lease, "fast", {0, step}).ok());
    }
  };
  fast(2, 0);
  EXPECT_THAT(train(0), ElementsAre(3, 4));
  fast(2, 1);
  EXPECT_THAT(train(1), ElementsAre()) << "the slow actor's three would not fit into the one step that is left then";
  ASSERT_TRUE(Answer(ledger, slow[0], "slow", {0, 0}).ok());
  EXPECT_THAT(train(1), ElementsAre(0, 5)) << "the other two will";
  fast(2, 2);
  EXPECT_THAT(train(2), ElementsAre()) << "their last chance";
  ASSERT_TRUE(Answer(ledger, slow[1], "slow", {0, 0}).ok());
  ASSERT_TRUE(Answer(ledger, slow[2], "slow", {0, 0}).ok());
  EXPECT_THAT(train(2), ElementsAre(1, 2));
  EXPECT_EQ(ledger.counters()[DropReason::kStale], 0);
}

TEST(LedgerAsync, WeightsAreLeasedForNoMoreThanCanBeTrainedWithThem) {
  RolloutLedger ledger(Options(2, 2));
  uint64_t next_id = 0;
  Fill(ledger, next_id);
  const std::vector<PromptLease> first = Lease(ledger, "a", 2, {0, 0});
  for (const PromptLease& lease : first) ASSERT_TRUE(Answer(ledger, lease, "a", {0, 0}).ok());
  ASSERT_EQ(ledger.Take(2).size(), 2u);
  ASSERT_TRUE(ledger.SetVersion({0, 1}).ok());
  ASSERT_TRUE(ledger.Release(2).ok());
  Fill(ledger, next_id);
  EXPECT_EQ(ledger.OldestLeasable(), (PolicyVersion{0, 0}));
  EXPECT_EQ(Lease(ledger, "a", 6, {0, 0}).size(), 4u) << "steps 1 and 2 can train them";
  EXPECT_EQ(ledger.OldestLeasable(), (PolicyVersion{0, 1}));
  EXPECT_EQ(ledger.Lease("a", 1, {0, 0}, kStart).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Lease(ledger, "a", 6, {0, 1}).size(), 2u);
}

TEST(LedgerAsync, ClaimedFutureVersionIsRefused) {
  RolloutLedger ledger(Options(1));
  uint64_t next_id = 0;
  Fill(ledger, next_id);
  const PromptLease lease = Lease(ledger, "a", 1, {0, 1'000'000})[0];
  EXPECT_TRUE(absl::IsInvalidArgument(Answer(ledger, lease, "a", {0, 1'000'000})));
  EXPECT_EQ(ledger.counters()[RejectReason::kMalformed], 1);
  EXPECT_TRUE(ledger.Take(1).empty());
  EXPECT_TRUE(Answer(ledger, lease, "a", ledger.version()).ok()) << "the lease is still the actor's";
}

TEST(LedgerAsync, OldestVersionGoesFirstAfterALeaseWasLost) {
  RolloutLedger ledger(Options(1, 2));
  uint64_t next_id = 0;
  Fill(ledger, next_id);
  const std::vector<PromptLease> leases = Lease(ledger, "a", 4, {0, 0});
  for (int i : {1, 2, 3}) ASSERT_TRUE(Answer(ledger, leases[static_cast<size_t>(i)], "a", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(2)), ElementsAre(1, 2));
  ASSERT_TRUE(ledger.SetVersion({0, 1}).ok());
  ASSERT_TRUE(ledger.Release(2).ok());
  Fill(ledger, next_id);
  ledger.ReturnLeases("a", {});
  const std::vector<PromptLease> again = Lease(ledger, "b", 2, {0, 1});
  EXPECT_EQ(again[0].prompt.id, 0u);
  for (const PromptLease& lease : again) ASSERT_TRUE(Answer(ledger, lease, "b", {0, 1}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(2)), ElementsAre(0, 3)) << "3 is older by version, 0 by admission";
}

struct RestoreTest : ::testing::Test {
  // Step 3 of an asynchronous run: prompt 0 ready, 1 leased, the others waiting.
  RestoreTest() {
    EXPECT_TRUE(before.SetVersion({0, 3}).ok());
    Fill(before, next_id);
    leases = Lease(before, "a", 2, {0, 3});
    EXPECT_TRUE(Answer(before, leases[0], "a", {0, 3}).ok());
  }
  std::vector<Prompt> Prompts(const LedgerSnapshot& snapshot) const {
    std::vector<Prompt> prompts;
    for (const uint64_t id : snapshot.open_prompt_ids) prompts.push_back(MakePrompt(id));
    return prompts;
  }
  RolloutLedger before{Options(1, 2)};
  RolloutLedger after{Options(1, 2)};
  uint64_t next_id = 0;
  std::vector<PromptLease> leases;
};

TEST_F(RestoreTest, LeasedPromptsWaitAgainAndReadyOnesStayReady) {
  const absl::StatusOr<LedgerSnapshot> snapshot = before.Snapshot();
  ASSERT_TRUE(snapshot.ok());
  ASSERT_TRUE(after.Restore(*snapshot, Prompts(*snapshot), 1).ok());
  EXPECT_EQ(after.version(), (PolicyVersion{1, 3}));
  EXPECT_EQ(after.View().ready, 1);
  EXPECT_EQ(after.View().waiting, 3);
  EXPECT_EQ(after.counters().accepted, 1);
  EXPECT_EQ(after.Add(MakePrompt(4)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Answer(after, leases[1], "a", {0, 3}).code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(after.Lease("a", 1, {0, 3}, kStart).ok()) << "weights of the lost history";
  const std::vector<PromptLease> again = Lease(after, "a", 1, {1, 3});
  EXPECT_EQ(again[0].prompt.id, 1u);
  ASSERT_TRUE(Answer(after, again[0], "a", {1, 3}).ok());
  EXPECT_THAT(PromptIds(after.Take(2)), ElementsAre(0, 1));
  ASSERT_TRUE(after.Release(2).ok());
  EXPECT_TRUE(after.Add(MakePrompt(4)).ok());
  EXPECT_TRUE(after.counters().Balanced());
}

TEST_F(RestoreTest, LeaseIdsOfTwoIncarnationsDiffer) {
  const LedgerSnapshot snapshot = *before.Snapshot();
  const uint64_t lost = Lease(before, "a", 1, {0, 3})[0].lease_id;
  ASSERT_TRUE(after.Restore(snapshot, Prompts(snapshot), 1).ok());
  EXPECT_NE(Lease(after, "a", 1, {1, 3})[0].lease_id, lost);
  EXPECT_NE(Lease(after, "a", 1, {1, 3})[0].lease_id, leases[1].lease_id);
}

TEST_F(RestoreTest, RefusesWhatDoesNotFit) {
  const LedgerSnapshot good = *before.Snapshot();
  EXPECT_FALSE(after.Restore(good, Prompts(good), 0).ok()) << "incarnation not new";
  EXPECT_FALSE(after.Restore(good, {MakePrompt(0)}, 1).ok()) << "prompts missing";
  std::vector<Prompt> swapped = Prompts(good);
  std::swap(swapped[0], swapped[1]);
  EXPECT_FALSE(after.Restore(good, swapped, 1).ok());
  LedgerSnapshot bad = good;
  bad.counters.trained = 5;
  EXPECT_FALSE(after.Restore(bad, Prompts(bad), 1).ok());
  bad = good;
  bad.ready[0].group.prompt_token_ids[0] += 1;
  EXPECT_FALSE(after.Restore(bad, Prompts(bad), 1).ok());
  bad = good;
  bad.open_prompt_ids[3] = 99;
  EXPECT_FALSE(after.Restore(bad, Prompts(bad), 1).ok());
  RolloutLedger small(Options(0, 2));
  EXPECT_FALSE(small.Restore(good, Prompts(good), 1).ok()) << "four prompts, two slots";
  EXPECT_TRUE(after.Restore(good, Prompts(good), 1).ok()) << "failures left it unused";
  EXPECT_FALSE(after.Restore(good, Prompts(good), 1).ok()) << "used now";
}

TEST_F(RestoreTest, NoSnapshotWhileGroupsAreTaken) {
  ASSERT_TRUE(Answer(before, leases[1], "a", {0, 3}).ok());
  ASSERT_EQ(before.Take(2).size(), 2u);
  EXPECT_EQ(before.Snapshot().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RestoreTest, ReplayUsesWhatWasAcknowledgedAfterTheSnapshot) {
  const LedgerSnapshot snapshot = *before.Snapshot();
  ASSERT_TRUE(after.Restore(snapshot, Prompts(snapshot), 1).ok());
  after.Replay(MakeGroup(leases[1], "a", {0, 3}));
  EXPECT_EQ(after.View().ready, 2);
  after.Replay(MakeGroup(leases[1], "a", {0, 3}));
  EXPECT_EQ(after.counters()[RejectReason::kDuplicate], 1);
  PromptLease later = leases[1];
  later.prompt = MakePrompt(4);
  after.Replay(MakeGroup(later, "a", {0, 3}));
  EXPECT_EQ(after.counters().queued, 3) << "kept until prompt 4 is added";
  later.prompt = MakePrompt(2);
  after.Replay(MakeGroup(later, "a", {0, 4}));
  EXPECT_EQ(after.counters()[DropReason::kRolledBack], 1) << "step 4 is not in the restored history";
  EXPECT_TRUE(after.counters().Balanced());

  EXPECT_THAT(PromptIds(after.Take(2)), ElementsAre(0, 1));
  ASSERT_TRUE(after.Release(2).ok());
  ASSERT_TRUE(after.Add(MakePrompt(4)).ok());
  EXPECT_EQ(after.View().ready, 1);
  EXPECT_THAT(PromptIds(after.Take(1)), ElementsAre(4));
  EXPECT_TRUE(after.counters().Balanced());
}

TEST_F(RestoreTest, ReplayedGroupsForOtherPromptsAreDroppedAndCounted) {
  const LedgerSnapshot snapshot = *before.Snapshot();
  ASSERT_TRUE(after.Restore(snapshot, Prompts(snapshot), 1).ok());
  PromptLease other = leases[1];
  other.prompt = MakePrompt(4);
  other.prompt.token_ids[0] += 1;
  after.Replay(MakeGroup(other, "a", {0, 3}));
  other.prompt = MakePrompt(5);
  after.Replay(MakeGroup(other, "a", {0, 3}));
  const LedgerSnapshot again = *after.Snapshot();
  EXPECT_EQ(again.ready.size(), 3u) << "what waits for its prompt is in the snapshot too";
  for (const PromptLease& lease : Lease(after, "a", 3, {1, 3})) ASSERT_TRUE(Answer(after, lease, "a", {1, 3}).ok());
  ASSERT_EQ(after.Take(2).size(), 2u);
  ASSERT_TRUE(after.Release(2).ok());
  ASSERT_TRUE(after.Add(MakePrompt(4)).ok());
  EXPECT_EQ(after.counters()[DropReason::kRolledBack], 1) << "prompt 4 has another text now";
  ASSERT_TRUE(after.SetVersion({1, 4}).ok());
  EXPECT_EQ(after.counters()[DropReason::kRolledBack], 2) << "prompt 5 was not added in time";
  EXPECT_TRUE(after.counters().Balanced());

  RolloutLedger third(Options(1, 2));
  ASSERT_TRUE(third.Restore(again, Prompts(again), 2).ok());
  EXPECT_EQ(third.counters().queued, 3);
}

}  // namespace
}  // namespace tactus
