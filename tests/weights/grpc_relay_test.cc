// Weights from actor to actor over loopback: trees, deltas, and parents that end, hang or lie.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>

#include "absl/time/clock.h"
#include "common/base/monotonic_clock.h"
#include "common/weights/grpc_weight_receiver.h"
#include "common/weights/grpc_weight_relay_server.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "common/weights/weight_publisher.h"
#include "proto/weight_service.grpc.pb.h"
#include "tests/weights/sample_weights.h"

namespace tactus {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr absl::StatusCode kUnavailable = absl::StatusCode::kUnavailable;

void FlipABit(WeightSnapshot& set) {
  std::vector<char> bytes = *set.bytes;
  bytes[1000] ^= 1;
  set.bytes = std::make_shared<const std::vector<char>>(std::move(bytes));
}

// A relay and its server; a test writes into the relay what it wants.
class Giver {
 public:
  explicit Giver(const std::atomic<bool>* stop = nullptr) {
    relay_ = WeightRelay::Start("run", stop).value();
    ChannelSecurity plaintext;
    plaintext.plaintext = true;
    server_ = WeightRelayServer::Start(relay_.get(), {"127.0.0.1", 0}, plaintext, &sent_).value();
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials());
  }
  WeightRelay& relay() { return *relay_; }
  WeightParent Parent(const std::string& digest) const { return {.channel = channel_, .manifest_digest = digest}; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  uint64_t sent() const { return sent_; }

  // Has the first `there` bytes of this set, or all of them.
  void Give(const std::shared_ptr<const WeightSnapshot>& set, std::optional<uint64_t> there = std::nullopt) {
    relay_->Expect(set->manifest.version);
    relay_->Begin(set->manifest, set, {set->bytes->data(), set->bytes->size()});
    relay_->Advance(there.value_or(set->bytes->size()));
    if (!there.has_value()) relay_->Hold(set);
  }

 private:
  std::atomic<uint64_t> sent_{0};
  std::unique_ptr<WeightRelay> relay_;
  std::unique_ptr<WeightRelayServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

// An actor that fetches, and passes on.
class Node {
 public:
  Node(const std::shared_ptr<grpc::Channel>& learner, const ParameterLayout& layout)
      : receiver_(learner, "run", "node", layout, 0, &giver_.relay()) {}
  Giver& giver() { return giver_; }
  WeightReceiver& receiver() { return receiver_; }

 private:
  Giver giver_;
  WeightReceiver receiver_;
};

// What changes between versions: every hundredth number, by one unit of bfloat16's last place or so.
std::vector<float> Trained(std::vector<float> values, uint64_t steps) {
  for (size_t i = 0; i < values.size(); i += 100) values[i] *= 1 + 0.008f * static_cast<float>(steps);
  return values;
}

class RelayTest : public testing::Test {
 protected:
  RelayTest()
      : layout_(SampleLayout(1'000'000)), publisher_("run", 3), service_(MakeWeightService(&publisher_, &sent_)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    learner_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  }
  ~RelayTest() override { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1)); }

  std::vector<float> Values(uint64_t step) const { return Trained(SampleValues(layout_), step); }
  void Publish(uint64_t step, StorageDType dtype = StorageDType::kBFloat16) {
    ASSERT_TRUE(PublishValues(publisher_, {0, step}, layout_, Values(step), dtype).ok());
    digest_ = ManifestDigest(publisher_.Newest()->manifest);
    whole_ = publisher_.Newest()->manifest.total_bytes;
  }
  // The weights must be those of the step; the bytes they took.
  uint64_t Check(const absl::StatusOr<ReceivedWeights>& weights, uint64_t step) const {
    EXPECT_TRUE(weights.ok()) << weights.status();
    if (!weights.ok()) return 0;
    EXPECT_EQ(weights->version, (PolicyVersion{0, step}));
    std::vector<float> expected = Values(step);
    for (float& value : expected) value = BFloat16ToFloat(FloatToBFloat16(value));
    if (publisher_.Newest()->manifest.dtype == StorageDType::kFloat32) expected = Values(step);
    EXPECT_TRUE(weights->flat == expected) << "step " << step;
    return weights->wire_bytes;
  }
  absl::StatusOr<ReceivedWeights> From(Giver& giver, WeightReceiver& receiver, uint64_t step) const {
    return receiver.FetchFrom(giver.Parent(digest_), {0, step}, kPatience);
  }
  // A child that has read all that the giver has, which is not all there is; `end` then ends it.
  template <typename End>
  absl::Status PartFrom(Giver& giver, WeightReceiver& child, uint64_t step, uint64_t bytes, End end) const {
    absl::Status status;
    std::thread thread([&] { status = From(giver, child, step).status(); });
    while (giver.sent() < bytes) absl::SleepFor(absl::Milliseconds(2));
    end();
    thread.join();
    return status;
  }

