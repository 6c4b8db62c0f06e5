// Groups of equal rewards that are replaced by further prompts: with S = 0 by admission order alone, whoever answers
// when; always within the bound, and counted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <utility>

#include "learner/ledger/rollout_ledger.h"
#include "tests/data/group_builder.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<uint64_t>;

constexpr int kPrompts = 4;
constexpr absl::Duration kNow = absl::Seconds(1000);

// Whether a prompt's answers are all alike.
using Alike = std::function<bool(uint64_t)>;

class LedgerRun {
 public:
  LedgerRun(int staleness, int replaced, Alike alike, uint64_t seed = 1)
      : ledger({.prompts_per_step = kPrompts,
                .completions_per_prompt = 2,
                .max_staleness_steps = staleness,
                .max_replaced_groups = replaced}),
        alike_(std::move(alike)),
        random_(seed) {}
  ~LedgerRun() { EXPECT_TRUE(ledger.counters().Balanced()); }

  void Fill() {
    while (ledger.View().free_slots > 0) ASSERT_TRUE(ledger.Add(MakePrompt(next_prompt_++)).ok());
  }
  void LeaseAll() {
    while (ledger.PromptsWait(kNow)) {
      const auto leases = ledger.Lease("a", 1 + static_cast<int>(random_() % 3), ledger.version(), kNow);
      ASSERT_TRUE(leases.ok()) << leases.status();
      out_.insert(out_.end(), leases->begin(), leases->end());
    }
  }
  void AnswerOne() {
    const size_t index = random_() % out_.size();
    TrajectoryGroup group = MakeGroup(out_[index], "a", ledger.version());
    if (!alike_(group.prompt_id)) group.completions[1].reward = {0, 0, 0, "wrong"};
    ASSERT_TRUE(ledger.Submit(std::move(group)).ok());
    out_.erase(out_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  // The prompts of the next step, as the coordinator gets them, `least` at a time; answers come in any order. Now and
  // then a step is given up, and gathered again.
  Ids Step(int least = kPrompts, bool gives_up = false) {
    std::vector<TrajectoryGroup> step;
    for (int event = 0; event < 1000; ++event) {
      Fill();
      LeaseAll();
      const int wanted = kPrompts - static_cast<int>(step.size());
      for (TrajectoryGroup& group : ledger.Take(wanted, std::min(least, wanted))) step.push_back(std::move(group));
      if (step.size() == kPrompts) {
        Ids ids;
        for (const TrajectoryGroup& group : step) ids.push_back(group.prompt_id);
        PolicyVersion next = ledger.version();
        ++next.step;
        EXPECT_TRUE(ledger.SetVersion(next).ok());
        EXPECT_TRUE(ledger.Release(kPrompts).ok());
        return ids;
      }
      if (gives_up && random_() % 4 == 0) {
        EXPECT_TRUE(ledger.PutBack(std::exchange(step, {})).ok());
      }
      if (!out_.empty()) AnswerOne();
    }
    ADD_FAILURE() << "no step in a thousand answers";
    return {};
  }
  int64_t replaced() const { return ledger.counters()[DropReason::kNoSignal]; }

  RolloutLedger ledger;

 private:
  const Alike alike_;
  std::mt19937_64 random_;
  uint64_t next_prompt_ = 0;
  std::vector<PromptLease> out_;
};

// What a step takes, from the rule alone: prompts in order, but the first `bound` without a signal.
std::vector<Ids> ByTheRule(const Alike& alike, int bound, int steps) {
  std::vector<Ids> batches;
  uint64_t id = 0;
  for (int step = 0; step < steps; ++step) {
    Ids batch;
    for (int replaced = 0; batch.size() < kPrompts; ++id) {
      if (alike(id) && replaced < bound) {
        ++replaced;
      } else {
        batch.push_back(id);
      }
    }
    batches.push_back(batch);
  }
  return batches;
}

TEST(RolloutLedgerReplaceTest, TheBatchDependsOnAdmissionOrderAndAnswersAlone) {
  const Alike alike = [](uint64_t id) { return (id * 2654435761U >> 7) % 5 < 2; };
  for (const int bound : {0, 1, 3, 20}) {
    const std::vector<Ids> expected = ByTheRule(alike, bound, 6);
    const auto last = static_cast<int64_t>(expected.back().back()) + 1;
    for (uint64_t seed = 0; seed < 50; ++seed) {
      for (const auto& [least, gives_up] : {std::pair(kPrompts, false), {1, false}, {2, false}, {1, true}}) {
        LedgerRun run(0, bound, alike, seed);
        for (const Ids& batch : expected) {
          ASSERT_EQ(run.Step(least, gives_up), batch) << "bound " << bound << ", seed " << seed << ", least " << least;
        }
        ASSERT_EQ(run.replaced(), last - 6 * kPrompts);
        ASSERT_EQ(run.ledger.counters().accepted, last) << "no prompt was sampled that no step came to";
      }
    }
  }
}

TEST(RolloutLedgerReplaceTest, ReplacementsAreLeasedAtOnceAndNoMoreThanAreNeeded) {
  LedgerRun run(0, 2, [](uint64_t id) { return id == 3 || id == 1 || id == 2; });
  run.Fill();
  EXPECT_EQ(run.ledger.View().free_slots, 0);
  const std::vector<PromptLease> leases = *run.ledger.Lease("a", 4, {0, 0}, kNow);
  const auto answer = [&](size_t i, bool alike) {
    TrajectoryGroup group = MakeGroup(leases[i], "a", {0, 0});
    if (!alike) group.completions[1].reward = {0, 0, 0, "wrong"};
    ASSERT_TRUE(run.ledger.Submit(std::move(group)).ok());
  };
  answer(3, true);  // before 0, 1 and 2: it is sure all the same that the step needs another prompt
  EXPECT_EQ(run.ledger.View().free_slots, 1);
  EXPECT_EQ(run.ledger.View().replaceable, 1);
  answer(0, false);
  EXPECT_EQ(run.ledger.View().free_slots, 1);
  answer(1, true);
  answer(2, true);
  EXPECT_EQ(run.ledger.View().free_slots, 2) << "the bound";
  EXPECT_TRUE(run.ledger.Take(kPrompts).empty());
  EXPECT_THAT(run.Step(), ElementsAre(0, 3, 4, 5)) << "the first two are left out, not those that came first";
}

TEST(RolloutLedgerReplaceTest, WhatIsLeftOutSaysHowItWasAnswered) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    LedgerRun run(
        0, 2, [](uint64_t id) { return id == 1 || id == 3 || id == 5; }, seed);
    EXPECT_TRUE(run.ledger.TakeLeftOut().empty());
    EXPECT_THAT(run.Step(/*least=*/1), ElementsAre(0, 2, 4, 5));
    EXPECT_THAT(run.ledger.TakeLeftOut(), ElementsAre(PromptOutcome{1, 2, 2}, PromptOutcome{3, 2, 2}));
    EXPECT_TRUE(run.ledger.TakeLeftOut().empty());
    EXPECT_EQ(run.ledger.View().added, 6);
    EXPECT_EQ(run.ledger.View().open, 0);
  }
}

