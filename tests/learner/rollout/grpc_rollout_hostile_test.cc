// Streams that break the rules end with InvalidArgument; the learner and the other streams go on.
#include <grpcpp/impl/codegen/client_callback.h>

#include <random>

#include "tests/learner/rollout/grpc_raw_actor.h"
#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

struct HostileRollout : RolloutFixture {
  void SetUp() override {
    StartServer(ServerOptions());
    honest = Attach("honest");
    AddPrompts();
  }
  // After whatever a test did, the other stream works and the counters add up.
  void TearDown() override {
    const std::vector<PromptLease> leases = Lease(*honest, 1, {0, 0});
    ASSERT_EQ(leases.size(), 1u);
    EXPECT_TRUE(honest->Submit(MakeGroup(leases[0], "honest", {0, 0}), kLong).ok());
    EXPECT_TRUE(server->Counters().Balanced());
  }

  void ExpectRefused(const std::vector<wire::ActorMessage>& messages, const std::string& why) {
    const int64_t before = server->ProtocolViolations();
    RawActor actor(server->port());
    for (const wire::ActorMessage& message : messages) actor.Write(message);
    const grpc::Status status = actor.End();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(why));
    Eventually([&] { return server->ProtocolViolations() == before + 1; });
  }

  std::unique_ptr<GrpcRolloutPort> honest;
};

wire::ActorMessage Hello() { return RawActor::Hello("hostile"); }

TEST_F(HostileRollout, MessagesOutOfOrder) {
  ExpectRefused({RawActor::LeaseRequest(1, 1, 1)}, "must be a hello");
  ExpectRefused({Hello(), Hello()}, "second hello");
  ExpectRefused({Hello(), wire::ActorMessage()}, "unknown kind");
  ExpectRefused({RawActor::Hello("")}, "hello.actor_id");
  ExpectRefused({RawActor::Hello("two\nlines")}, "hello.actor_id");
}

TEST_F(HostileRollout, AnotherProtocolIsDenied) {
  RawActor actor(server->port());
  wire::ActorMessage hello = Hello();
  hello.mutable_hello()->set_protocol_version(9);
  actor.Write(hello);
  const grpc::Status status = actor.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("speaks protocol 9"));
}

TEST_F(HostileRollout, ChunksThatDoNotFit) {
  ExpectRefused({Hello(), RawActor::Chunk(0, 0, "x", true)}, "submit_chunk.sequence is 0");
  ExpectRefused({Hello(), RawActor::Chunk(5, 1, "x", false)}, "expected part 0 of group 5");
  ExpectRefused({Hello(), RawActor::Chunk(5, 0, "x", false), RawActor::Chunk(6, 1, "x", false)}, "of group 5");
  ExpectRefused({Hello(), RawActor::Chunk(5, 0, "x", false), RawActor::Chunk(5, 0, "x", false)}, "part 1 of group 5");
  ExpectRefused({Hello(), RawActor::Chunk(5, 0, "", true)}, "submit_chunk.data has 0 bytes");
  ExpectRefused({Hello(), RawActor::Chunk(5, 0, std::string((1 << 20) + 1, 'x'), true)}, "has 1048577 bytes");
  ExpectRefused({Hello(), RawActor::Chunk(5, 0, std::string(1 << 20, 'x'), true)}, "group 5 has more than");
}

TEST_F(HostileRollout, OversizedMessage) {
  RawActor actor(server->port());
  actor.Write(Hello());
  ASSERT_TRUE(actor.Read().has_value());
  actor.Write(RawActor::Chunk(1, 0, std::string(3 << 20, 'x'), true));
  const grpc::Status status = actor.End();
  EXPECT_FALSE(status.ok());
}

TEST_F(HostileRollout, LeaseRequests) {
  ExpectRefused({Hello(), RawActor::LeaseRequest(1, 0, 1)}, "max_leases >= 1");
  ExpectRefused({Hello(), RawActor::LeaseRequest(1, 1, -1)}, "timeout_s >= 0");
  ExpectRefused({Hello(), RawActor::LeaseRequest(1, 1, std::numeric_limits<double>::quiet_NaN())}, "timeout_s >= 0");
  // Nothing is left for them to be answered with, so they pile up.
  RawActor greedy(server->port());
  greedy.Write(RawActor::Hello("greedy"));
  std::vector<wire::ActorMessage> many = {Hello()};
  greedy.Write(RawActor::LeaseRequest(1, 100, 1));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(greedy.Read().has_value());
  for (uint64_t i = 1; i <= 17; ++i) many.push_back(RawActor::LeaseRequest(i, 1, 60));
  ExpectRefused(many, "more than 16 lease requests");
}