  const ParameterLayout layout_;
  WeightPublisher publisher_;
  std::atomic<uint64_t> sent_{0};  // by the learner
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> learner_;
  std::string digest_;
  uint64_t whole_ = 0;
};

TEST_F(RelayTest, TheLearnerSendsATreeOneCopy) {
  for (const auto& [step, dtype] :
       {std::pair(uint64_t{1}, StorageDType::kFloat32), std::pair(uint64_t{2}, StorageDType::kBFloat16)}) {
    sent_ = 0;
    Publish(step, dtype);
    std::vector<std::unique_ptr<Node>> nodes;
    for (int i = 0; i < 5; ++i) nodes.push_back(std::make_unique<Node>(learner_, layout_));
    std::vector<absl::StatusOr<ReceivedWeights>> got(5, absl::UnknownError("not fetched"));
    std::vector<std::thread> threads;
    // Leaves first: they wait for those who have not begun themselves.
    for (const size_t i : {4, 3, 2, 1, 0}) {
      threads.emplace_back([&, i] {
        WeightReceiver& receiver = nodes[i]->receiver();
        got[i] = i == 0 ? receiver.Fetch({0, step}, kPatience) : From(nodes[(i - 1) / 2]->giver(), receiver, step);
      });
      absl::SleepFor(absl::Milliseconds(20));
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& weights : got) EXPECT_EQ(Check(weights, step), whole_);
    EXPECT_EQ(sent_, whole_);
    EXPECT_EQ(nodes[0]->giver().sent(), 2 * whole_);
    EXPECT_EQ(nodes[1]->giver().sent(), 2 * whole_);
    EXPECT_EQ(nodes[1]->receiver().bytes_from_relays(), whole_);
    EXPECT_EQ(nodes[0]->receiver().bytes_from_relays(), 0u);
  }
}

TEST_F(RelayTest, WhatChangedGoesThroughTwoHops) {
  Node a(learner_, layout_), b(learner_, layout_), c(learner_, layout_), fresh(learner_, layout_);
  Publish(1);
  Check(a.receiver().Fetch({0, 1}, kPatience), 1);
  for (Node* node : {&b, &c}) Check(From(a.giver(), node->receiver(), 1), 1);
  sent_ = 0;
  Publish(2);
  EXPECT_LT(Check(a.receiver().Fetch({0, 2}, kPatience), 2), whole_ / 20);
  EXPECT_LT(Check(From(a.giver(), b.receiver(), 2), 2), whole_ / 20);
  Publish(3);
  Check(a.receiver().Fetch({0, 3}, kPatience), 3);
  Check(From(a.giver(), b.receiver(), 3), 3);
  const uint64_t two_steps = Check(From(b.giver(), c.receiver(), 3), 3);
  EXPECT_LT(two_steps, whole_ / 10) << "who was left out gets both changes";
  EXPECT_EQ(Check(From(b.giver(), fresh.receiver(), 3), 3), whole_) << "who has nothing gets all";
  EXPECT_LT(sent_, whole_ / 10);
}

TEST_F(RelayTest, WhoCannotUseWhatArrivesWaitsForTheWhole) {
  Publish(1);
  Node a(learner_, layout_), fresh(learner_, layout_);
  Check(a.receiver().Fetch({0, 1}, kPatience), 1);
  Publish(2);
  const auto deltas = publisher_.FeedFor({.at_least = {0, 2}, .held = PolicyVersion{0, 1}, .since = {}});
  ASSERT_TRUE(deltas.ok() && deltas->has_value() && (*deltas)->manifest.delta.has_value());
  a.giver().relay().Expect({0, 2});
  a.giver().relay().Begin((*deltas)->manifest, (*deltas)->pieces[0].keeps, (*deltas)->pieces[0].bytes);
  absl::StatusOr<ReceivedWeights> got = absl::UnknownError("not fetched");
  std::thread thread([&] { got = From(a.giver(), fresh.receiver(), 2); });
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_LT(Check(a.receiver().Fetch({0, 2}, kPatience), 2), whole_ / 20);
  thread.join();
  EXPECT_EQ(Check(got, 2), whole_);
}

