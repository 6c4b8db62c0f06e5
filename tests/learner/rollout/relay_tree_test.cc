// Who fetches weights from whom: the trees themselves, and what attached actors are told.
#include "learner/rollout/relay_tree.h"

#include <algorithm>
#include <set>

#include "tests/learner/rollout/grpc_raw_actor.h"
#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RelayPeer Peer(int i, const std::string& zone = "") {
  return {.actor_id = absl::StrCat("a", i), .address = absl::StrCat("h", i, ":1"), .zone = zone};
}

TEST(RelayTreeTest, EachZoneHasItsTree) {
  std::vector<RelayPeer> peers;
  for (int i = 0; i < 14; ++i) peers.push_back(Peer(i, i % 2 == 0 ? "even" : "odd"));
  const RelayTree tree(peers, 2);
  EXPECT_THAT(tree.Parents("a0"), IsEmpty()) << "the learner";
  EXPECT_THAT(tree.Parents("a1"), IsEmpty());
  EXPECT_THAT(tree.Parents("a2"), ElementsAre("h0:1"));
  EXPECT_THAT(tree.Parents("a4"), ElementsAre("h0:1"));
  EXPECT_THAT(tree.Parents("a6"), ElementsAre("h2:1", "h0:1"));
  EXPECT_THAT(tree.Parents("a13"), ElementsAre("h5:1", "h1:1"));
  EXPECT_THAT(tree.Parents("stranger"), IsEmpty());
  EXPECT_THAT(RelayTree(peers, 0).Parents("a13"), IsEmpty()) << "off";
}

TEST(RelayTreeTest, NobodyHasMoreChildrenThanTheFanOutAndAllComeToTheRoot) {
  for (const int fan_out : {1, 2, 3, 16}) {
    std::vector<RelayPeer> peers;
    for (int i = 0; i < 200; ++i) peers.push_back(Peer(i));
    const RelayTree tree(peers, fan_out);
    std::map<std::string, int> children;
    int roots = 0;
    for (int i = 0; i < 200; ++i) {
      const std::vector<std::string> parents = tree.Parents(absl::StrCat("a", i));
      EXPECT_EQ(std::ranges::find(parents, absl::StrCat("h", i, ":1")), parents.end()) << "its own ancestor";
      EXPECT_LE(parents.size(), RelayTree::kMaxParents);
      if (parents.empty()) {
        ++roots;
      } else {
        ++children[parents[0]];
      }
      if (fan_out > 1 && i > 0) {
        EXPECT_EQ(parents.back(), "h0:1");
      }
    }
    EXPECT_EQ(roots, 1);
    for (const auto& [address, count] : children) EXPECT_LE(count, fan_out) << address;
  }
}

TEST(RelayTreeTest, WhoGivesNothingIsALeaf) {
  std::vector<RelayPeer> peers = {Peer(0), Peer(1), Peer(2), Peer(3)};
  peers[0].address = peers[1].address = "";
  const RelayTree tree(peers, 2);
  EXPECT_THAT(tree.Parents("a2"), IsEmpty());
  EXPECT_THAT(tree.Parents("a3"), ElementsAre("h2:1"));
  EXPECT_THAT(tree.Parents("a0"), ElementsAre("h2:1"));
  EXPECT_THAT(tree.Parents("a1"), ElementsAre("h3:1", "h2:1"));
  // More of them than there are places: in turn.
  for (int i = 10; i < 30; ++i) peers.push_back({.actor_id = absl::StrCat("a", i), .address = "", .zone = ""});
  const RelayTree crowded(peers, 2);
  std::map<std::string, int> children;
  for (const RelayPeer& peer : peers) {
    if (peer.actor_id != "a2") ++children[crowded.Parents(peer.actor_id).at(0)];
  }
  EXPECT_LE(std::abs(children["h2:1"] - children["h3:1"]), 2);
  // Alone in a zone, nobody gives.
  const std::vector<RelayPeer> poor = {{.actor_id = "x", .address = "", .zone = "z"}};
  EXPECT_THAT(RelayTree(poor, 2).Parents("x"), IsEmpty());
}

