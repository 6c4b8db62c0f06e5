// A learner and actors over loopback: the ordinary course of things, lost actors, restarts.
#include <filesystem>
#include <thread>

#include "absl/time/clock.h"
#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

struct GrpcRollout : RolloutFixture {};

TEST_F(GrpcRollout, OneStepAndTheEnd) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  EXPECT_EQ(*port->AwaitVersion(std::nullopt, kLong), (PolicyVersion{0, 0}));
  AddPrompts();
  const std::vector<PromptLease> leases = Lease(*port, 4, {0, 0});
  ASSERT_EQ(leases.size(), 4u);
  EXPECT_EQ(leases[1].prompt.token_ids, MakePrompt(1).token_ids);
  EXPECT_EQ(leases[1].prompt.answer_key_json, MakePrompt(1).answer_key_json);
  for (const PromptLease& lease : leases) {
    EXPECT_TRUE(port->Submit(MakeGroup(lease, "actor-1", {0, 0}), kLong).ok());
  }
  const absl::StatusOr<std::vector<TrajectoryGroup>> groups = server->TakeGroups(4, kLong);
  EXPECT_THAT(Ids(groups), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ((*groups)[2].completions[1].logprobs, MakeGroup(leases[2], "actor-1", {0, 0}).completions[1].logprobs);
  EXPECT_EQ(*port->AwaitVersion(PolicyVersion{0, 0}, absl::Milliseconds(1)), std::nullopt);
  std::thread later([&] { EXPECT_TRUE(server->SetVersion({0, 1}).ok()); });
  EXPECT_EQ(*port->AwaitVersion(PolicyVersion{0, 0}, kLong), (PolicyVersion{0, 1}));
  EXPECT_EQ(*port->AwaitVersion(std::nullopt, kLong), (PolicyVersion{0, 1}));
  later.join();
  ASSERT_TRUE(server->Release(4).ok());
  EXPECT_FALSE(port->RunFinished());
  server->Finish();
  Eventually([&] { return port->RunFinished(); });
  EXPECT_TRUE(port->Lease(1, {0, 1}, kLong)->empty());
  EXPECT_TRUE(server->Counters().Balanced());
  EXPECT_EQ(server->Counters().trained, 4);
}

TEST_F(GrpcRollout, TwoActorsShareTenSteps) {
  StartServer(ServerOptions(1));
  std::vector<std::thread> actors;
  for (const char* name : {"actor-1", "actor-2"}) {
    actors.emplace_back([this, name] {
      const auto port = Attach(name);
      while (!port->RunFinished()) {
        const PolicyVersion held = **port->AwaitVersion(std::nullopt, kLong);
        const absl::StatusOr<std::vector<PromptLease>> leases = port->Lease(2, held, absl::Seconds(1));
        if (!leases.ok()) continue;  // newer weights are out
        for (const PromptLease& lease : *leases) {
          const absl::Status status = port->Submit(MakeGroup(lease, name, held), kLong);
          EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
        }
      }
    });
  }
  for (uint64_t step = 0; step < 10; ++step) {
    AddPrompts();
    EXPECT_EQ(Ids(server->TakeGroups(4, kLong)).size(), 4u);
    EXPECT_TRUE(server->SetVersion({0, step + 1}).ok());
    EXPECT_TRUE(server->Release(4).ok());
  }
  EXPECT_EQ(server->AttachedActors(), 2);
  server->Finish();
  for (std::thread& actor : actors) actor.join();
  EXPECT_EQ(server->Counters().trained, 40);
  EXPECT_EQ(server->Counters()[DropReason::kStale], 0);
  EXPECT_TRUE(server->Counters().Balanced());
}

TEST_F(GrpcRollout, ALeaseRequestWaitsForAPrompt) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  EXPECT_TRUE(port->Lease(1, {0, 0}, kShort)->empty());
  std::thread adder([this] {
    absl::SleepFor(kShort);
    AddPrompts();
  });
  EXPECT_EQ(Lease(*port, 1, {0, 0}).size(), 1u);
  adder.join();
}

TEST_F(GrpcRollout, AWaitingRequestForOldWeightsIsToldOfNewOnes) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  std::thread learner([&] {
    absl::SleepFor(kShort);
    EXPECT_TRUE(server->SetVersion({0, 1}).ok());
  });
  EXPECT_EQ(port->Lease(1, {0, 0}, kLong).status().code(), absl::StatusCode::kFailedPrecondition);
  learner.join();
}

TEST_F(GrpcRollout, WeightsOfAnotherIncarnationGetNoLease) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  for (const bool prompts_wait : {false, true}) {
    EXPECT_EQ(port->Lease(1, {3, 0}, kLong).status().code(), absl::StatusCode::kFailedPrecondition) << prompts_wait;
    AddPrompts();
  }
  EXPECT_EQ(Lease(*port, 1, {0, 0}).size(), 1u);
}