TEST_F(RelayTest, WhatHasComeIsContinuedElsewhere) {
  Publish(1);
  const uint64_t half = whole_ / 2;
  Giver first, second;
  WeightReceiver at_relay(learner_, "run", "a", layout_), at_learner(learner_, "run", "b", layout_);
  first.Give(publisher_.Newest(), half);
  std::thread other([&] { EXPECT_EQ(From(first, at_learner, 1).status().code(), kUnavailable); });
  EXPECT_EQ(PartFrom(first, at_relay, 1, 2 * half, [&] { first.relay().Close(); }).code(), kUnavailable);
  other.join();
  second.Give(publisher_.Newest());
  EXPECT_EQ(Check(From(second, at_relay, 1), 1), whole_);
  EXPECT_EQ(second.sent(), whole_ - half);
  EXPECT_EQ(Check(at_learner.Fetch({0, 1}, kPatience), 1), whole_);
  EXPECT_EQ(sent_, whole_ - half);
}

TEST_F(RelayTest, ChangesThatHaveComeInPartAreContinuedElsewhere) {
  Publish(1);
  WeightReceiver child(learner_, "run", "a", layout_);
  Check(child.Fetch({0, 1}, kPatience), 1);
  Publish(2);
  const auto feed = publisher_.FeedFor({.at_least = {0, 2}, .held = PolicyVersion{0, 1}, .since = {}});
  ASSERT_TRUE(feed.ok() && feed->has_value());
  const WeightFeed::Piece& delta = (*feed)->pieces[0];
  Giver giver;
  giver.relay().Begin((*feed)->manifest, delta.keeps, delta.bytes);
  giver.relay().Advance(100);
  EXPECT_EQ(PartFrom(giver, child, 2, 100, [&] { giver.relay().Close(); }).code(), kUnavailable);
  sent_ = 0;
  EXPECT_EQ(Check(child.Fetch({0, 2}, kPatience), 2), delta.bytes.size());
  EXPECT_EQ(sent_, delta.bytes.size() - 100);
}

TEST_F(RelayTest, AWholeSetThatCameInPartIsContinuedAsSuch) {
  Publish(1);
  WeightReceiver child(learner_, "run", "a", layout_);
  Check(child.Fetch({0, 1}, kPatience), 1);
  Publish(2);
  Giver giver;  // has no changes, so it sends all
  giver.Give(publisher_.Newest(), whole_ / 2);
  EXPECT_EQ(PartFrom(giver, child, 2, whole_ / 2, [&] { giver.relay().Close(); }).code(), kUnavailable);
  sent_ = 0;
  EXPECT_EQ(Check(child.Fetch({0, 2}, kPatience), 2), whole_) << "its old set made room for what came";
  EXPECT_EQ(sent_, whole_ - whole_ / 2);
}

TEST_F(RelayTest, ANewerVersionTakesThePlaceOfWhatHasCome) {
  Publish(1);
  Giver giver;
  giver.Give(publisher_.Newest(), whole_ / 2);
  WeightReceiver child(learner_, "run", "a", layout_);
  EXPECT_EQ(PartFrom(giver, child, 1, whole_ / 2, [&] { giver.relay().Close(); }).code(), kUnavailable);
  Publish(2);
  EXPECT_EQ(Check(child.Fetch({0, 1}, kPatience), 2), whole_) << "the learner has no older one";
  EXPECT_EQ(sent_, whole_);
  Giver ahead;
  ahead.Give(publisher_.Newest());
  const absl::Status refused =
      ahead.relay().FeedFor({.at_least = {0, 1}, .held = {}, .since = MonotonicNow()}).status();
  EXPECT_EQ(refused.code(), kUnavailable) << "a child that has not heard goes on, and hears";
}

TEST_F(RelayTest, AParentThatWaitsShowsLife) {
  Publish(1);
  Giver giver;
  giver.Give(publisher_.Newest(), whole_ / 2);
  WeightReceiver child(learner_, "run", "a", layout_);
  const absl::Status status = PartFrom(giver, child, 1, whole_ / 2, [&] {
    absl::SleepFor(WeightReceiver::kRelaySilence + absl::Seconds(1));
    giver.relay().Advance(whole_);
  });
  EXPECT_TRUE(status.ok()) << status;
}

