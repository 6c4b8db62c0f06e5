// What the actor's end does when its stream or its learner goes away, and what it sends when.
#include <grpcpp/grpcpp.h>

#include <thread>

#include "absl/time/clock.h"
#include "common/rollout/grpc_rollout_session.h"
#include "proto/rollout_service.grpc.pb.h"
#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

constexpr size_t kMiB = size_t{1} << 20;

// A learner that loses the first stream after taking in a whole group, before acknowledging it.
class ForgetfulLearner final : public wire::RolloutService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<wire::LearnerMessage, wire::ActorMessage>;

  grpc::Status Attach(grpc::ServerContext*, Stream* stream) override {
    wire::ActorMessage message;
    if (!stream->Read(&message)) return grpc::Status::CANCELLED;
    ++streams;
    held.assign(message.hello().held_lease_ids().begin(), message.hello().held_lease_ids().end());
    wire::LearnerMessage welcome;
    welcome.mutable_welcome()->set_submit_credits(1);
    welcome.mutable_welcome()->set_max_group_bytes(MaxGroupBytes(kTestLimits));
    stream->Write(welcome);
    while (stream->Read(&message)) {
      if (message.has_lease_request()) SendLease(stream, message.lease_request().request_id());
      if (!message.has_submit_chunk()) continue;
      sequences.push_back(message.submit_chunk().sequence());
      groups.push_back(message.submit_chunk().data());
      if (streams == 1) return {grpc::StatusCode::UNAVAILABLE, "lost"};
      wire::LearnerMessage reply;
      reply.mutable_submit_reply()->set_sequence(message.submit_chunk().sequence());
      stream->Write(reply);
    }
    return grpc::Status::OK;
  }

  // Read by the test when the calls that caused them have returned.
  int streams = 0;
  std::vector<uint64_t> held, sequences;
  std::vector<std::string> groups;

 private:
  static void SendLease(Stream* stream, uint64_t request_id) {
    wire::LearnerMessage reply;
    reply.mutable_lease_reply()->set_request_id(request_id);
    *reply.mutable_lease_reply()->add_leases() = ToWire(PromptLease{.lease_id = 42,
                                                                    .prompt = MakePrompt(0),
                                                                    .completions_wanted = 2,
                                                                    .seed = 1,
                                                                    .timeout_s = 60,
                                                                    .version = {},
                                                                    .evaluation = {}});
    stream->Write(reply);
  }
};

TEST(RolloutReconnect, SendsAgainWhatWasNotAcknowledged) {
  ForgetfulLearner learner;
  grpc::ServerBuilder builder;
  int port_number = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_number);
  builder.RegisterService(&learner);
  const std::unique_ptr<grpc::Server> grpc_server = builder.BuildAndStart();
  GrpcRolloutPortOptions options;
  options.address = {"127.0.0.1", port_number};
  options.security.plaintext = true;
  options.actor_id = "actor-1";
  options.limits = kTestLimits;
  absl::StatusOr<std::unique_ptr<GrpcRolloutPort>> port = GrpcRolloutPort::Connect(options, kLong);
  ASSERT_TRUE(port.ok()) << port.status();
  const std::vector<PromptLease> leases = *(*port)->Lease(1, {}, kLong);
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_TRUE((*port)->Submit(MakeGroup(leases[0], "actor-1", {}), kLong).ok());
  port->reset();
  grpc_server->Shutdown();
  EXPECT_EQ(learner.streams, 2);
  EXPECT_THAT(learner.held, ElementsAre(42)) << "the second hello says what is under way";
  ASSERT_EQ(learner.groups.size(), 2u);
  EXPECT_EQ(learner.groups[0], learner.groups[1]);
  EXPECT_EQ(learner.sequences[0], learner.sequences[1]);
}

struct LearnerRestart : RolloutFixture {};

