// Credit by VINE through the actor's loop. Weights are held against values that are computed here without engine,
// scheduler and scorer, from the keys of the draws, and against ones that are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "actor/actor.h"
#include "common/base/philox.h"
#include "tests/actor/engine/fake_model_runner.h"
#include "tests/actor/fake_parts.h"
#include "tests/actor/fake_port.h"

namespace tactus {
namespace {

using testing::FakeModelRunner;
using testing::ReferenceCompletion;

using RewardOf = std::function<double(const std::vector<TokenId>&)>;

// Judges the ids that FakeTokenizer writes.
class IdVerifier : public Verifier {
 public:
  explicit IdVerifier(RewardOf reward) : reward_(std::move(reward)) {}
  absl::StatusOr<Reward> Score(absl::string_view, absl::string_view text) const override {
    std::vector<TokenId> ids;
    for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
      EXPECT_TRUE(absl::SimpleAtoi(word, &ids.emplace_back())) << text;
    }
    return Reward{.total = reward_(ids), .reason = "by_ids"};
  }

 private:
  const RewardOf reward_;
};

// Of no meaning, and different for most answers; among them are equal ones.
double AnyReward(const std::vector<TokenId>& ids) {
  int sum = 0;
  for (const TokenId id : ids) sum = (sum * 7 + id) % 11;
  return static_cast<double>(sum % 5) / 4;
}

class ActorVineTest : public ::testing::Test {
 protected:
  ActorVineTest() { weights_.Publish(kFirst, {0}); }

  void Start(FakePort& port, const EngineOptions& engine, std::vector<std::string> credit, RewardOf reward,
             std::unique_ptr<ModelRunner> runner = nullptr) {
    weights_.Reopen();
    credit.emplace_back("credit.strategy=VINE");
    credit_ = std::make_unique<CreditAssigner>(*CreditAssigner::FromOverrides(credit));
    judge_ = std::make_unique<VerifierJudge>(std::make_unique<IdVerifier>(std::move(reward)));
    if (runner == nullptr) runner = std::make_unique<FakeModelRunner>(60, kVocab, 1000);
    actor_ = std::make_unique<Actor>(settings_, *Engine::Create(engine, std::move(runner)), &port, &weights_,
                                     GroupScorer(&tokenizer_, judge_.get(), credit_.get()));
  }
  static EngineOptions Small() { return {.max_sequences = 5, .max_step_tokens = 64, .max_waiting_groups = 3}; }
  static EngineOptions Large() { return {.max_sequences = 31, .max_step_tokens = 256, .max_waiting_groups = 7}; }

  EngineRequest RequestOf(const PromptLease& lease) const {
    EngineRequest request;
    request.prompt_id = lease.prompt.id;
    request.seed = lease.seed;
    request.prompt_ids = lease.prompt.token_ids;
    request.max_tokens = settings_.max_completion_tokens;
    request.stop_ids = settings_.stop_ids;
    return request;
  }
  std::vector<TokenId> Text(const std::vector<TokenId>& before, const Completion& completion) const {
    std::vector<TokenId> ids = before;
    ids.insert(ids.end(), completion.token_ids.begin(), completion.token_ids.end());
    if (completion.finish_reason == FinishReason::kStop) ids.pop_back();
    return ids;
  }
  // V after the first `length` tokens of an answer.
  double Value(const PromptLease& lease, int answer, const std::vector<TokenId>& prefix, int samples,
               const RewardOf& reward) const {
    const auto length = static_cast<uint32_t>(prefix.size());
    const PhiloxBlock key = Philox4x32(lease.seed, {length, static_cast<uint32_t>(length == 0 ? 0 : answer) | 8U << 24,
                                                    static_cast<uint32_t>(lease.prompt.id), 0});
    EngineRequest request = RequestOf(lease);
    request.seed = uint64_t{key[0]} << 32 | key[1];
    request.max_tokens -= static_cast<int>(length);
    request.prompt_ids.insert(request.prompt_ids.end(), prefix.begin(), prefix.end());
    double sum = 0;
    for (int k = 0; k < samples; ++k) {
      const Completion rest = ReferenceCompletion(request, k, kVocab, kFirst);
      if (length > 0 || answer == 0) continuation_tokens_ += static_cast<int64_t>(rest.token_ids.size());
      sum += reward(Text(prefix, rest));
    }
    return sum / samples;
  }
  // The credit of one answer with M places and K samples, q = 0.4 and an amplification of 1.5.
  std::vector<float> Expected(const PromptLease& lease, int answer, int places, int samples,
                              const RewardOf& reward) const {
    const Completion own = ReferenceCompletion(RequestOf(lease), answer, kVocab, kFirst);
    const auto tokens = static_cast<int>(own.token_ids.size());
    const auto chunk_of = [&](int t) {  // the last chunk that begins at t or before it
      int chunk = 0;
      for (int m = 0; m < std::min(places, tokens); ++m) chunk = m * tokens / std::min(places, tokens) <= t ? m : chunk;
      return chunk;
    };
    std::vector<double> values;
    for (int t = 0; t < tokens; ++t) {
      if (t > 0 && chunk_of(t) == chunk_of(t - 1)) continue;
      values.push_back(Value(lease, answer, {own.token_ids.begin(), own.token_ids.begin() + t}, samples, reward));
    }
    values.push_back(reward(Text({}, own)));
    const auto score = [&](int t) { return std::abs(values[chunk_of(t) + 1] - values[chunk_of(t)]); };
    std::vector<float> credit;
    for (int t = 0; t < tokens; ++t) {
      int before = 0;
      for (int u = 0; u < tokens; ++u) before += score(u) > score(t) + 1e-9 || (u < t && score(u) > score(t) - 1e-9);
      credit.push_back(score(t) > 1e-9 && before < std::max(1, 4 * tokens / 10) ? 1.5F : 1.0F);
    }
    return credit;
  }

