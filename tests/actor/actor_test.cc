#include "actor/actor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/monotonic_clock.h"
#include "tests/actor/engine/fake_model_runner.h"
#include "tests/actor/fake_parts.h"
#include "tests/actor/fake_port.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using testing::FakeModelRunner;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kFakeHeads;
using testing::ReferenceCompletion;

class FakeVerifier : public Verifier {
 public:
  absl::StatusOr<Reward> Score(absl::string_view key, absl::string_view text) const override {
    if (key == "broken") return absl::InvalidArgumentError("answer key is not JSON");
    return Reward{.total = 1.0 + static_cast<double>(text.size()), .reason = std::string(key)};
  }
};

CreditAssigner CreditOf(const std::vector<std::string>& overrides) { return *CreditAssigner::FromOverrides(overrides); }

class ActorTest : public ::testing::Test {
 protected:
  ActorTest() { weights_.Publish(kFirst, {0}); }

  // The fake model's cache holds 40 pages; completions are short.
  absl::Status Run(FakePort& port) {
    Start(port);
    return actor_->Run();
  }
  void Start(FakePort& port) {
    weights_.Reopen();
    auto engine = *Engine::Create({.max_sequences = 5, .max_step_tokens = 64, .max_waiting_groups = 3},
                                  std::make_unique<FakeModelRunner>(40, kVocab, 1000));
    actor_ = std::make_unique<Actor>(settings_, std::move(engine), &port, &weights_,
                                     GroupScorer(&tokenizer_, &judge_, &credit_));
  }

  void ExpectAsReference(const TrajectoryGroup& group, PolicyVersion version, uint64_t salt) {
    const PromptLease lease = MakeLease(group.lease_id);
    EngineRequest request;
    request.prompt_id = lease.prompt.id;
    request.seed = lease.seed;
    request.prompt_ids = lease.prompt.token_ids;
    request.max_tokens = kMaxTokens;
    request.stop_ids = settings_.stop_ids;
    EXPECT_EQ(group.prompt_id, lease.prompt.id);
    EXPECT_EQ(group.prompt_token_ids, lease.prompt.token_ids);
    EXPECT_EQ(group.actor_id, "actor-7");
    ASSERT_EQ(group.completions.size(), static_cast<size_t>(kCompletions));
    for (int i = 0; i < kCompletions; ++i) {
      const Completion& got = group.completions[i];
      const Completion want = ReferenceCompletion(request, i, kVocab, version, salt);
      EXPECT_EQ(got.token_ids, want.token_ids);
      EXPECT_EQ(got.logprobs, want.logprobs);
      EXPECT_EQ(got.versions, want.versions);
      EXPECT_EQ(got.finish_reason, want.finish_reason);
      EXPECT_EQ(got.reward.reason, lease.prompt.answer_key_json);
      EXPECT_GT(got.reward.total, 0);
      EXPECT_EQ(got.credit, credit_.Weights({.entropy = want.entropy}));
    }
  }

  std::atomic<bool> stop_{false};
  ActorSettings settings_ = MakeActorSettings(&stop_);
  FakeWeights weights_;
  FakeTokenizer tokenizer_;
  VerifierJudge judge_{std::make_unique<FakeVerifier>()};
  const CreditAssigner credit_ = CreditOf({"credit.strategy=ENTROPY"});
  std::unique_ptr<Actor> actor_;
};

TEST_F(ActorTest, AnswersEveryPromptAndStopsWhenTheRunIsFinished) {
  FakePort port(20);
  ASSERT_TRUE(Run(port).ok());
  ASSERT_EQ(port.groups.size(), 20u);
  for (const auto& [id, group] : port.groups) ExpectAsReference(group, kFirst, 0);
  EXPECT_LE(port.max_open, settings_.max_leases);
  const ActorStats stats = actor_->stats();
  EXPECT_EQ(stats.groups_leased, 20);
  EXPECT_EQ(stats.groups_submitted, 20);
  EXPECT_EQ(stats.completions, 60);
  EXPECT_EQ(stats.open_groups, 0);
  EXPECT_EQ(stats.version, kFirst);
}

