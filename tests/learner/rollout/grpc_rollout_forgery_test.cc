// An actor that is let in and lies. Each forgery of a group is refused and counted, or bounded, or told apart later;
// what a group may claim without anybody noticing is listed at the end, and in docs/SECURITY.md.
#include <algorithm>
#include <functional>
#include <limits>

#include "tests/learner/rollout/grpc_raw_actor.h"
#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kHoard = 2;  // leases an actor may hold

struct ForgeryTest : RolloutFixture {
  ~ForgeryTest() override { server.reset(); }  // its timer writes into `metrics`, which ends before the base class

  // As a run with COUPLED credit of amplification 1.5 and task.format_reward 0.05 sets it.
  static RolloutServerOptions Options(int staleness = 0) {
    RolloutServerOptions options = ServerOptions(staleness);
    options.limits.min_credit = 1;
    options.limits.max_credit = 1.75;
    options.limits.max_format_reward = 0.05;
    return options;
  }
  void Start(RolloutServerOptions options) {
    options.metrics = &metrics;
    StartServer(options);
    AddPrompts();
    liar = Attach("liar");
  }
  absl::Status Submit(const TrajectoryGroup& group) { return liar->Submit(group, kLong); }
  void ExpectMetric(const std::string& line) {
    Eventually([&] { return metrics.Text().find("\n" + line + "\n") != std::string::npos; });
    if (HasFailure()) ADD_FAILURE() << line;
  }

  MetricSet metrics{{.role = ProcessRole::kLearner, .task = "t", .run_id = "r"}};
  std::unique_ptr<GrpcRolloutPort> liar;
};

struct Forgery {
  const char* name;
  std::function<void(TrajectoryGroup&)> forge;
  const char* why;
};

template <typename Change>
auto OfOne(Change change) {
  return [change](TrajectoryGroup& group) { change(group.completions[1]); };
}

const Forgery kForgeries[] = {
    {"certain beyond 1", OfOne([](auto& c) { c.logprobs[1] = 0.5F; }), "logprobs[1]"},
    {"never drawn", OfOne([](auto& c) { c.logprobs[1] = -1e30F; }), "logprobs[1]"},
    {"not a log-prob", OfOne([](auto& c) { c.logprobs[1] = kNan; }), "logprobs[1]"},
    {"impossible", OfOne([](auto& c) { c.logprobs[1] = -kInfinity; }), "logprobs[1]"},
    {"too few log-probs", OfOne([](auto& c) { c.logprobs.pop_back(); }), "logprobs has 3 values"},
    {"entropy beyond the vocabulary's", OfOne([](auto& c) { c.entropy[0] = 7; }), "entropy[0]"},
    {"credit above the amplification", OfOne([](auto& c) { c.credit[2] = 1.76F; }), "credit[2] is 1.76"},
    {"a huge credit", OfOne([](auto& c) { c.credit[2] = 3e38F; }), "credit[2]"},
    {"credit below neutral", OfOne([](auto& c) { c.credit[2] = 0; }), "credit[2] is 0"},
    {"credit that is none", OfOne([](auto& c) { c.credit[2] = kNan; }), "credit[2]"},
    {"too much credit", OfOne([](auto& c) { c.credit.push_back(1); }), "credit has 5 values"},
    {"twice right", OfOne([](auto& c) {
       c.reward = {2.05, 2, 0.05, ""};
     }),
     "reward.correct is 2"},
    {"half right", OfOne([](auto& c) {
       c.reward = {0.5, 0.5, 0, ""};
     }),
     "reward.correct is 0.5"},
    {"a huge total", OfOne([](auto& c) { c.reward.total = 1e300; }), "reward.total"},
    {"a total of its own", OfOne([](auto& c) { c.reward.total = -1; }), "reward.total is -1"},
    {"too much for the form", OfOne([](auto& c) {
       c.reward = {1.5, 1, 0.5, ""};
     }),
     "reward.format is 0.5"},
    {"a fine for the form", OfOne([](auto& c) {
       c.reward = {-1, 0, -1, ""};
     }),
     "reward.format is -1"},
    {"an endless reason", OfOne([](auto& c) { c.reward.reason = std::string(257, 'x'); }), "reward.reason"},
    {"weights of the future", OfOne([](auto& c) {
       c.versions = {{0, {0, 1}}};
     }),
     "newer than any: 0.0"},
    {"weights of the far future", OfOne([](auto& c) {
       c.versions = {{0, {0, ~uint64_t{0}}}};
     }),
     "newer than"},
    {"weights of another incarnation", OfOne([](auto& c) {
       c.versions = {{0, {1, 0}}};
     }),
     "incarnation"},
    {"weights of no token", OfOne([](auto& c) {
       c.versions.push_back({9, {0, 1}});
     }),
     "at token 9 of 4"},
    {"no weights", OfOne([](auto& c) { c.versions.clear(); }), "versions must start"},
    {"no answer", OfOne([](auto& c) { c.token_ids.clear(); }), "token_ids has 0 tokens"},
    {"a longer answer", OfOne([](auto& c) { c.token_ids.resize(33, 1); }), "token_ids has 33 tokens"},
    {"a token below all", OfOne([](auto& c) { c.token_ids[0] = -1; }), "token_ids[0] is -1"},
    {"a token beyond all", OfOne([](auto& c) { c.token_ids[0] = 1000; }), "token_ids[0] is 1000"},
    {"a group too small", [](auto& g) { g.completions.pop_back(); }, "has 1 entries"},
    {"a group too large", [](auto& g) { g.completions.push_back(g.completions[0]); }, "more entries than 2"},
    {"another question", [](auto& g) { g.prompt_token_ids[0] += 1; }, "another prompt"},
    {"another question's id", [](auto& g) { g.prompt_id += 1; }, "another prompt"},
    {"another actor's work", [](auto& g) { g.actor_id = "honest"; }, "whose stream it came on"},
};