TEST(RolloutLedgerReplaceTest, ByTurnEqualSumsAreNotEqualRewards) {
  for (const AdvantageLevel level : {AdvantageLevel::kEpisode, AdvantageLevel::kTurn}) {
    RolloutLedger ledger(
        {.prompts_per_step = 1, .completions_per_prompt = 2, .max_replaced_groups = 1, .advantage_level = level});
    ASSERT_TRUE(ledger.Add(MakePrompt(0)).ok());
    TrajectoryGroup group = MakeGroup(ledger.Lease("a", 1, {0, 0}, kNow)->front(), "a", {0, 0});
    group.completions[0].turns = {{0, 1, 1.05}, {2, 2, 0}};
    group.completions[1].turns = {{0, 1, 0}, {2, 2, 1.05}};
    ASSERT_TRUE(ledger.Submit(std::move(group)).ok());
    const bool by_turn = level == AdvantageLevel::kTurn;
    EXPECT_EQ(ledger.View().replaceable, by_turn ? 0 : 1);
    EXPECT_EQ(ledger.Take(1).size(), by_turn ? 1u : 0u);
  }
}

TEST(RolloutLedgerReplaceTest, WithoutTheOptionNothingIsReplaced) {
  LedgerRun run(0, 0, [](uint64_t) { return true; });
  EXPECT_THAT(run.Step(), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(run.replaced(), 0);
}

TEST(RolloutLedgerReplaceTest, WhereNothingHasASignalAStepStillEnds) {
  LedgerRun run(0, 3, [](uint64_t) { return true; });
  EXPECT_THAT(run.Step(), ElementsAre(3, 4, 5, 6));
  EXPECT_THAT(run.Step(), ElementsAre(10, 11, 12, 13));
  EXPECT_EQ(run.replaced(), 6);
}

TEST(RolloutLedgerReplaceTest, AsynchronouslyNoStepLeavesOutMoreThanTheBound) {
  const Alike alike = [](uint64_t id) { return id % 3 == 0; };
  for (const int staleness : {1, 2}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      LedgerRun run(staleness, 2, alike, seed);
      int64_t before = 0;
      for (int step = 0; step < 12; ++step) {
        EXPECT_EQ(run.Step().size(), static_cast<size_t>(kPrompts));
        ASSERT_LE(run.replaced() - before, 2);
        before = run.replaced();
      }
      EXPECT_GT(before, 0);
      EXPECT_EQ(run.ledger.counters()[DropReason::kStale], 0);
    }
  }
}

TEST(RolloutLedgerReplaceTest, WhatIsLeftOutTakesNoRoomFromOlderWeights) {
  LedgerRun run(2, 4, [](uint64_t id) { return id % 2 == 0; });
  for (int step = 0; step < 8; ++step) run.Step();
  EXPECT_GT(run.replaced(), 8);
  run.ledger.ReturnLeases("a", {});
  while (!run.ledger.Take(kPrompts).empty()) ASSERT_TRUE(run.ledger.Release(kPrompts).ok());
  EXPECT_EQ(run.ledger.OldestLeasable().step, run.ledger.version().step - 1);
}

TEST(RolloutLedgerReplaceTest, ARestoredLedgerTakesTheSame) {
  const Alike alike = [](uint64_t id) { return id % 4 == 1; };
  const std::vector<Ids> expected = ByTheRule(alike, 2, 4);
  LedgerRun whole(0, 2, alike);
  for (int step = 0; step < 2; ++step) ASSERT_EQ(whole.Step(), expected[static_cast<size_t>(step)]);
  const LedgerSnapshot snapshot = whole.ledger.Snapshot().value();
  EXPECT_TRUE(snapshot.open_prompt_ids.empty());
  EXPECT_EQ(snapshot.next_prompt_id, expected[1].back() + 1);
  EXPECT_EQ(snapshot.counters[DropReason::kNoSignal], whole.replaced());
}

}  // namespace
}  // namespace tactus
