// How long a lease lasts, and what becomes of prompts whose leases end without an answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "learner/ledger/rollout_ledger.h"
#include "tests/learner/ledger/ledger_helpers.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

struct LeaseTest : ::testing::Test {
  void TearDown() override { EXPECT_TRUE(ledger.counters().Balanced()); }
  RolloutLedger ledger{Options(0)};
  uint64_t next_id = 0;
};

TEST_F(LeaseTest, ARenewedLeaseLastsForAsLongAsItTakes) {
  Fill(ledger, next_id);
  const std::vector<PromptLease> leases = Lease(ledger, "a", 2, {0, 0});
  const uint64_t working[] = {leases[0].lease_id};
  for (int s = 50; s <= 400; s += 50) {
    EXPECT_THAT(ledger.Renew("a", working, kStart + absl::Seconds(s)), ElementsAre());
    EXPECT_EQ(ledger.Expire(kStart + absl::Seconds(s)).size(), s == 100 ? 1u : 0u) << "the one not worked on, once";
  }
  EXPECT_TRUE(ledger.Expire(kStart + absl::Seconds(499)).empty());
  EXPECT_TRUE(Answer(ledger, leases[0], "a", {0, 0}).ok()) << "after four times the timeout";
  EXPECT_THAT(ledger.Renew("a", working, kStart), ElementsAre()) << "answered is not ended";
}

TEST_F(LeaseTest, OnlyTheLeasesActorRenewsIt) {
  Fill(ledger, next_id);
  const uint64_t lease = Lease(ledger, "a", 1, {0, 0})[0].lease_id;
  const uint64_t named[] = {lease, 12345};
  EXPECT_THAT(ledger.Renew("b", named, kStart + absl::Seconds(50)), ElementsAre(lease, 12345u));
  EXPECT_THAT(ledger.Renew("a", named, kStart - absl::Seconds(50)), ElementsAre(12345u));
  EXPECT_TRUE(ledger.Expire(kStart + absl::Seconds(99)).empty()) << "a late word shortens nothing";
  EXPECT_EQ(ledger.Expire(kStart + absl::Seconds(100)).size(), 1u);
  EXPECT_THAT(ledger.Renew("a", named, kStart), ElementsAre(lease, 12345u));
}

struct AttemptsTest : ::testing::Test {
  AttemptsTest()
      : ledger([] {
          LedgerOptions options = Options(0);
          options.max_attempts = 3;
          return options;
        }()) {}
  void TearDown() override { EXPECT_TRUE(ledger.counters().Balanced()); }
  // An actor takes what it can, answers nothing and is lost.
  std::vector<EndedLease> Die(const std::string& actor) {
    (void)ledger.Lease(actor, 4, {0, 0}, kStart);
    return ledger.ReturnLeases(actor, {});
  }
  RolloutLedger ledger;
  uint64_t next_id = 0;
};

TEST_F(AttemptsTest, APromptThatEndsItsActorsIsDroppedAndTheNextTakesItsPlace) {
  Fill(ledger, next_id);
  EXPECT_EQ(Die("a").size(), 4u);
  EXPECT_EQ(Die("b").size(), 4u);
  // Each of the four may be the one: they are not tried together any more.
  const std::vector<PromptLease> first = Lease(ledger, "c", 4, {0, 0});
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(ledger.Lease("c", 4, {0, 0}, kStart).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ledger.PromptsWait(kStart));
  const std::vector<PromptLease> second = Lease(ledger, "d", 4, {0, 0});
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].prompt.id, 1u);
  const std::vector<EndedLease> ended = ledger.ReturnLeases("d", {});
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0].dropped);
  EXPECT_EQ(ended[0].prompt_id, 1u);
  EXPECT_EQ(ended[0].failures, 3);
  EXPECT_EQ(ledger.counters().prompts_dropped, 1);
  EXPECT_EQ(Answer(ledger, second[0], "d", {0, 0}).code(), absl::StatusCode::kNotFound);

  EXPECT_TRUE(Answer(ledger, first[0], "c", {0, 0}).ok());
  for (int i = 0; i < 2; ++i) {
    const std::vector<PromptLease> next = Lease(ledger, "c", 4, {0, 0});
    ASSERT_EQ(next.size(), 1u);
    EXPECT_TRUE(Answer(ledger, next[0], "c", {0, 0}).ok());
  }
  EXPECT_TRUE(ledger.Take(4).empty()) << "a step is of four";
  Fill(ledger, next_id);
  EXPECT_EQ(next_id, 5u);
  EXPECT_TRUE(Answer(ledger, Lease(ledger, "c", 4, {0, 0})[0], "c", {0, 0}).ok());
  EXPECT_THAT(PromptIds(ledger.Take(4)), ElementsAre(0, 2, 3, 4));
}