TEST_F(ActorTest, TellsHowLongItWasAtWorkOnAGroup) {
  FakePort port(4);
  const absl::Time start = MonotonicNow();
  ASSERT_TRUE(Run(port).ok());
  const double took = SecondsSince(start);
  for (const auto& [id, group] : port.groups) {
    EXPECT_GT(group.times.sampling_s, 0);
    EXPECT_GT(group.times.handing_in_s, 0);
    EXPECT_LE(group.times.sampling_s + group.times.handing_in_s, took);
    EXPECT_EQ(group.arrived_s, 0) << "the learner's to say";
  }
}

TEST_F(ActorTest, HasWeightsSentThatItCannotReadFromTheLearnersMemory) {
  weights_.Share();
  FakePort port(4);
  ASSERT_TRUE(Run(port).ok());
  EXPECT_EQ(port.groups.size(), 4u);
  for (const auto& [id, group] : port.groups) ExpectAsReference(group, kFirst, 0);
  EXPECT_EQ(weights_.declined(), 1);
}

TEST_F(ActorTest, WaitsForTheVersionTheLearnerRequires) {
  FakePort port(6);
  port.after_submit = [&](const TrajectoryGroup&) {
    if (port.groups.size() == 3) {  // as in a synchronous run: the step is trained, older weights get no more leases
      port.required = kSecond;
      weights_.Publish(kSecond, {5});
    }
  };
  settings_.max_leases = 1;
  ASSERT_TRUE(Run(port).ok());
  ASSERT_EQ(port.groups.size(), 6u);
  for (const auto& [id, group] : port.groups) {
    if (id <= 3) {
      ExpectAsReference(group, kFirst, 0);
    } else if (group.completions[0].versions[0].version == kSecond) {
      ExpectAsReference(group, kSecond, 5);
    }
  }
  EXPECT_EQ(port.groups.at(6).completions[0].versions, (std::vector<VersionSpan>{{0, kSecond}}));
  EXPECT_EQ(actor_->stats().weight_swaps, 2);
}

// Every submitted group makes a new version; there are prompts until enough completions have lived through a swap.
TEST_F(ActorTest, JudgesByTheHeadClassesOfTheVersionThatSampledTheLastToken) {
  const CreditAssigner credit =
      CreditOf({"credit.strategy=LOCAL_CHUNK", "credit.head_mode=CALIBRATED", "credit.audit_share=0.5"});
  const auto classes_of = [](const PolicyVersion& version) -> std::optional<HeadClasses> {
    if (version == kFirst) return std::nullopt;
    return HeadClasses{.local = {static_cast<int32_t>(version.step % 3)}, .global = {3}};
  };
  constexpr int kEnough = 5, kMostLeases = 5000;
  int leases = 10, swapped = 0;
  FakePort port(leases);
  PolicyVersion newest = kFirst;
  port.after_submit = [&](const TrajectoryGroup& group) {
    ++newest.step;
    weights_.Publish(newest, {static_cast<float>(newest.step)}, classes_of(newest));
    for (const Completion& completion : group.completions) swapped += completion.versions.size() > 1;
    if (swapped < kEnough && leases < kMostLeases) port.waiting.push_back(MakeLease(++leases));
  };
  auto engine = *Engine::Create(
      {.max_sequences = 5, .max_step_tokens = 64, .max_waiting_groups = 3, .probe = *credit.Probe(1, kFakeHeads)},
      std::make_unique<FakeModelRunner>(40, kVocab, 1000));
  Actor actor(settings_, std::move(engine), &port, &weights_, GroupScorer(&tokenizer_, &judge_, &credit));
  ASSERT_TRUE(actor.Run().ok());
  ASSERT_GE(swapped, kEnough);
  int judged = 0, audited = 0;
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) {
      EXPECT_THAT(completion.head_spans, ElementsAre(1, 2, 3, 4));
      const HeadClasses own{.local = {0}, .global = {3}};
      const HeadClasses heads = classes_of(completion.versions.back().version).value_or(own);
      judged += heads != own;
      if (!completion.rhythm.has_value()) continue;
      ++audited;
      EXPECT_EQ(completion.rhythm->heads, heads);
      for (size_t t = 0; t < completion.rhythm->waad.size(); ++t) {
        EXPECT_EQ(completion.rhythm->waad[t], static_cast<float>((heads.local[0] + 1) * (t % 4)));
      }
    }
  }
  EXPECT_GT(audited, 0);
  EXPECT_GT(judged, 0) << "calibrated classes never differed from a completion's own";
}