  std::atomic<bool> stop_{false};
  ActorSettings settings_ = MakeActorSettings(&stop_);
  FakeWeights weights_;
  FakeTokenizer tokenizer_;
  std::unique_ptr<CreditAssigner> credit_;
  std::unique_ptr<Judge> judge_;
  std::unique_ptr<Actor> actor_;
  mutable int64_t continuation_tokens_ = 0;  // those that Value sampled; the prompt's once
};

TEST_F(ActorVineTest, CreditIsThatOfValuesComputedOneByOne) {
  const std::vector<std::string> options = {"credit.vine_positions=3", "credit.vine_samples=5"};
  for (const EngineOptions& engine : {Small(), Large()}) {
    continuation_tokens_ = 0;
    FakePort port(20);
    Start(port, engine, options, AnyReward);
    ASSERT_TRUE(actor_->Run().ok());
    ASSERT_EQ(port.groups.size(), 20u);
    int64_t answer_tokens = 0;
    int amplified = 0;
    for (const auto& [id, group] : port.groups) {
      const PromptLease lease = MakeLease(id);
      for (int i = 0; i < kCompletions; ++i) {
        const Completion& got = group.completions[i];
        const std::vector<float> expected = Expected(lease, i, 3, 5, AnyReward);
        EXPECT_EQ(got.token_ids, ReferenceCompletion(RequestOf(lease), i, kVocab, kFirst).token_ids);
        EXPECT_EQ(got.credit, expected) << "lease " << id << " answer " << i;
        answer_tokens += static_cast<int64_t>(got.token_ids.size());
        amplified += std::ranges::count(expected, 1.5F) > 0 ? 1 : 0;
      }
    }
    EXPECT_GT(amplified, 40);
    const ActorStats stats = actor_->stats();
    EXPECT_EQ(stats.completions, 20 * kCompletions);
    EXPECT_EQ(stats.completion_tokens, answer_tokens) << "what is trained on";
    EXPECT_EQ(stats.continuation_tokens, continuation_tokens_) << "and what is not";
    EXPECT_EQ(stats.open_groups, 0);
    EXPECT_EQ(stats.unfinished_completions, 0);
    EXPECT_EQ(stats.engine.free_pages, stats.engine.num_pages);
  }
}

// Two tokens of twelve decide, half of the reward each, and are right by a chance of a half: A is ±1/4 in the chunk of
// each and 0 in the two others, where what is measured is noise of a standard error of 0.03.
TEST_F(ActorVineTest, FindsTheTokensThatDecide) {
  const auto good = [](const std::vector<TokenId>& ids, size_t t) { return ids[t] < kVocab / 2 ? 0.5 : 0.0; };
  const RewardOf reward = [&](const std::vector<TokenId>& ids) { return good(ids, 0) + good(ids, 6); };
  settings_.stop_ids = {};
  FakePort port(6);
  Start(port, Large(), {"credit.vine_positions=4", "credit.vine_samples=128", "credit.q=0.5"}, reward);
  ASSERT_TRUE(actor_->Run().ok());
  ASSERT_EQ(port.groups.size(), 6u);
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) {
      EXPECT_THAT(completion.credit, ::testing::ElementsAre(1.5, 1.5, 1.5, 1, 1, 1, 1.5, 1.5, 1.5, 1, 1, 1));
    }
  }
}