TEST_F(GrpcRollout, ARepeatedSubmissionIsAcknowledgedAndCountsOnce) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  AddPrompts();
  const TrajectoryGroup group = MakeGroup(Lease(*port, 1, {0, 0})[0], "actor-1", {0, 0});
  EXPECT_TRUE(port->Submit(group, kLong).ok());
  EXPECT_TRUE(port->Submit(group, kLong).ok());
  EXPECT_EQ(server->Counters().accepted, 1);
  EXPECT_THAT(Ids(server->TakeGroups(1, kLong)), ElementsAre(0));
}

TEST_F(GrpcRollout, ALeaseThatComesTooLateForItsCallIsGivenToTheNext) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  EXPECT_TRUE(port->Lease(2, {0, 0}, absl::ZeroDuration())->empty());
  AddPrompts();
  size_t leased = 0;
  for (int i = 0; i < 200; ++i) leased += port->Lease(1, {0, 0}, absl::Microseconds(i * 5))->size();
  while (leased < 4) leased += Lease(*port, 1, {0, 0}).size();
  EXPECT_EQ(leased, 4u) << "none is lost on the way";
}

TEST_F(GrpcRollout, AKilledActorsPromptsGoToTheOther) {
  StartServer(ServerOptions());
  const auto survivor = Attach("actor-1");
  auto killed = Attach("actor-2");
  AddPrompts();
  const std::vector<PromptLease> lost = Lease(*killed, 3, {0, 0});
  ASSERT_EQ(lost.size(), 3u);
  killed.reset();
  size_t answered = 0;
  while (answered < 4) {
    for (const PromptLease& lease : Lease(*survivor, 4, {0, 0})) {
      EXPECT_TRUE(survivor->Submit(MakeGroup(lease, "actor-1", {0, 0}), kLong).ok());
      ++answered;
    }
  }
  EXPECT_THAT(Ids(server->TakeGroups(4, kLong)), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(server->Counters().leases_returned, 3);
  const auto back = Attach("actor-2");
  EXPECT_EQ(back->Submit(MakeGroup(lost[0], "actor-2", {0, 0}), kLong).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(server->AttachedActors(), 2);
}

// An actor that works says so; the lease of one that stands still ends, and it is told.
TEST_F(GrpcRollout, ALeaseLastsWhileItsActorWorks) {
  RolloutServerOptions options = ServerOptions();
  options.ledger.lease_timeout = absl::Seconds(2);
  StartServer(options);
  const auto port = Attach("actor-1");
  AddPrompts();
  const std::vector<PromptLease> leases = Lease(*port, 2, {0, 0});
  const uint64_t working[] = {leases[0].lease_id};
  const absl::Time until = absl::Now() + 4 * options.ledger.lease_timeout;
  while (absl::Now() < until) {
    ASSERT_TRUE(port->Renew(working).empty());
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_EQ(server->Counters().leases_expired, 1) << "of the one that nobody worked on";
  EXPECT_TRUE(port->Submit(MakeGroup(leases[0], "actor-1", {0, 0}), kLong).ok());
  const uint64_t other[] = {leases[1].lease_id};
  EXPECT_THAT(port->Renew(other), ElementsAre(leases[1].lease_id));
}

TEST_F(GrpcRollout, PromptsOnTheirLastTryAreNotLeasedTogether) {
  RolloutServerOptions options = ServerOptions();
  options.ledger.max_attempts = 2;
  StartServer(options);
  ASSERT_TRUE(server->AddPrompts({MakePrompt(0), MakePrompt(1)}).ok());
  ASSERT_EQ(Lease(*Attach("actor-1"), 2, {0, 0}).size(), 2u);
  const auto port = Attach("actor-2");
  const std::vector<PromptLease> first = Lease(*port, 2, {0, 0});
  ASSERT_EQ(first.size(), 1u);
  std::thread answers([&] {
    absl::SleepFor(kShort);
    EXPECT_TRUE(port->Submit(MakeGroup(first[0], "actor-2", {0, 0}), kLong).ok());
  });
  EXPECT_EQ(Lease(*port, 2, {0, 0}).size(), 1u) << "the request waits until the first is answered";
  answers.join();
}

TEST_F(GrpcRollout, ARestartedActorsOldLeasesReturnAtOnce) {
  RolloutServerOptions options = ServerOptions();
  options.lost_actor_grace = absl::Hours(1);
  StartServer(options);
  auto before = Attach("actor-1");
  AddPrompts();
  ASSERT_EQ(Lease(*before, 3, {0, 0}).size(), 3u);
  before.reset();
  const auto after = Attach("actor-1");
  EXPECT_EQ(Lease(*after, 4, {0, 0}).size(), 4u);
}

TEST_F(GrpcRollout, RefusalsSayWhy) {
  StartServer(ServerOptions());
  GrpcRolloutPortOptions options = ActorOptions("actor-1");
  options.run_id = "other-run";
  absl::Status status = GrpcRolloutPort::Connect(options, kLong).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("belongs to run \"other-run\" and the learner to run \"test-run\""));
  options = ActorOptions("actor-1");
  options.config_fingerprint = "f2";
  status = GrpcRolloutPort::Connect(options, kLong).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("configuration differs"));
  status = GrpcRolloutPort::Connect(ActorOptions("bad name"), kLong).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("hello.actor_id"));
}