TEST_F(ActorTest, SpansStayHomeUnlessHeadsAreCalibrated) {
  const CreditAssigner credit = CreditOf({"credit.strategy=LOCAL_CHUNK", "credit.audit_share=0"});
  auto engine = *Engine::Create({.max_sequences = 5, .probe = *credit.Probe(1, kFakeHeads)},
                                std::make_unique<FakeModelRunner>(40, kVocab, 1000));
  FakePort port(2);
  Actor actor(settings_, std::move(engine), &port, &weights_, GroupScorer(&tokenizer_, &judge_, &credit));
  ASSERT_TRUE(actor.Run().ok());
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) EXPECT_THAT(completion.head_spans, IsEmpty());
  }
}

// Notes by which temperatures the answers were drawn, and how often attention was measured.
struct NotingRunner : FakeModelRunner {
  NotingRunner(std::map<float, int>* noted_draws, int* noted_taps)
      : FakeModelRunner(40, kVocab, 1000), draws(*noted_draws), taps(*noted_taps) {}
  absl::Status Execute(const StepPlan& plan, std::span<ops::SampledToken> out) override {
    for (const RowDraw& draw : plan.draws) ++draws[draw.params.temperature];
    taps += static_cast<int>(std::ranges::count_if(plan.batch.taps, [](const auto& tap) { return tap.span_sum; }));
    return FakeModelRunner::Execute(plan, out);
  }
  std::map<float, int>& draws;
  int& taps;
};

TEST_F(ActorTest, AHeldOutPromptIsSampledAsItsLeaseSaysAndNotMeasured) {
  const CreditAssigner credit = CreditOf({"credit.strategy=LOCAL_CHUNK", "credit.audit_share=1"});
  std::map<float, int> draws;
  int taps = 0;
  auto engine = *Engine::Create({.max_sequences = 5, .probe = *credit.Probe(1, kFakeHeads)},
                                std::make_unique<NotingRunner>(&draws, &taps));
  FakePort port(3);
  for (PromptLease& lease : port.waiting) {
    lease.lease_id |= kEvaluationLease;
    lease.completions_wanted = 7;  // more than the engine computes at once
    lease.evaluation = {.temperature = 0.25F};
  }
  Actor actor(settings_, std::move(engine), &port, &weights_, GroupScorer(&tokenizer_, &judge_, &credit));
  ASSERT_TRUE(actor.Run().ok());
  ASSERT_EQ(port.groups.size(), 3u);
  for (const auto& [id, group] : port.groups) {
    ASSERT_EQ(group.completions.size(), 7u);
    for (const Completion& completion : group.completions) {
      EXPECT_EQ(completion.credit, std::vector<float>(completion.token_ids.size(), 1.0F));
      EXPECT_FALSE(completion.rhythm.has_value());
      EXPECT_THAT(completion.head_spans, IsEmpty());
      EXPECT_EQ(completion.reward.reason, MakeLease(id & ~kEvaluationLease).prompt.answer_key_json);
    }
  }
  EXPECT_EQ(actor.stats().answers_measured, 21);
  EXPECT_EQ(actor.stats().groups_submitted, 0) << "the learner's books are of what is trained on";
  EXPECT_EQ(taps, 0);
  ASSERT_EQ(draws.size(), 1u);
  EXPECT_EQ(draws.begin()->first, 0.25F);
}

TEST_F(ActorTest, RepeatsASubmitUntilTheLearnerIsBack) {
  FakePort port(2);
  port.submit_errors = {absl::UnavailableError("down"), absl::UnavailableError("down")};
  ASSERT_TRUE(Run(port).ok());
  EXPECT_EQ(port.groups.size(), 2u);
  EXPECT_EQ(actor_->stats().submit_retries, 2);
}