TEST_F(LearnerRestart, ActorsFindTheNewIncarnation) {
  StartServer(ServerOptions());
  const auto port = Attach("actor-1");
  AddPrompts();
  const PromptLease lease = Lease(*port, 1, {0, 0})[0];
  RolloutServerOptions options = ServerOptions();
  options.listen = absl::StrCat("127.0.0.1:", server->port());
  RolloutRestore restore{*server->Snapshot(), {}, 1};
  for (const uint64_t id : restore.snapshot.open_prompt_ids) restore.prompts.push_back(MakePrompt(id));
  server.reset();
  EXPECT_EQ(port->Submit(MakeGroup(lease, "actor-1", {0, 0}), kShort).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(port->Lease(1, {0, 0}, kShort).status().code(), absl::StatusCode::kUnavailable);
  StartServer(options, restore);
  EXPECT_EQ(port->Submit(MakeGroup(lease, "actor-1", {0, 0}), kLong).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*port->AwaitVersion(std::nullopt, kLong), (PolicyVersion{1, 0}));
  EXPECT_EQ(port->Lease(1, {0, 0}, kLong).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Lease(*port, 4, {1, 0}).size(), 4u);
}

class SessionTest : public ::testing::Test {
 protected:
  SessionTest()
      : session_([] {
          GrpcRolloutPortOptions options;
          options.actor_id = "actor-1";
          options.limits = kTestLimits;
          return options;
        }()) {}
  void Welcome(uint32_t credits) {
    session_.Attach();
    ASSERT_TRUE(session_.Next(now_)->has_hello());
    ASSERT_FALSE(session_.Next(now_).has_value()) << "nothing before the welcome";
    wire::LearnerMessage message;
    message.mutable_welcome()->set_submit_credits(credits);
    message.mutable_welcome()->set_max_group_bytes(kMiB);
    ASSERT_TRUE(session_.Handle(message, now_).ok());
  }
  absl::Status Acknowledge(uint64_t sequence, int32_t code = 0) {
    wire::LearnerMessage message;
    message.mutable_submit_reply()->set_sequence(sequence);
    message.mutable_submit_reply()->set_code(code);
    return session_.Handle(message, now_);
  }
  // Leases 1 and 2 of so many seconds, as the learner grants them.
  void Grant(double first_s, double second_s) {
    wire::LearnerMessage message;
    for (uint64_t id : {1, 2}) {
      *message.mutable_lease_reply()->add_leases() = ToWire(PromptLease{.lease_id = id,
                                                                        .prompt = MakePrompt(id),
                                                                        .completions_wanted = 2,
                                                                        .seed = 1,
                                                                        .timeout_s = id == 1 ? first_s : second_s,
                                                                        .version = {},
                                                                        .evaluation = {}});
    }
    ASSERT_TRUE(session_.Handle(message, now_).ok());
  }
  RolloutSession session_;
  const absl::Time now_ = absl::FromUnixSeconds(1000);
};

TEST_F(SessionTest, SendsOnlyWhatItHasCreditFor) {
  Welcome(1);
  const uint64_t first = session_.AddSubmit(std::string(2 * kMiB + 5, 'x'), 1);
  const uint64_t second = session_.AddSubmit("y", 2);
  for (uint32_t index = 0; index < 3; ++index) {
    const std::optional<wire::ActorMessage> message = session_.Next(now_);
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->submit_chunk().sequence(), first);
    EXPECT_EQ(message->submit_chunk().index(), index);
    EXPECT_EQ(message->submit_chunk().data().size(), index < 2 ? kMiB : 5);
    EXPECT_EQ(message->submit_chunk().last(), index == 2);
  }
  EXPECT_FALSE(session_.Next(now_).has_value()) << "no credit";
  ASSERT_TRUE(Acknowledge(first).ok());
  EXPECT_TRUE(session_.submit(first).done);
  EXPECT_EQ(session_.Next(now_)->submit_chunk().sequence(), second);
}