TEST_F(ForgeryTest, ValuesThatNoHonestActorSendsAreRefused) {
  Start(Options());
  const std::vector<PromptLease> leases = Lease(*liar, 1, {0, 0});
  ASSERT_EQ(leases.size(), 1u);
  int refused = 0;
  for (const Forgery& forgery : kForgeries) {
    SCOPED_TRACE(forgery.name);
    TrajectoryGroup group = MakeGroup(leases[0], "liar", {0, 0});
    forgery.forge(group);
    const absl::Status status = Submit(group);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(forgery.why));
    EXPECT_EQ(server->Counters()[RejectReason::kMalformed], ++refused);
    EXPECT_EQ(server->Counters().accepted, 0);
  }
  EXPECT_TRUE(Submit(MakeGroup(leases[0], "liar", {0, 0})).ok()) << "the lease is still its own";
  const int group = kTestLimits.completions_per_prompt;
  ExpectMetric(absl::StrCat("tactus_trajectories_rejected_total{reason=\"nonfinite\"} ", 3 * group));
  ExpectMetric(absl::StrCat("tactus_trajectories_rejected_total{reason=\"malformed\"} ", (refused - 3) * group));
  EXPECT_TRUE(server->Counters().Balanced());
}

TEST_F(ForgeryTest, LeasesOfOthersAndOldOnesAreNotAnswered) {
  Start(Options());
  const auto honest = Attach("honest");
  const std::vector<PromptLease> theirs = Lease(*honest, 1, {0, 0}), own = Lease(*liar, 1, {0, 0});
  ASSERT_TRUE(theirs.size() == 1 && own.size() == 1);
  const absl::Status stolen = Submit(MakeGroup(theirs[0], "liar", {0, 0}));
  EXPECT_EQ(stolen.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(stolen.message()), HasSubstr("another actor than the lease's"));
  PromptLease made_up = own[0];
  made_up.lease_id += 1000;
  EXPECT_EQ(Submit(MakeGroup(made_up, "liar", {0, 0})).code(), absl::StatusCode::kNotFound);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Submit(MakeGroup(own[0], "liar", {0, 0})).ok()) << "acknowledged again";
  EXPECT_EQ(server->Counters().accepted, 1);
  EXPECT_EQ(server->Counters()[RejectReason::kDuplicate], 2);
  EXPECT_EQ(server->Counters()[RejectReason::kExpired], 1);
  EXPECT_TRUE(honest->Submit(MakeGroup(theirs[0], "honest", {0, 0}), kLong).ok());
}

TEST_F(ForgeryTest, AnOlderVersionOnlyAgesTheGroup) {
  Start(Options(/*staleness=*/1));
  const std::vector<PromptLease> first = Lease(*liar, 1, {0, 0});
  ASSERT_TRUE(server->SetVersion({0, 1}).ok());
  ASSERT_TRUE(server->SetVersion({0, 2}).ok());
  const std::vector<PromptLease> second = Lease(*liar, 1, {0, 9});  // no such version is held by anyone
  ASSERT_TRUE(first.size() == 1 && second.size() == 1);
  EXPECT_TRUE(Submit(MakeGroup(first[0], "liar", {0, 2})).ok()) << "leased at version 0: it counts from there";
  EXPECT_TRUE(Submit(MakeGroup(second[0], "liar", {0, 0})).ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(server->TakeGroups(1, kShort).status()));
  EXPECT_EQ(server->Counters()[DropReason::kStale], 2);
  ExpectMetric(
      absl::StrCat("tactus_trajectories_dropped_total{reason=\"stale\"} ", 2 * kTestLimits.completions_per_prompt));
}