// Sends the messages it is given, then nothing more.
class HangingService final : public wire::WeightService::Service {
 public:
  explicit HangingService(std::vector<wire::FetchWeightsResponse> messages) : messages_(std::move(messages)) {}
  grpc::Status Fetch(grpc::ServerContext* context, const wire::FetchWeightsRequest*,
                     grpc::ServerWriter<wire::FetchWeightsResponse>* writer) override {
    for (const auto& message : messages_) writer->Write(message);
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  }

 private:
  const std::vector<wire::FetchWeightsResponse> messages_;
};

TEST_F(RelayTest, AParentThatHangsIsGivenUp) {
  Publish(1);
  const std::shared_ptr<const WeightSnapshot> set = publisher_.Newest();
  std::vector<wire::FetchWeightsResponse> messages(2);
  *messages[0].mutable_manifest() = ToWire(set->manifest);
  messages[1].mutable_chunk()->set_data(set->bytes->data(), 1000);
  HangingService hanging(messages);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&hanging);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  WeightReceiver child(learner_, "run", "a", layout_);
  const WeightParent parent{
      .channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()),
      .manifest_digest = digest_};
  const absl::Status status = child.FetchFrom(parent, {0, 1}, kPatience).status();
  EXPECT_EQ(status.code(), kUnavailable) << status;
  EXPECT_EQ(Check(child.Fetch({0, 1}, kPatience), 1), whole_);
  EXPECT_EQ(sent_, whole_ - 1000);
}