TEST_F(SessionTest, RefusesWhatALearnerWouldNotSay) {
  Welcome(1);
  const uint64_t id = session_.AddSubmit(std::string(kMiB + 1, 'x'), 1);
  EXPECT_FALSE(Acknowledge(id).ok()) << "not sent yet";
  ASSERT_TRUE(session_.Next(now_).has_value());
  EXPECT_FALSE(Acknowledge(id).ok()) << "half sent";
  ASSERT_TRUE(session_.Next(now_)->submit_chunk().last());
  EXPECT_TRUE(Acknowledge(id, 999).ok());
  EXPECT_EQ(session_.submit(id).status.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(Acknowledge(id).ok()) << "twice";
  EXPECT_FALSE(session_.Handle(wire::LearnerMessage(), now_).ok());
  wire::LearnerMessage message;
  message.mutable_welcome();
  EXPECT_FALSE(session_.Handle(message, now_).ok());
  message.mutable_lease_reply()->add_leases()->set_lease_id(1);
  EXPECT_FALSE(session_.Handle(message, now_).ok()) << "a lease without a prompt";
}

TEST_F(SessionTest, AnAbandonedSubmissionIsForgottenInTheEnd) {
  Welcome(2);
  const uint64_t unsent = session_.AddSubmit("x", 1);
  session_.ForgetSubmit(unsent);
  EXPECT_FALSE(session_.Next(now_).has_value());
  const uint64_t half_sent = session_.AddSubmit(std::string(kMiB + 1, 'x'), 2);
  ASSERT_TRUE(session_.Next(now_).has_value());
  session_.ForgetSubmit(half_sent);
  EXPECT_TRUE(session_.Next(now_)->submit_chunk().last()) << "a group that was begun is finished";
  EXPECT_TRUE(Acknowledge(half_sent).ok());
  EXPECT_FALSE(Acknowledge(half_sent).ok()) << "forgotten";
  const uint64_t lost = session_.AddSubmit(std::string(kMiB + 1, 'x'), 3);
  ASSERT_TRUE(session_.Next(now_).has_value());
  session_.ForgetSubmit(lost);
  session_.Detach();
  Welcome(2);
  EXPECT_FALSE(session_.Next(now_).has_value()) << "and not sent again on the next stream";
}

TEST_F(SessionTest, LateLeasesAreKeptUntilTheirTimeIsOver) {
  Welcome(1);
  Grant(10, 20);
  const std::vector<PromptLease> leases = session_.TakeSpare(5, now_ + absl::Seconds(15));
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_EQ(leases[0].lease_id, 2u);
  EXPECT_EQ(leases[0].timeout_s, 5);
  session_.Detach();
  session_.Attach();
  EXPECT_THAT(session_.Next(now_ + absl::Seconds(15))->hello().held_lease_ids(), ElementsAre(2));
}

struct RenewalTest : SessionTest {
  void SetUp() override {
    Welcome(1);
    Grant(10, 10);
  }
  std::vector<uint64_t> Renew(std::vector<uint64_t> ids, double at_s) {
    return session_.Renew(ids, now_ + absl::Seconds(at_s));
  }
  wire::Heartbeat Heartbeat(double at_s) {
    session_.RequestHeartbeat();
    return session_.Next(now_ + absl::Seconds(at_s))->heartbeat();
  }
};

TEST_F(RenewalTest, ALeaseLastsForAsLongAsItIsWorkedOn) {
  EXPECT_EQ(session_.HeartbeatInterval(), absl::Seconds(2.5)) << "four of them in a lease's time";
  for (double s = 0; s < 40; s += 5) {
    EXPECT_THAT(Renew({1}, s), ElementsAre()) << s;
    EXPECT_THAT(Heartbeat(s).working_lease_ids(), ElementsAre(1)) << s;
    EXPECT_THAT(Heartbeat(s).working_lease_ids(), ElementsAre()) << "named once, and not by who stands still";
  }
  EXPECT_THAT(Renew({1, 2}, 40), ElementsAre(2)) << "its time was over at 10 s";
  EXPECT_THAT(Renew({1}, 45), ElementsAre(1)) << "named at 35 s, and never told since";
}

TEST_F(RenewalTest, TheLearnerMayEndALease) {
  wire::LearnerMessage message;
  message.mutable_leases_ended()->add_lease_ids(1);
  message.mutable_leases_ended()->add_lease_ids(77);
  ASSERT_TRUE(session_.Handle(message, now_).ok());
  EXPECT_THAT(Renew({1, 2}, 1), ElementsAre(1));
  session_.Detach();
  session_.Attach();
  EXPECT_THAT(session_.Next(now_)->hello().held_lease_ids(), ElementsAre(2));
  message.mutable_welcome()->add_ended_lease_ids(2);
  ASSERT_TRUE(session_.Handle(message, now_).ok());
  EXPECT_THAT(Renew({2}, 1), ElementsAre(2));
}

TEST_F(RenewalTest, WhatIsBeingSubmittedIsWorkedOn) {
  const uint64_t id = session_.AddSubmit("bytes", 2);
  EXPECT_THAT(Heartbeat(5).working_lease_ids(), ElementsAre(2));
  session_.ForgetSubmit(id);
  EXPECT_THAT(Heartbeat(6).working_lease_ids(), ElementsAre());
}

}  // namespace
}  // namespace tactus