TEST_F(ActorTest, DropsWhatTheLearnerNoLongerWants) {
  FakePort port(4);
  port.submit_errors = {absl::NotFoundError("expired"), absl::InvalidArgumentError("bad")};
  ASSERT_TRUE(Run(port).ok());
  EXPECT_EQ(port.groups.size(), 2u);
  EXPECT_EQ(actor_->stats().groups_expired, 1);
  EXPECT_EQ(actor_->stats().groups_refused, 1);
}

TEST_F(ActorTest, GivesUpWhenEverythingItSendsIsMalformed) {
  FakePort port(20);
  port.submit_errors.assign(20, absl::InvalidArgumentError("logprobs[3] is nan"));
  EXPECT_THAT(std::string(Run(port).message()), HasSubstr("logprobs[3] is nan"));
  EXPECT_EQ(actor_->stats().groups_refused, 8);
}

TEST_F(ActorTest, DrainsWhenAskedToStop) {
  FakePort port(1000);
  settings_.max_completion_tokens = 200;
  port.after_submit = [&](const TrajectoryGroup&) {
    if (port.groups.size() == 5) stop_ = true;
  };
  ASSERT_TRUE(Run(port).ok());
  EXPECT_EQ(port.open, 0) << "a leased group was left behind";
  EXPECT_GE(port.groups.size(), 5u);
  EXPECT_LT(port.groups.size(), 100u);
}

TEST_F(ActorTest, SaysWhyItIsNotReady) {
  FakePort port(1);
  port.attached = false;
  port.after_submit = [&](const TrajectoryGroup&) { stop_ = true; };
  Start(port);
  EXPECT_EQ(actor_->NotReady(), "not attached to the learner");
  port.attached = true;
  EXPECT_EQ(actor_->NotReady(), "no weights from the learner yet");
  EXPECT_TRUE(actor_->Run().ok());
  EXPECT_EQ(actor_->NotReady(), "draining: asked to stop");
}

TEST_F(ActorTest, TellsThatItWaitsForALostLearner) {
  FakePort port(2);
  port.finish_when_empty = false;
  port.after_submit = [&](const TrajectoryGroup&) {
    if (port.groups.size() == 2) port.attached = false;
  };
  Start(port);
  std::thread stopper([&] {
    while (actor_->stats().wait_disconnected_s == 0) absl::SleepFor(absl::Milliseconds(5));
    EXPECT_EQ(actor_->NotReady(), "not attached to the learner");
    stop_ = true;
  });
  EXPECT_TRUE(actor_->Run().ok());
  stopper.join();
}

TEST_F(ActorTest, LeavesWhatTheGraceDoesNotCover) {
  FakePort port(3);
  settings_.drain_grace = absl::Milliseconds(1);
  port.submit_errors.assign(1000, absl::UnavailableError("down"));
  Start(port);
  std::thread stopper([&] {
    while (actor_->stats().submit_retries == 0) absl::SleepFor(absl::Milliseconds(5));
    stop_ = true;
  });
  EXPECT_TRUE(actor_->Run().ok());
  stopper.join();
  EXPECT_GT(port.open, 0);
}

// What it holds goes back to the queue while it has no stream, so there is nothing to stay for.
TEST_F(ActorTest, DoesNotFinishForALearnerThatIsGone) {
  FakePort port(3);
  settings_.drain_grace = absl::Hours(1);
  settings_.drain_detached = absl::Milliseconds(1);
  port.submit_errors.assign(100000, absl::UnavailableError("down"));
  Start(port);
  std::thread stopper([&] {
    while (actor_->stats().submit_retries == 0) absl::SleepFor(absl::Milliseconds(5));
    absl::MutexLock lock(&port.mutex);
    port.attached = false;
    stop_ = true;
  });
  EXPECT_TRUE(actor_->Run().ok());
  stopper.join();
  EXPECT_GT(port.open, 0);
}