struct RelayPaths : RolloutFixture {
  std::unique_ptr<GrpcRolloutPort> AttachRelay(const std::string& actor_id, const std::string& address) {
    GrpcRolloutPortOptions options = ActorOptions(actor_id);
    options.relay_address = address;
    absl::StatusOr<std::unique_ptr<GrpcRolloutPort>> port = GrpcRolloutPort::Connect(options, kLong);
    EXPECT_TRUE(port.ok()) << port.status();
    return port.ok() ? *std::move(port) : nullptr;
  }
  static const std::string& Digest() {
    static const std::string digest(64, 'a');
    return digest;
  }
};

TEST_F(RelayPaths, AnActorIsToldWhenItComesAndAtEachVersion) {
  RolloutServerOptions options = ServerOptions();
  options.relay_fan_out = 1;
  StartServer(options);
  auto first = AttachRelay("first", "10.0.0.1:7");
  EXPECT_EQ(first->NewestWeights().manifest_digest, "") << "nothing is published";
  ASSERT_TRUE(server->SetVersion({0, 0}, Digest()).ok()) << "the version that the learner began with";
  Eventually([&] { return first->NewestWeights().manifest_digest == Digest(); });
  EXPECT_FALSE(server->SetVersion({0, 0}, Digest()).ok()) << "only once";
  auto second = AttachRelay("second", "10.0.0.2:7");
  auto third = AttachRelay("third", "");
  EXPECT_THAT(second->NewestWeights().parents, ElementsAre("10.0.0.1:7"));
  EXPECT_THAT(third->NewestWeights().parents, ElementsAre("10.0.0.2:7", "10.0.0.1:7"));
  EXPECT_EQ(third->NewestWeights().manifest_digest, Digest());
  EXPECT_THAT(first->NewestWeights().parents, IsEmpty());
  // The root leaves: the next version comes by another way.
  first.reset();
  Eventually([&] { return server->AttachedActors() == 2; });
  const std::string next(64, 'b');
  ASSERT_TRUE(server->SetVersion({0, 1}, next).ok());
  for (const auto* port : {&second, &third}) EXPECT_TRUE((*port)->AwaitVersion(PolicyVersion{0, 0}, kLong).ok());
  EXPECT_THAT(second->NewestWeights().parents, IsEmpty());
  EXPECT_THAT(third->NewestWeights().parents, ElementsAre("10.0.0.2:7"));
  EXPECT_EQ(third->NewestWeights().manifest_digest, next);
  EXPECT_EQ(third->NewestWeights().version, (PolicyVersion{0, 1}));
}

TEST_F(RelayPaths, OffNobodyIsNamed) {
  StartServer(ServerOptions());
  auto first = AttachRelay("first", "10.0.0.1:7");
  auto second = AttachRelay("second", "10.0.0.2:7");
  ASSERT_TRUE(server->SetVersion({0, 0}, Digest()).ok());
  Eventually([&] { return second->NewestWeights().manifest_digest == Digest(); });
  EXPECT_THAT(second->NewestWeights().parents, IsEmpty());
}

TEST_F(RelayPaths, AddressesThatNobodyCanDialAreRefused) {
  StartServer(ServerOptions());
  const auto refusal = [&](const std::string& address, const std::string& zone) {
    RawActor actor(server->port());
    wire::ActorMessage hello = RawActor::Hello("actor-1");
    hello.mutable_hello()->set_relay_address(address);
    hello.mutable_hello()->set_zone(zone);
    EXPECT_TRUE(actor.Write(hello));
    const grpc::Status status = actor.End();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_THAT(refusal("0.0.0.0:7", ""), HasSubstr("the host that means every address"));
  EXPECT_THAT(refusal("10.0.0.1:0", ""), HasSubstr("has no port"));
  EXPECT_THAT(refusal("nonsense", ""), HasSubstr("hello.relay_address is nonsense"));
  EXPECT_THAT(refusal(std::string(300, 'x') + ":7", ""), HasSubstr("more than 256 bytes"));
  EXPECT_THAT(refusal("", "a b"), HasSubstr("hello.zone must be"));
}

}  // namespace
}  // namespace tactus