TEST_F(ForgeryTest, WhoHoardsPromptsIsEnded) {
  RolloutServerOptions options = Options();
  options.max_leases_per_actor = kHoard;
  Start(options);
  RawActor greedy(server->port());
  greedy.Write(RawActor::Hello("greedy"));
  ASSERT_TRUE(greedy.Read()->has_welcome());
  greedy.Write(RawActor::LeaseRequest(1, 100, 20));
  EXPECT_EQ(greedy.Read()->lease_reply().leases_size(), kHoard) << "of 4 that wait";
  greedy.Write(RawActor::LeaseRequest(2, 1, 20));
  const grpc::Status status = greedy.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("holds 2 leases and asks for more; expected at most 2"));
  ExpectMetric("tactus_streams_refused_total{reason=\"violation\"} 1");
  std::vector<PromptLease> all = Lease(*liar, 2, {0, 0});
  ASSERT_EQ(all.size(), 2u);
  for (const PromptLease& lease : all) EXPECT_TRUE(Submit(MakeGroup(lease, "liar", {0, 0})).ok());
  Eventually([&] { return server->Counters().leases_returned == kHoard; });
  EXPECT_EQ(Lease(*liar, 2, {0, 0}).size(), 2u) << "what it held goes to others";
}

// Counted every time, written down as often as a disk can bear.
TEST_F(ForgeryTest, AFloodDoesNotFillTheLog) {
  constexpr int kFlood = 400, kBurst = 100, kSecondsAtMost = 100;
  Start(Options());
  testing::internal::CaptureStderr();
  for (int i = 0; i < kFlood; ++i) {
    RawActor stranger(server->port());
    stranger.Write(RawActor::Hello("two\nlines"));
    EXPECT_FALSE(stranger.End().ok());
  }
  RawActor raw(server->port());
  raw.Write(RawActor::Hello("flooding"));
  ASSERT_TRUE(raw.Read()->has_welcome());
  for (uint64_t sequence = 1; sequence <= kFlood; ++sequence) {
    ASSERT_TRUE(raw.Write(RawActor::Chunk(sequence, 0, "nonsense", true)));
    ASSERT_TRUE(raw.Read()->has_submit_reply());
  }
  EXPECT_EQ(server->Counters()[RejectReason::kMalformed], kFlood);
  Eventually([&] { return server->ProtocolViolations() == kFlood; });
  const std::string log = testing::internal::GetCapturedStderr();
  const auto count = [&](const std::string& text) {
    int found = 0;
    for (size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++found;
    return found;
  };
  for (const char* line : {"ending the stream of", "refused a group of flooding"}) {
    EXPECT_GE(count(line), kBurst) << line;
    EXPECT_LE(count(line), kBurst + kSecondsAtMost) << line;
  }
}

// The trust that is left: within the bounds a group is what its actor says it is. What of this shows, and where:
// log-probs as tactus_sampler_mismatch_*, rewards as the learner's own verdict (tactus_reward_disagreements_total).
TEST_F(ForgeryTest, WithinTheBoundsAnActorIsBelieved) {
  Start(Options());
  const std::vector<PromptLease> leases = Lease(*liar, 4, {0, 0});
  ASSERT_EQ(leases.size(), 4u);
  const std::function<void(Completion&)> lies[] = {
      [](Completion& c) { std::ranges::fill(c.logprobs, -0.1F); },
      [](Completion& c) {
        c.reward = {1, 1, 0, "correct"};
      },
      [](Completion& c) { std::ranges::fill(c.credit, 1.75F); },
      [](Completion& c) { std::ranges::fill(c.token_ids, 7); },
  };
  for (size_t i = 0; i < leases.size(); ++i) {
    TrajectoryGroup group = MakeGroup(leases[i], "liar", {0, 0});
    for (Completion& completion : group.completions) lies[i](completion);
    EXPECT_TRUE(Submit(group).ok()) << i;
  }
  EXPECT_EQ(server->Counters().accepted, 4);
}

}  // namespace
}  // namespace tactus