TEST_F(ActorTest, DropsAGroupWhoseLeaseHasEnded) {
  FakePort port(2);
  port.ended = {1};
  port.finish_when_empty = false;
  port.after_submit = [&](const TrajectoryGroup&) { stop_ = true; };
  ASSERT_TRUE(Run(port).ok());
  EXPECT_EQ(port.groups.count(1), 0u);
  EXPECT_EQ(port.groups.count(2), 1u);
  EXPECT_EQ(actor_->stats().groups_expired, 1);
  EXPECT_EQ(actor_->stats().open_groups, 0);
}

TEST_F(ActorTest, WorksOnALeaseForLongerThanItsTime) {
  FakePort port(2);
  port.waiting[0].timeout_s = 1e-9;
  ASSERT_TRUE(Run(port).ok());
  EXPECT_EQ(port.groups.size(), 2u);
  EXPECT_EQ(actor_->stats().groups_expired, 0);
  EXPECT_GT(port.renewals[1], 0) << "the learner was told";
}

TEST_F(ActorTest, GivesUpSubmittingOnceTheLeaseHasEnded) {
  FakePort port(1);
  port.submit_errors.assign(100000, absl::UnavailableError("down"));
  port.finish_when_empty = false;
  Start(port);
  std::thread learner([&] {
    while (actor_->stats().submit_retries == 0) absl::SleepFor(absl::Milliseconds(5));
    {
      absl::MutexLock lock(&port.mutex);
      port.ended = {1};
    }
    while (actor_->stats().groups_expired == 0) absl::SleepFor(absl::Milliseconds(5));
    stop_ = true;
  });
  EXPECT_TRUE(actor_->Run().ok());
  learner.join();
  EXPECT_EQ(actor_->stats().open_groups, 0);
}

TEST_F(ActorTest, GivesUpWhenTheLearnerStaysSilent) {
  FakePort port(1);
  port.lease_error = absl::UnavailableError("connection refused");
  settings_.learner_timeout = absl::Milliseconds(100);
  weights_.Fail(absl::UnavailableError("connection refused"));
  const absl::Status status = Run(port);
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no answer from the learner"));
}

TEST_F(ActorTest, StopsWhileItWaitsForTheFirstWeights) {
  FakePort port(1);
  FakeWeights none;
  auto engine = *Engine::Create({.max_sequences = 5}, std::make_unique<FakeModelRunner>(40, kVocab, 1000));
  Actor actor(settings_, std::move(engine), &port, &none, GroupScorer(&tokenizer_, &judge_, &credit_));
  stop_ = true;
  EXPECT_TRUE(actor.Run().ok());
  EXPECT_EQ(actor.stats().groups_leased, 0);
}

TEST_F(ActorTest, ReportsMistakesThatWillNotPass) {
  FakePort refused(1);
  refused.lease_error = absl::PermissionDeniedError("run id \"a\" is not \"b\"");
  EXPECT_THAT(std::string(Run(refused).message()), HasSubstr("run id"));

  FakePort broken(1);
  broken.waiting[0].prompt.answer_key_json = "broken";
  EXPECT_THAT(std::string(Run(broken).message()), HasSubstr("prompt 5: answer key is not JSON"));

  FakePort too_long(1);
  too_long.waiting[0].prompt.token_ids.assign(700, 1);
  EXPECT_THAT(std::string(Run(too_long).message()), HasSubstr("actor.kv_cache_mib"));

  FakePort other_model(1);
  weights_.Publish(kSecond, {1, 2, 3});
  EXPECT_THAT(std::string(Run(other_model).message()), HasSubstr("got 3 weights"));
}

TEST_F(ActorTest, ACompletionThatCannotBeDecodedEarnsNothing) {
  FakePort port(3);
  settings_.stop_ids = {};
  Start(port);
  tokenizer_.unknown = 7;
  ASSERT_TRUE(actor_->Run().ok());
  int undecodable = 0;
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) {
      const auto& ids = completion.token_ids;
      const bool has = std::find(ids.begin(), ids.end(), 7) != ids.end();
      EXPECT_EQ(completion.reward.reason == "undecodable", has);
      EXPECT_EQ(completion.reward.total == 0, has);
      undecodable += has ? 1 : 0;
    }
  }
  EXPECT_GT(undecodable, 0);
  EXPECT_LT(undecodable, 9);
}

}  // namespace
}  // namespace tactus