TEST_F(GrpcRollout, NobodyThereIsUnavailable) {
  StartServer(ServerOptions());
  const GrpcRolloutPortOptions options = ActorOptions("actor-1");
  server.reset();
  EXPECT_EQ(GrpcRolloutPort::Connect(options, absl::Milliseconds(300)).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GrpcRollout, AMalformedGroupIsRefusedAndItsStreamLives) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  AddPrompts();
  const PromptLease lease = Lease(*port, 1, {0, 0})[0];
  TrajectoryGroup group = MakeGroup(lease, "actor-1", {0, 0});
  group.completions[0].logprobs[1] = 2.0F;
  const absl::Status status = port->Submit(group, kLong);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("completions[0].logprobs[1] is 2"));
  EXPECT_EQ(port->Submit(MakeGroup(lease, "actor-2", {0, 0}), kLong).code(), absl::StatusCode::kInvalidArgument);
  group.completions.assign(3000, group.completions[1]);
  EXPECT_THAT(std::string(port->Submit(group, kLong).message()), HasSubstr("the learner takes at most"));
  EXPECT_TRUE(port->Submit(MakeGroup(lease, "actor-1", {0, 0}), kLong).ok());
  EXPECT_EQ(server->Counters()[RejectReason::kMalformed], 2);
}