TEST_F(RelayTest, NobodyBelievesAParent) {
  Publish(1);
  const std::shared_ptr<const WeightSnapshot> set = publisher_.Newest();
  const auto lie = [&](const std::function<void(WeightSnapshot&)>& change) {
    auto changed = std::make_shared<WeightSnapshot>(*set);
    change(*changed);
    Giver liar;
    liar.Give(changed);
    WeightReceiver child(learner_, "run", "a", layout_);
    const absl::StatusCode code = From(liar, child, 1).status().code();
    sent_ = 0;
    EXPECT_EQ(Check(child.Fetch({0, 1}, kPatience), 1), whole_);
    EXPECT_EQ(sent_, whole_) << "nothing of the liar's is used";
    return code;
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(lie(FlipABit), absl::StatusCode::kDataLoss);
  EXPECT_EQ(lie([](WeightSnapshot& s) {
              FlipABit(s);
              s.manifest.tensors[1].sha256_hex = std::string(64, 'a');
            }),
            kInvalid);
  EXPECT_EQ(lie([](WeightSnapshot& s) { s.manifest.head_classes = HeadClasses{.local = {0}, .global = {1}}; }),
            kInvalid);
  EXPECT_EQ(lie([](WeightSnapshot& s) { s.manifest.run_id = "other"; }), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RelayTest, ALieCostsNothingOfWhatIsGood) {
  Publish(1);
  Giver good, liar;
  good.Give(publisher_.Newest(), whole_ / 2);
  WeightReceiver child(learner_, "run", "a", layout_);
  EXPECT_EQ(PartFrom(good, child, 1, whole_ / 2, [&] { good.relay().Close(); }).code(), kUnavailable);
  auto changed = std::make_shared<WeightSnapshot>(*publisher_.Newest());
  changed->manifest.tensors[0].sha256_hex = std::string(64, 'b');
  liar.Give(changed);
  EXPECT_EQ(From(liar, child, 1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Check(child.Fetch({0, 1}, kPatience), 1), whole_);
  EXPECT_EQ(sent_, whole_ - whole_ / 2);
}

TEST_F(RelayTest, StoppingEndsThoseWhoWait) {
  Publish(1);
  for (const bool begun : {false, true}) {
    std::atomic<bool> stop{false};
    Giver giver(&stop);
    giver.relay().Expect({0, 1});
    if (begun) giver.Give(publisher_.Newest(), 1000);
    WeightReceiver child(learner_, "run", "a", layout_);
    EXPECT_EQ(PartFrom(giver, child, 1, begun ? 1000 : 0, [&] { stop = true; }).code(), kUnavailable);
    EXPECT_EQ(From(giver, child, 1).status().code(), kUnavailable) << "nor does it begin again";
  }
}

TEST_F(RelayTest, ARelayThatDoesNotFetchIsNotWaitedFor) {
  const std::unique_ptr<WeightRelay> relay = WeightRelay::Start("run").value();
  const auto ask = [&](absl::Duration waited) {
    return relay->FeedFor({.at_least = {0, 3}, .held = {}, .since = MonotonicNow() - waited});
  };
  EXPECT_TRUE(ask(absl::ZeroDuration()).ok());
  EXPECT_EQ(ask(absl::Minutes(1)).status().code(), kUnavailable);
  relay->Expect({0, 3});
  EXPECT_TRUE(ask(absl::Minutes(1)).ok()) << "it has begun";
  relay->Decline();
  EXPECT_EQ(ask(absl::ZeroDuration()).status().code(), kUnavailable);
}

TEST_F(RelayTest, ASlowReaderKeepsItsSetWhileTheNextIsMade) {
  const ParameterLayout large = SampleLayout(16'000'000);  // more than gRPC buffers for a reader that does not read
  const auto publish = [&](uint64_t step) {
    ASSERT_TRUE(
        PublishValues(publisher_, {0, step}, large, Trained(SampleValues(large), step), StorageDType::kBFloat16).ok());
  };
  publish(1);
  Node a(learner_, large);
  ASSERT_TRUE(a.receiver().Fetch({0, 1}, kPatience).ok());
  const auto stub = wire::WeightService::NewStub(a.giver().channel());
  const auto read = [&](const std::unique_ptr<grpc::ClientReader<wire::FetchWeightsResponse>>& reader,
                        WeightAssembler& assembler) {
    wire::FetchWeightsResponse message;
    while (reader->Read(&message)) {
      ASSERT_TRUE(assembler.Append(message.chunk().offset(), message.chunk().data()).ok());
    }
  };
  for (const bool overtaken : {false, true}) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    wire::FetchWeightsRequest request;
    request.set_run_id("run");
    const uint64_t step = publisher_.Newest()->manifest.version.step;
    request.mutable_at_least()->set_step(step);
    const auto reader = stub->Fetch(&context, request);
    wire::FetchWeightsResponse message;
    ASSERT_TRUE(reader->Read(&message));
    auto assembler = WeightAssembler::Start(*FromWire(message.manifest()), large);
    ASSERT_TRUE(assembler.ok());
    for (uint64_t next = step + 1; next <= step + (overtaken ? 2 : 1); ++next) {
      publish(next);
      const auto got = a.receiver().Fetch({0, next}, kPatience);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_LT(got->wire_bytes, publisher_.Newest()->manifest.total_bytes / 10);
    }
    read(reader, *assembler);
    EXPECT_EQ(reader->Finish().error_code(), overtaken ? grpc::StatusCode::UNAVAILABLE : grpc::StatusCode::OK);
    EXPECT_EQ(assembler->Finish().ok(), !overtaken);
  }
}

TEST(ManifestDigestTest, EverythingThatMakesTheSetIsInIt) {
  const WeightManifest manifest{.run_id = "run",
                                .version = {1, 2},
                                .dtype = StorageDType::kBFloat16,
                                .tensors = {{"a", {2, 3}, 12, std::string(64, '1')}},
                                .total_bytes = 12,
                                .head_classes = HeadClasses{.local = {1}, .global = {2}},
                                .shared = {},
                                .delta = {}};
  const std::string digest = ManifestDigest(manifest);
  const auto differs = [&](const std::function<void(WeightManifest&)>& change) {
    WeightManifest changed = manifest;
    change(changed);
    return ManifestDigest(changed) != digest;
  };
  EXPECT_TRUE(differs([](WeightManifest& m) { m.run_id = "ru"; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.version.incarnation = 2; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.version.step = 1; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.dtype = StorageDType::kFloat32; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.total_bytes = 13; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.tensors[0].name = "b"; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.tensors[0].shape = {3, 2}; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.tensors[0].sha256_hex[3] = '2'; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.tensors.push_back(m.tensors[0]); }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.head_classes->local = {1, 2}, m.head_classes->global = {}; }));
  EXPECT_TRUE(differs([](WeightManifest& m) { m.head_classes.reset(); }));
  EXPECT_FALSE(differs([](WeightManifest& m) { m.delta.emplace().bytes = {4}; })) << "how it is sent";
  EXPECT_FALSE(differs([](WeightManifest& m) { m.shared.emplace(); })) << "where else it lies";
}

}  // namespace
}  // namespace tactus
