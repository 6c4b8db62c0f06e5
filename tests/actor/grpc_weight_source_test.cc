// Whom an actor asks for new weights: the relays that the learner names, in turn, and then the learner.
#include "actor/grpc_weight_source.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>

#include "actor/weight_relaying.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "common/weights/weight_publisher.h"
#include "tests/actor/fake_port.h"
#include "tests/weights/sample_weights.h"

namespace tactus {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);

struct PathPort final : FakePort {
  PathPort() : FakePort(0) {}
  absl::StatusOr<std::optional<PolicyVersion>> AwaitVersion(std::optional<PolicyVersion>, absl::Duration) override {
    if (announced_at == ++looks) path = announced;
    return path.version;
  }
  WeightPath NewestWeights() const override { return path; }
  WeightPath path, announced;
  int looks = 0, announced_at = 0;
};

class GrpcWeightSourceTest : public ::testing::Test {
 protected:
  GrpcWeightSourceTest()
      : layout_(SampleLayout()), publisher_("run"), service_(MakeWeightService(&publisher_, &sent_)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    EXPECT_TRUE(PublishValues(publisher_, {0, 1}, layout_, SampleValues(layout_), StorageDType::kFloat32).ok());
    whole_ = publisher_.Newest()->manifest.total_bytes;
    path_port_.path = {
        .version = {0, 1}, .manifest_digest = ManifestDigest(publisher_.Newest()->manifest), .parents = {}};
  }
  ~GrpcWeightSourceTest() override { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1)); }

  std::unique_ptr<WeightRelaying> Relay() {
    auto relaying = WeightRelaying::Start({.learner = {"127.0.0.1", port_},
                                           .listen = std::nullopt,
                                           .advertise = std::nullopt,
                                           .security = Plaintext(),
                                           .run_id = "run",
                                           .patience = absl::ZeroDuration()});
    EXPECT_TRUE(relaying.ok()) << relaying.status();
    return *std::move(relaying);
  }
  static ChannelSecurity Plaintext() {
    ChannelSecurity security;
    security.plaintext = true;
    return security;
  }
  static void Give(WeightRelaying& relaying, const std::shared_ptr<const WeightSnapshot>& set) {
    relaying.relay().Begin(set->manifest, set, {set->bytes->data(), set->bytes->size()});
    relaying.relay().Advance(set->bytes->size());
    relaying.relay().Hold(set);
  }
  void Fetch(WeightRelay* relay = nullptr) {
    const auto source = MakeGrpcWeightSource({.address = {"127.0.0.1", port_},
                                              .security = Plaintext(),
                                              .run_id = "run",
                                              .actor_id = "a",
                                              .layout = layout_,
                                              .metrics = &metrics_,
                                              .relay = relay},
                                             &path_port_);
    ASSERT_TRUE(source.ok()) << source.status();
    const auto weights = (*source)->Fetch(std::nullopt, kPatience);
    ASSERT_TRUE(weights.ok()) << weights.status();
    ASSERT_TRUE(weights->has_value());
    EXPECT_EQ((*weights)->parameters, SampleValues(layout_));
  }

  const ParameterLayout layout_;
  WeightPublisher publisher_;
  std::atomic<uint64_t> sent_{0};
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  uint64_t whole_ = 0;
  PathPort path_port_;
  MetricSet metrics_{{.role = ProcessRole::kActor, .rank = 0, .task = "t", .run_id = "r"}};
};

TEST_F(GrpcWeightSourceTest, TheFirstRelayThatHasTheWeightsIsAsked) {
  const auto gone = Relay(), good = Relay(), spare = Relay(), own = Relay();
  gone->relay().Close();
  Give(*good, publisher_.Newest());
  Give(*spare, publisher_.Newest());
  path_port_.path.parents = {"127.0.0.1:1", gone->address(), good->address(), spare->address()};
  Fetch(&own->relay());
  EXPECT_EQ(sent_, 0u);
  EXPECT_EQ(good->bytes_sent(), whole_);
  EXPECT_EQ(spare->bytes_sent(), 0u);
  EXPECT_NE(metrics_.Text().find("tactus_weight_relay_bytes_total{way=\"received\"} " + std::to_string(whole_)),
            std::string::npos);
  path_port_.path.parents = {own->address()};
  Fetch();
  EXPECT_EQ(own->bytes_sent(), whole_) << "what came is passed on";
}

TEST_F(GrpcWeightSourceTest, TheLearnerIsTheLastResort) {
  const auto gone = Relay();
  gone->relay().Close();
  path_port_.path.parents = {gone->address(), "127.0.0.1:1"};
  Fetch();
  EXPECT_EQ(sent_, whole_);
  path_port_.path = {.version = {0, 1}, .manifest_digest = "", .parents = {gone->address()}};
  Fetch();
  EXPECT_EQ(sent_, 2 * whole_) << "what nobody announced is nobody's but the learner's";
}

// Or a fleet that comes back to a learner that has just begun would fetch a whole set each from it.
TEST_F(GrpcWeightSourceTest, WhoPassesWeightsOnWaitsForTheirAnnouncement) {
  const auto good = Relay(), own = Relay();
  Give(*good, publisher_.Newest());
  path_port_.announced = path_port_.path;
  path_port_.announced.parents = {good->address()};
  path_port_.path.manifest_digest = "";
  path_port_.announced_at = 3;
  Fetch(&own->relay());
  EXPECT_EQ(path_port_.looks, 3);
  EXPECT_EQ(sent_, 0u);
  EXPECT_EQ(good->bytes_sent(), whole_);
}

TEST_F(GrpcWeightSourceTest, AfterALieOnlyTheLearnerIsAsked) {
  const auto liar = Relay(), good = Relay();
  auto changed = std::make_shared<WeightSnapshot>(*publisher_.Newest());
  std::vector<char> bytes = *changed->bytes;
  bytes[5] ^= 1;
  changed->bytes = std::make_shared<const std::vector<char>>(std::move(bytes));
  Give(*liar, changed);
  Give(*good, publisher_.Newest());
  path_port_.path.parents = {liar->address(), good->address()};
  Fetch();
  EXPECT_EQ(sent_, whole_);
  EXPECT_EQ(good->bytes_sent(), 0u);
}

TEST_F(GrpcWeightSourceTest, AnAddressThatNobodyCanDialIsRefused) {
  const auto start = [&](std::optional<std::string> listen, std::optional<std::string> advertise) {
    return WeightRelaying::Start({.learner = {"127.0.0.1", port_},
                                  .listen = std::move(listen),
                                  .advertise = std::move(advertise),
                                  .security = Plaintext(),
                                  .run_id = "run",
                                  .patience = absl::ZeroDuration()})
        .status();
  };
  EXPECT_EQ(start("0.0.0.0:0", std::nullopt).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(start("nonsense", std::nullopt).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(start("0.0.0.0:0", "127.0.0.1:0").ok());
}

}  // namespace
}  // namespace tactus