TEST_F(AttemptsTest, FreshPromptsGoBesideOneOnItsLastTry) {
  ASSERT_TRUE(ledger.Add(MakePrompt(next_id++)).ok());
  Die("a");
  Die("a");
  Fill(ledger, next_id);
  EXPECT_EQ(Lease(ledger, "a", 4, {0, 0}).size(), 4u);
  const std::vector<EndedLease> ended = ledger.Expire(kStart + absl::Hours(1));
  ASSERT_EQ(ended.size(), 4u);
  EXPECT_EQ(std::ranges::count_if(ended, [](const EndedLease& lease) { return lease.dropped; }), 1);
  EXPECT_EQ(ledger.View().waiting, 3);
  EXPECT_EQ(Lease(ledger, "a", 4, {0, 0}).size(), 3u) << "with one failure each they go together";
}

TEST_F(AttemptsTest, ARestartRemembers) {
  Fill(ledger, next_id);
  Die("a");
  Die("a");
  LedgerSnapshot snapshot = *ledger.Snapshot();
  EXPECT_THAT(snapshot.failures, ElementsAre(2, 2, 2, 2));
  std::vector<Prompt> prompts;
  for (const uint64_t id : snapshot.open_prompt_ids) prompts.push_back(MakePrompt(id));
  LedgerOptions options = Options(0);
  options.max_attempts = 3;
  RolloutLedger after(options);
  snapshot.failures.pop_back();
  EXPECT_FALSE(after.Restore(snapshot, prompts, 1).ok());
  snapshot.failures.push_back(2);
  ASSERT_TRUE(after.Restore(snapshot, prompts, 1).ok());
  EXPECT_EQ(Lease(after, "a", 4, {1, 0}).size(), 1u);
  EXPECT_TRUE(after.ReturnLeases("a", {})[0].dropped);
  snapshot.failures.clear();
  RolloutLedger older(options);
  ASSERT_TRUE(older.Restore(snapshot, prompts, 1).ok()) << "as earlier releases wrote it";
}

TEST_F(LeaseTest, AStragglersPromptGoesToAnotherActorTooAndTheFirstAnswerWins) {
  ASSERT_TRUE(ledger.Add(MakePrompt(next_id++)).ok());
  const PromptLease slow = Lease(ledger, "slow", 1, {0, 0})[0];
  const uint64_t working[] = {slow.lease_id};
  const absl::Duration later = kStart + absl::Seconds(100);
  EXPECT_THAT(ledger.Renew("slow", working, later - absl::Seconds(1)), ElementsAre());
  EXPECT_FALSE(ledger.PromptsWait(later - absl::Seconds(1)));
  EXPECT_TRUE(ledger.PromptsWait(later));
  EXPECT_FALSE(ledger.Lease("slow", 4, {0, 0}, later).ok()) << "it has it already";
  ASSERT_TRUE(ledger.Add(MakePrompt(next_id++)).ok());
  const std::vector<PromptLease> fast = Lease(ledger, "fast", 1, {0, 0}, later);
  EXPECT_EQ(fast[0].prompt.id, 1u) << "what waits comes first";
  const std::vector<PromptLease> again = Lease(ledger, "fast", 4, {0, 0}, later);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].prompt.id, 0u);
  EXPECT_FALSE(ledger.Lease("third", 4, {0, 0}, later + absl::Seconds(50)).ok()) << "two are enough";
  EXPECT_EQ(ledger.LeasesOf("slow"), 1);
  EXPECT_EQ(ledger.LeasesOf("fast"), 2);
  EXPECT_EQ(ledger.View().leased, 2);
  EXPECT_TRUE(Answer(ledger, again[0], "fast", {0, 0}).ok());
  EXPECT_THAT(ledger.Renew("slow", working, later), ElementsAre(slow.lease_id)) << "the other is told to stop";
  EXPECT_EQ(Answer(ledger, slow, "slow", {0, 0}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ledger.LeasesOf("slow"), 0);
  EXPECT_THAT(PromptIds(ledger.Take(1)), ElementsAre(0));
}

TEST_F(LeaseTest, OneOfTwoLeasesMayEndAndTheOtherGoesOn) {
  ASSERT_TRUE(ledger.Add(MakePrompt(next_id++)).ok());
  const PromptLease slow = Lease(ledger, "slow", 1, {0, 0})[0];
  const uint64_t working[] = {slow.lease_id};
  const absl::Duration later = kStart + absl::Seconds(100);
  EXPECT_THAT(ledger.Renew("slow", working, later), ElementsAre());
  ASSERT_EQ(Lease(ledger, "fast", 1, {0, 0}, later).size(), 1u);
  EXPECT_EQ(ledger.ReturnLeases("fast", {}).size(), 1u);
  EXPECT_EQ(ledger.View().leased, 1);
  EXPECT_EQ(Lease(ledger, "third", 1, {0, 0}, later).size(), 1u) << "and may be helped again";
  EXPECT_TRUE(Answer(ledger, slow, "slow", {0, 0}).ok());
  EXPECT_EQ(ledger.LeasesOf("third"), 0);
}

TEST_F(LeaseTest, WithoutACapNoPromptIsDropped) {
  Fill(ledger, next_id);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(Lease(ledger, "a", 4, {0, 0}).size(), 4u);
    EXPECT_EQ(ledger.ReturnLeases("a", {}).size(), 4u);
  }
  EXPECT_EQ(ledger.counters().prompts_dropped, 0);
}

}  // namespace
}  // namespace tactus