TEST_F(HostileRollout, GarbageInsteadOfAGroupIsRefusedByItself) {
  RawActor actor(server->port());
  actor.Write(Hello());
  ASSERT_TRUE(actor.Read()->has_welcome());
  std::mt19937_64 random(7);
  for (uint64_t sequence = 1; sequence <= 200; ++sequence) {
    std::string bytes(1 + random() % 500, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    ASSERT_TRUE(actor.Write(RawActor::Chunk(sequence, 0, bytes, true)));
    const std::optional<wire::LearnerMessage> reply = actor.Read();
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->submit_reply().sequence(), sequence);
    EXPECT_EQ(reply->submit_reply().code(), static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  }
  EXPECT_EQ(server->Counters()[RejectReason::kMalformed], 200);
}

TEST_F(HostileRollout, BytesThatAreNoMessage) {
  const auto channel =
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", server->port()), grpc::InsecureChannelCredentials());
  const grpc::internal::RpcMethod attach("/tactus.wire.RolloutService/Attach",
                                         grpc::internal::RpcMethod::BIDI_STREAMING, channel);
  std::mt19937_64 random(11);
  for (int round = 0; round < 50; ++round) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
        grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(channel.get(), attach,
                                                                                              &context));
    std::string bytes(1 + random() % 300, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    bytes[0] = '\x07';  // wire type 7 does not exist
    const grpc::Slice slice(bytes);
    stream->Write(grpc::ByteBuffer(&slice, 1));
    grpc::ByteBuffer reply;
    while (stream->Read(&reply)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  Eventually([&] { return server->ProtocolViolations() == 50; });
}

TEST_F(HostileRollout, RandomMessages) {
  std::mt19937_64 random(13);
  for (int round = 0; round < 100; ++round) {
    RawActor actor(server->port());
    if (random() % 4 != 0) actor.Write(RawActor::Hello(absl::StrCat("hostile-", random() % 3)));
    for (int i = 0; i < 6; ++i) {
      switch (random() % 3) {
        case 0:
          actor.Write(RawActor::LeaseRequest(random() % 3, static_cast<uint32_t>(random() % 3), 0.01));
          break;
        case 1:
          actor.Write(RawActor::Chunk(random() % 4, static_cast<uint32_t>(random() % 2), std::string(random() % 9, 'x'),
                                      random() % 2 == 0));
          break;
        default:
          actor.Write(Hello());
      }
    }
  }
}

TEST_F(HostileRollout, ASecondActorOfTheSameNameEndsTheFirst) {
  RawActor first(server->port());
  first.Write(Hello());
  ASSERT_TRUE(first.Read()->has_welcome());
  first.Write(RawActor::LeaseRequest(1, 1, 20));
  ASSERT_EQ(first.Read()->lease_reply().leases_size(), 1);
  RawActor second(server->port());
  second.Write(Hello());
  ASSERT_TRUE(second.Read()->has_welcome());
  EXPECT_FALSE(first.End().ok());
  EXPECT_EQ(server->Counters().leases_returned, 1) << "the second did not say that it works on it";
}

TEST_F(HostileRollout, ARepeatAfterALostAcknowledgementIsAcknowledged) {
  RawActor actor(server->port());
  actor.Write(Hello());
  ASSERT_TRUE(actor.Read()->has_welcome());
  actor.Write(RawActor::LeaseRequest(1, 1, 20));
  const std::optional<wire::LearnerMessage> leases = actor.Read();
  const absl::StatusOr<PromptLease> lease = FromWire(leases->lease_reply().leases(0), kTestLimits);
  ASSERT_TRUE(lease.ok());
  const std::string bytes = EncodeGroup(MakeGroup(*lease, "hostile", {0, 0}));
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    actor.Write(RawActor::Chunk(sequence, 0, bytes.substr(0, 20), false));
    actor.Write(RawActor::Chunk(sequence, 1, bytes.substr(20), true));
    const std::optional<wire::LearnerMessage> reply = actor.Read();
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->submit_reply().code(), 0) << reply->submit_reply().message();
  }
  EXPECT_EQ(server->Counters().accepted, 1);
  EXPECT_EQ(server->Counters()[RejectReason::kDuplicate], 2);
}

}  // namespace
}  // namespace tactus