TEST_F(GrpcRollout, LargeGroupsGoInChunks) {
  RolloutServerOptions options = ServerOptions();
  options.limits.max_completion_tokens = 200'000;
  StartServer(options);
  GrpcRolloutPortOptions actor = ActorOptions("actor-1");
  actor.limits = options.limits;
  const auto port = *GrpcRolloutPort::Connect(actor, kLong);
  AddPrompts();
  const std::vector<PromptLease> leases = Lease(*port, 4, {0, 0});
  std::vector<std::thread> submits;
  for (const PromptLease& lease : leases) {
    submits.emplace_back([&, lease] {
      TrajectoryGroup group = MakeGroup(lease, "actor-1", {0, 0}, 150'000);
      for (Completion& completion : group.completions) completion.logprobs.assign(150'000, -0.5F);
      EXPECT_GT(EncodeGroup(group).size(), size_t{3} << 20);
      EXPECT_TRUE(port->Submit(group, kLong).ok());
    });
  }
  for (std::thread& submit : submits) submit.join();
  const absl::StatusOr<std::vector<TrajectoryGroup>> groups = server->TakeGroups(4, kLong);
  EXPECT_THAT(Ids(groups), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ((*groups)[3].completions[1].token_ids.size(), 150'000u);
}

TEST_F(GrpcRollout, CloseEndsAWaitingCall) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  std::thread closer([&] {
    absl::SleepFor(kShort);
    port->Close();
  });
  EXPECT_EQ(port->Lease(1, {0, 0}, kLong).status().code(), absl::StatusCode::kCancelled);
  closer.join();
  EXPECT_EQ(port->AwaitVersion(PolicyVersion{0, 0}, kLong).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(port->Submit({}, kLong).code(), absl::StatusCode::kCancelled);
}

TEST_F(GrpcRollout, TakingTooLongSaysWhoIsAwaited) {
  StartServer(ServerOptions());
  AddPrompts();
  EXPECT_THAT(std::string(server->TakeGroups(4, kShort).status().message()),
              HasSubstr("for 4 of 4 groups, 4 prompts are waiting for an actor; 0 actors attached"));
  const auto port = Attach("actor-1");
  Lease(*port, 1, {0, 0});
  const absl::Status status = server->TakeGroups(4, kShort).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()),
              MatchesRegex("waiting .* s for 4 of 4 groups, oldest lease to actor-1 since .* s; 1 actors attached"));
  // The learner asks a slice of time after the other: its log says how long it has waited in all.
  std::string sentence;
  for (int i = 0; i < 1000 && sentence.find("waiting 1 s") == std::string::npos; ++i) {
    sentence = std::string(server->TakeGroups(4, absl::Milliseconds(5)).status().message());
  }
  EXPECT_THAT(sentence, HasSubstr("waiting 1 s"));
  EXPECT_EQ(server->TakeGroups(5, kShort).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GrpcRollout, FinishEndsTheLearnersWait) {
  StartServer(ServerOptions());
  std::thread finisher([&] {
    absl::SleepFor(kShort);
    server->Finish();
  });
  EXPECT_EQ(server->TakeGroups(4, kLong).status().code(), absl::StatusCode::kCancelled);
  finisher.join();
}

TEST_F(GrpcRollout, TheAddressMustBeFree) {
  StartServer(ServerOptions());
  RolloutServerOptions options = ServerOptions();
  options.listen = absl::StrCat("127.0.0.1:", server->port());
  EXPECT_EQ(RolloutServer::Start(options, std::nullopt).status().code(), absl::StatusCode::kUnavailable)
      << "it may pass";
}

TEST_F(GrpcRollout, APromptBeyondTheLimitsIsNotAdded) {
  StartServer(ServerOptions());
  Prompt prompt = MakePrompt(0);
  prompt.token_ids.assign(17, 1);
  EXPECT_EQ(server->AddPrompts({prompt}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server->FreeSlots(), 4);
}

// The learner dies after acknowledging: what it acknowledged after the checkpoint is not sampled again.
TEST_F(GrpcRollout, AcknowledgedMeansDurable) {
  const std::string folder = ::testing::TempDir() + "/acknowledged_means_durable";
  std::filesystem::remove_all(folder);
  RolloutServerOptions options = ServerOptions(1);
  options.log_folder = folder;
  StartServer(options);
  auto port = Attach("actor-1");
  AddPrompts();
  const std::vector<PromptLease> leases = Lease(*port, 3, {0, 0});
  TrajectoryGroup first = MakeGroup(leases[0], "actor-1", {0, 0}), second = MakeGroup(leases[1], "actor-1", {0, 0});
  AddRhythm(first);
  AddRhythm(second);
  EXPECT_TRUE(port->Submit(first, kLong).ok());
  const absl::StatusOr<LedgerSnapshot> snapshot = server->Snapshot();
  ASSERT_TRUE(snapshot.ok());
  EXPECT_TRUE(port->Submit(second, kLong).ok());
  EXPECT_TRUE(server->TruncateLog(snapshot->log_segment).ok());
  server.reset();
  port.reset();

  EXPECT_EQ(RolloutServer::Start(options, std::nullopt).status().code(), absl::StatusCode::kFailedPrecondition);
  RolloutRestore restore{*snapshot, {}, 1};
  for (const uint64_t id : snapshot->open_prompt_ids) restore.prompts.push_back(MakePrompt(id));
  StartServer(options, restore);
  EXPECT_EQ(server->version(), (PolicyVersion{1, 0}));
  EXPECT_EQ(server->View().ready, 2) << "one from the snapshot, one from the log";
  const absl::StatusOr<LedgerSnapshot> restored = server->Snapshot();
  ASSERT_TRUE(restored.ok() && restored->ready.size() == 2);
  for (const ReadyGroup& ready : restored->ready) {
    EXPECT_EQ(ready.group.completions[1].rhythm, first.completions[1].rhythm);
  }
  port = Attach("actor-1");
  const std::vector<PromptLease> again = Lease(*port, 8, {1, 0});
  ASSERT_EQ(again.size(), 6u);
  EXPECT_EQ(again[0].prompt.id, 2u);
  EXPECT_EQ(port->Submit(MakeGroup(leases[2], "actor-1", {0, 0}), kLong).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(server->Counters().Balanced());
  std::filesystem::remove_all(folder);
}

// Without a place to make it durable, a group is not acknowledged; once there is one, it is.
TEST_F(GrpcRollout, NothingIsAcknowledgedWhileTheLogCannotBeWritten) {
  const std::string folder = ::testing::TempDir() + "/log_cannot_be_written";
  std::filesystem::remove_all(folder);
  std::filesystem::remove_all(folder + "_away");
  RolloutServerOptions options = ServerOptions();
  options.log_folder = folder;
  StartServer(options);
  const auto port = Attach("actor-1");
  AddPrompts();
  const PromptLease lease = Lease(*port, 1, {0, 0})[0];
  std::filesystem::rename(folder, folder + "_away");
  EXPECT_FALSE(server->Snapshot().ok()) << "no new segment";
  EXPECT_EQ(port->Submit(MakeGroup(lease, "actor-1", {0, 0}), kLong).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server->Counters().accepted, 0);
  std::filesystem::rename(folder + "_away", folder);
  EXPECT_TRUE(port->Submit(MakeGroup(lease, "actor-1", {0, 0}), kLong).ok());
  EXPECT_EQ(server->Counters().accepted, 1);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tactus