TEST_F(ActorVineTest, NothingIsAmplifiedWhereNothingDecides) {
  FakePort port(3);
  Start(port, Small(), {}, [](const std::vector<TokenId>&) { return 0.3; });
  ASSERT_TRUE(actor_->Run().ok());
  ASSERT_EQ(port.groups.size(), 3u);
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) EXPECT_THAT(completion.credit, ::testing::Each(1.0F));
  }
}

TEST_F(ActorVineTest, AHeldOutPromptIsNotGoneOnFrom) {
  FakePort port(2);
  for (PromptLease& lease : port.waiting) {
    lease.lease_id |= kEvaluationLease;
    lease.evaluation = {.temperature = 0.5F};
  }
  Start(port, Small(), {}, AnyReward);
  ASSERT_TRUE(actor_->Run().ok());
  EXPECT_EQ(port.groups.size(), 2u);
  EXPECT_EQ(actor_->stats().answers_measured, 2 * kCompletions);
  EXPECT_EQ(actor_->stats().continuation_tokens, 0);
}

// Has something happen after 120 draws, and gives the actor the time to hear of it. All answers to three prompts have
// 108 draws at most, and with 40 samples what follows of the first prompt alone has more.
struct InterruptedRunner : FakeModelRunner {
  explicit InterruptedRunner(std::function<void()> interrupt)
      : FakeModelRunner(60, kVocab, 1000), interrupt_now(std::move(interrupt)) {}
  absl::Status Execute(const StepPlan& plan, std::span<ops::SampledToken> out) override {
    const bool before = draws_left > 0;
    draws_left -= static_cast<int>(plan.draws.size());
    if (before && draws_left <= 0) {
      interrupt_now();
      absl::SleepFor(absl::Milliseconds(120));
    }
    return FakeModelRunner::Execute(plan, out);
  }
  std::function<void()> interrupt_now;
  int draws_left = 120;
};

TEST_F(ActorVineTest, ALeaseThatEndsWhileItIsGoneOnFromIsDropped) {
  FakePort port(3);
  port.finish_when_empty = false;
  port.after_submit = [&](const TrajectoryGroup&) { stop_ = port.groups.size() == 2; };
  Start(port, Small(), {"credit.vine_positions=3", "credit.vine_samples=40"}, AnyReward,
        std::make_unique<InterruptedRunner>([&port] {
          absl::MutexLock lock(&port.mutex);
          port.ended = {1};
        }));
  ASSERT_TRUE(actor_->Run().ok());
  EXPECT_EQ(port.groups.count(1), 0u);
  ASSERT_EQ(port.groups.size(), 2u);
  for (const auto& [id, group] : port.groups) {
    for (int i = 0; i < kCompletions; ++i) {
      EXPECT_EQ(group.completions[i].credit, Expected(MakeLease(id), i, 3, 40, AnyReward)) << id;
    }
  }
  const ActorStats stats = actor_->stats();
  EXPECT_EQ(stats.groups_expired, 1);
  EXPECT_EQ(stats.completions, 3 * kCompletions) << "its answers were there";
  EXPECT_EQ(stats.open_groups, 0);
  EXPECT_EQ(stats.unfinished_completions, 0);
  EXPECT_EQ(stats.engine.free_pages, stats.engine.num_pages);
}

TEST_F(ActorVineTest, DrainsWhenAskedToStop) {
  FakePort port(1000);
  port.after_submit = [&](const TrajectoryGroup&) { stop_ = true; };
  Start(port, Small(), {}, AnyReward);
  ASSERT_TRUE(actor_->Run().ok());
  EXPECT_EQ(port.open, 0) << "a leased group was left behind";
  EXPECT_GE(port.groups.size(), 1u);
  EXPECT_LT(port.groups.size(), 20u);
}

TEST_F(ActorVineTest, LeavesWhatTheGraceDoesNotCover) {
  FakePort port(3);
  settings_.drain_grace = absl::Milliseconds(1);
  Start(port, Small(), {"credit.vine_samples=40"}, AnyReward,
        std::make_unique<InterruptedRunner>([this] { stop_ = true; }));
  EXPECT_TRUE(actor_->Run().ok());
  EXPECT_EQ(port.groups.size(), 0u);
  EXPECT_GT(port.open, 0);
}

}  // namespace
}  // namespace tactus
