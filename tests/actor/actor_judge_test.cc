// An actor whose answers somebody else judges: slowly, several groups at once, or not at all.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actor/actor.h"
#include "tests/actor/engine/fake_model_runner.h"
#include "tests/actor/fake_parts.h"

namespace tactus {
namespace {

using testing::FakeModelRunner;

// A server that judges, in place of a verifier.
class FakeJudge : public Judge {
 public:
  absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                            absl::Time) override {
    absl::MutexLock lock(&mutex);
    if (question.answer_key == silent_for) return absl::UnavailableError("environment a:1 cannot be reached");
    most_at_once = std::max(most_at_once, ++at_once);
    const auto together = [this] { return closed || at_once >= calls || most_at_once >= calls; };
    mutex.AwaitWithTimeout(absl::Condition(&together), absl::Seconds(20));
    --at_once;
    if (closed) return absl::CancelledError("closed");
    return std::vector<Reward>(answers.size(), {.total = -1, .correct = 0, .format = -1, .reason = "served"});
  }
  int calls_at_once() const override { return calls; }
  std::string Trouble() const override { return "the judge is away"; }
  void Close() override {
    absl::MutexLock lock(&mutex);
    closed = true;
  }

  absl::Mutex mutex;
  std::string silent_for;
  int calls = 1, at_once = 0, most_at_once = 0;
  bool closed = false;
};

class ActorJudgeTest : public ::testing::Test {
 protected:
  ActorJudgeTest() { weights_.Publish(kFirst, {0}); }
  std::unique_ptr<Actor> MakeActor(FakePort& port, FakeJudge& judge) {
    auto engine = *Engine::Create({.max_sequences = 12, .max_step_tokens = 64, .max_waiting_groups = 3},
                                  std::make_unique<FakeModelRunner>(40, kVocab, 1000));
    return std::make_unique<Actor>(settings_, std::move(engine), &port, &weights_,
                                   GroupScorer(&tokenizer_, &judge, &credit_));
  }

  std::atomic<bool> stop_{false};
  ActorSettings settings_ = MakeActorSettings(&stop_);
  FakeWeights weights_;
  FakeTokenizer tokenizer_;
  const CreditAssigner credit_ = *CreditAssigner::FromOverrides({"credit.strategy=ENTROPY"});
};

TEST_F(ActorJudgeTest, DropsAGroupWithoutARewardAndCountsIt) {
  FakeJudge judge;
  judge.silent_for = MakeLease(1).prompt.answer_key_json;
  FakePort port(3);
  port.finish_when_empty = false;
  port.after_submit = [&](const TrajectoryGroup&) { stop_ = port.groups.size() == 2; };
  const std::unique_ptr<Actor> actor = MakeActor(port, judge);
  EXPECT_TRUE(actor->Run().ok());
  EXPECT_EQ(port.groups.count(1), 0u) << "a group that nobody judged was handed in";
  EXPECT_EQ(actor->stats().groups_unscored, 1);
  EXPECT_EQ(actor->stats().groups_submitted, 2);
  EXPECT_EQ(actor->stats().open_groups, 0);
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) EXPECT_EQ(completion.reward.total, -1);
  }
  stop_ = false;
  EXPECT_EQ(actor->NotReady(), "the judge is away");
}

TEST_F(ActorJudgeTest, HasAsManyGroupsJudgedAtOnceAsIsOfUse) {
  FakeJudge judge;
  judge.calls = 3;
  FakePort port(12);
  const std::unique_ptr<Actor> actor = MakeActor(port, judge);
  EXPECT_TRUE(actor->Run().ok());
  EXPECT_EQ(port.groups.size(), 12u);
  EXPECT_EQ(judge.most_at_once, 3);
}

}  // namespace
}  // namespace tactus
