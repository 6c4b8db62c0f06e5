// The weight stream over loopback, against the real service and against a service that follows a bad script.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "absl/time/clock.h"
#include "common/weights/grpc_weight_receiver.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "proto/weight_service.grpc.pb.h"
#include "tests/weights/sample_weights.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(30);

// A server on a free loopback port for the life of the object.
class LoopbackServer {
 public:
  explicit LoopbackServer(grpc::Service* service) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  }
  ~LoopbackServer() { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1)); }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

class GrpcWeightsTest : public testing::Test {
 protected:
  explicit GrpcWeightsTest(int max_deltas = 0)
      : layout_(SampleLayout(1'000'000)),
        values_(SampleValues(layout_)),
        publisher_("run", max_deltas),
        service_(MakeWeightService(&publisher_, &bytes_sent_)),
        server_(service_.get()) {}

  void Publish(uint64_t step, float scale = 1, StorageDType dtype = StorageDType::kFloat32) {
    ASSERT_TRUE(PublishValues(publisher_, {0, step}, layout_, SampleValues(layout_, scale), dtype).ok());
  }
  WeightReceiver Receiver(const std::string& run = "run") { return {server_.channel(), run, "actor", layout_}; }

  const ParameterLayout layout_;
  const std::vector<float> values_;
  WeightPublisher publisher_;
  std::atomic<uint64_t> bytes_sent_{0};
  std::unique_ptr<grpc::Service> service_;
  LoopbackServer server_;
};

TEST_F(GrpcWeightsTest, DeliversTheNewestSet) {
  Publish(1, 2.0f);
  Publish(2);
  WeightReceiver receiver = Receiver();
  for (const uint64_t at_least : {0, 1, 2}) {
    const auto weights = receiver.Fetch({0, at_least}, kPatience);
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(weights->version, (PolicyVersion{0, 2}));
    EXPECT_EQ(weights->flat, values_);
  }
  EXPECT_EQ(bytes_sent_, 3 * publisher_.Newest()->manifest.total_bytes);
  Publish(3, 1, StorageDType::kBFloat16);
  const auto rounded = receiver.Fetch({0, 3}, kPatience);
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_EQ(rounded->flat[20], BFloat16ToFloat(FloatToBFloat16(values_[20])));
}

TEST_F(GrpcWeightsTest, DeliversTheHeadClasses) {
  const HeadClasses classes{.local = {0}, .global = {2, 3}};
  ASSERT_TRUE(PublishValues(publisher_, {0, 1}, layout_, values_, StorageDType::kFloat32, classes).ok());
  WeightReceiver calibrated(server_.channel(), "run", "actor", layout_, 4);
  const auto weights = calibrated.Fetch({0, 1}, kPatience);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->head_classes, classes);
  WeightReceiver other_heads(server_.channel(), "run", "actor", layout_, 3);
  EXPECT_EQ(other_heads.Fetch({0, 1}, kPatience).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Receiver().Fetch({0, 1}, kPatience).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GrpcWeightsTest, TellsAnActorOfTheSameMachineWhereTheWeightsAre) {
  const SharedWeights shared{.machine = "m", .handle = std::string("\0h", 2), .elements = values_.size()};
  ASSERT_TRUE(PublishValues(publisher_, {0, 1}, layout_, values_, StorageDType::kFloat32, std::nullopt, shared).ok());
  WeightReceiver receiver = Receiver();
  for (const char* machine : {"", "other"}) {
    const auto sent = receiver.Fetch({0, 1}, kPatience, machine);
    ASSERT_TRUE(sent.ok()) << sent.status();
    EXPECT_FALSE(sent->shared.has_value());
    EXPECT_EQ(sent->flat, values_);
  }
  const uint64_t bytes = bytes_sent_;
  const auto told = receiver.Fetch({0, 1}, kPatience, "m");
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_TRUE(told->flat.empty());
  ASSERT_TRUE(told->shared.has_value());
  EXPECT_EQ(told->shared->handle, shared.handle);
  EXPECT_EQ(told->shared->elements, values_.size());
  EXPECT_EQ(told->shared->version, (PolicyVersion{0, 1}));
  EXPECT_EQ(bytes_sent_, bytes);
  // Of another size than the model here.
  SharedWeights longer = shared;
  ++longer.elements;
  ASSERT_TRUE(PublishValues(publisher_, {0, 2}, layout_, values_, StorageDType::kFloat32, std::nullopt, longer).ok());
  EXPECT_EQ(receiver.Fetch({0, 2}, kPatience, "m").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GrpcWeightsTest, NothingNewEnoughIsUnavailable) {
  WeightReceiver receiver = Receiver();
  EXPECT_THAT(std::string(receiver.Fetch({0, 0}, kPatience).status().message()), HasSubstr("no weights are published"));
  Publish(4);
  const absl::Status status = receiver.Fetch({0, 5}, kPatience).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("newest weights are of version 0.4, older than 0.5"));
}

TEST_F(GrpcWeightsTest, AnotherRunOrModelIsRefused) {
  Publish(1);
  WeightReceiver stranger = Receiver("other");
  EXPECT_EQ(stranger.Fetch({0, 0}, kPatience).status().code(), absl::StatusCode::kFailedPrecondition);
  WeightReceiver other_model(server_.channel(), "run", "actor", SampleLayout());
  const absl::Status status = other_model.Fetch({0, 0}, kPatience).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("middle.weight"));
}

TEST_F(GrpcWeightsTest, ACallWithoutADeadlineIsRefused) {
  Publish(1);
  const auto stub = wire::WeightService::NewStub(server_.channel());
  wire::FetchWeightsRequest request;
  request.set_run_id("run");
  grpc::ClientContext context;
  const auto reader = stub->Fetch(&context, request);
  wire::FetchWeightsResponse message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// What changes between versions: every hundredth number, by one unit of bfloat16's last place or so.
std::vector<float> Trained(std::vector<float> values, int steps) {
  for (size_t i = 0; i < values.size(); i += 100) values[i] *= 1 + 0.008f * static_cast<float>(steps);
  return values;
}

class WeightDeltasTest : public GrpcWeightsTest {
 protected:
  WeightDeltasTest() : GrpcWeightsTest(/*max_deltas=*/3) {}

  void PublishTrained(uint64_t step) {
    ASSERT_TRUE(
        PublishValues(publisher_, {0, step}, layout_, Trained(values_, static_cast<int>(step)), StorageDType::kBFloat16)
            .ok());
  }
  // Fetches; the weights must be those of a whole set. Returns the bytes it took.
  uint64_t Fetch(WeightReceiver& receiver, uint64_t step) {
    const auto weights = receiver.Fetch({0, step}, kPatience);
    EXPECT_TRUE(weights.ok()) << weights.status();
    if (!weights.ok()) return 0;
    std::vector<float> expected = Trained(values_, static_cast<int>(step));
    for (float& value : expected) value = BFloat16ToFloat(FloatToBFloat16(value));
    EXPECT_EQ(weights->flat, expected) << "step " << step;
    return weights->wire_bytes;
  }
  uint64_t Whole() const { return publisher_.Newest()->manifest.total_bytes; }
};

TEST_F(WeightDeltasTest, AnActorThatHasAnOlderSetIsSentWhatChanged) {
  WeightReceiver follows = Receiver(), skips = Receiver();
  PublishTrained(1);
  EXPECT_EQ(Fetch(follows, 1), Whole());
  EXPECT_EQ(Fetch(skips, 1), Whole());
  PublishTrained(2);
  const uint64_t one = Fetch(follows, 2);
  EXPECT_LT(one, Whole() / 20);
  PublishTrained(3);
  EXPECT_LT(Fetch(follows, 3), Whole() / 20);
  EXPECT_GT(Fetch(skips, 3), one) << "two deltas in a row";
  WeightReceiver fresh = Receiver();
  EXPECT_EQ(Fetch(fresh, 3), Whole());
}

TEST_F(WeightDeltasTest, WhoIsTooFarBehindIsSentAll) {
  WeightReceiver receiver = Receiver();
  PublishTrained(1);
  Fetch(receiver, 1);
  for (uint64_t step = 2; step <= 5; ++step) PublishTrained(step);
  EXPECT_EQ(Fetch(receiver, 5), Whole()) << "three deltas are kept, 2 to 5";
  PublishTrained(6);
  EXPECT_LT(Fetch(receiver, 6), Whole() / 20);
}

TEST_F(WeightDeltasTest, AfterAChangeOfEverythingAllIsSent) {
  WeightReceiver receiver = Receiver();
  PublishTrained(1);
  Fetch(receiver, 1);
  Publish(2, 1.5f, StorageDType::kBFloat16);
  const auto weights = receiver.Fetch({0, 2}, kPatience);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->wire_bytes, Whole());
  Publish(3, 1.5f, StorageDType::kFloat32);
  EXPECT_EQ(receiver.Fetch({0, 3}, kPatience)->wire_bytes, Whole()) << "float32 has no deltas";
}

TEST_F(GrpcWeightsTest, NobodyListeningIsUnavailable) {
  WeightReceiver receiver(grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials()), "run", "actor",
                          layout_);
  EXPECT_EQ(receiver.Fetch({0, 0}, kPatience).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GrpcWeightsTest, AReaderOfAnOldSetGetsItWholeAndThenItIsFreed) {
  // Larger than what gRPC buffers between a stalled reader and the server.
  const ParameterLayout large = SampleLayout(8'000'000);
  const auto publish = [&](uint64_t step, float scale) {
    ASSERT_TRUE(PublishValues(publisher_, {0, step}, large, SampleValues(large, scale), StorageDType::kFloat32).ok());
  };
  publish(1, 1);
  const std::weak_ptr<const WeightSnapshot> old = publisher_.Newest();
  const auto stub = wire::WeightService::NewStub(server_.channel());
  wire::FetchWeightsRequest request;
  request.set_run_id("run");
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  const auto reader = stub->Fetch(&context, request);
  wire::FetchWeightsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  auto assembler = WeightAssembler::Start(*FromWire(message.manifest()), large);
  ASSERT_TRUE(assembler.ok());
  publish(2, 3);
  EXPECT_FALSE(old.expired());
  while (reader->Read(&message)) {
    ASSERT_TRUE(assembler->Append(message.chunk().offset(), message.chunk().data()).ok());
  }
  EXPECT_TRUE(reader->Finish().ok());
  const auto weights = assembler->Finish();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->version, (PolicyVersion{0, 1}));
  EXPECT_EQ(weights->flat, SampleValues(large));
  for (int i = 0; i < 3000 && !old.expired(); ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_TRUE(old.expired());
}

TEST_F(GrpcWeightsTest, ManyActorsAtOnce) {
  Publish(1);
  std::vector<std::thread> actors;
  std::atomic<int> good{0};
  for (int i = 0; i < 16; ++i) {
    actors.emplace_back([&] {
      WeightReceiver receiver = Receiver();
      const auto weights = receiver.Fetch({0, 1}, kPatience);
      good += weights.ok() && weights->flat == values_;
    });
  }
  for (std::thread& actor : actors) actor.join();
  EXPECT_EQ(good, 16);
}

// What a learner sends: messages, then a status, or nothing more until the call is cancelled.
struct Script {
  std::vector<wire::FetchWeightsResponse> messages;
  grpc::Status ending;
  bool hang = false;
};

class ScriptedService final : public wire::WeightService::Service {
 public:
  void Play(const Script& script) {
    absl::MutexLock lock(&mu_);
    script_ = script;
  }

  grpc::Status Fetch(grpc::ServerContext* context, const wire::FetchWeightsRequest*,
                     grpc::ServerWriter<wire::FetchWeightsResponse>* writer) override {
    Script script;  // a copy: a call that its reader gave up may outlive the script
    {
      absl::MutexLock lock(&mu_);
      script = script_;
    }
    for (const auto& message : script.messages) writer->Write(message);
    while (script.hang && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return script.ending;
  }

 private:
  absl::Mutex mu_;
  Script script_ ABSL_GUARDED_BY(mu_);
};

class ScriptedWeightsTest : public testing::Test {
 protected:
  ScriptedWeightsTest() : layout_(SampleLayout()), server_(&service_) {
    WeightPublisher publisher("run");
    EXPECT_TRUE(PublishValues(publisher, {0, 1}, layout_, SampleValues(layout_), StorageDType::kFloat32).ok());
    const auto snapshot = publisher.Newest();
    *good_.messages.emplace_back().mutable_manifest() = ToWire(snapshot->manifest);
    constexpr size_t kChunk = 100'000;
    for (size_t at = 0; at < snapshot->bytes->size(); at += kChunk) {
      wire::WeightChunk& chunk = *good_.messages.emplace_back().mutable_chunk();
      chunk.set_offset(at);
      chunk.set_data(snapshot->bytes->data() + at, std::min(kChunk, snapshot->bytes->size() - at));
    }
  }

  absl::StatusCode Fetch(const Script& script, absl::Duration timeout = kPatience) {
    service_.Play(script);
    WeightReceiver receiver(server_.channel(), "run", "actor", layout_);
    return receiver.Fetch({0, 1}, timeout).status().code();
  }

  const ParameterLayout layout_;
  Script good_;
  ScriptedService service_;
  LoopbackServer server_;
};

TEST_F(ScriptedWeightsTest, TheScriptItselfIsGood) { EXPECT_EQ(Fetch(good_), absl::StatusCode::kOk); }

TEST_F(ScriptedWeightsTest, AStreamCutAnywhereGivesNothing) {
  for (size_t keep = 0; keep < good_.messages.size(); ++keep) {
    Script script = good_;
    script.messages.resize(keep);
    EXPECT_EQ(Fetch(script), absl::StatusCode::kDataLoss) << keep;
    script.ending = grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
    EXPECT_EQ(Fetch(script), absl::StatusCode::kUnavailable) << keep;
  }
}

TEST_F(ScriptedWeightsTest, WrongMessagesAreRefused) {
  using Messages = std::vector<wire::FetchWeightsResponse>;
  const auto code = [&](const std::function<void(Messages&)>& change) {
    Script script = good_;
    change(script.messages);
    return Fetch(script);
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](Messages& m) { m[2].mutable_chunk()->mutable_data()->at(5) ^= 0x40; }),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(code([](Messages& m) { std::swap(m[1], m[2]); }), kInvalid);
  EXPECT_EQ(code([](Messages& m) { m.erase(m.begin()); }), kInvalid);
  EXPECT_EQ(code([](Messages& m) { m.push_back(m[0]); }), kInvalid);
  EXPECT_EQ(code([](Messages& m) { m.insert(m.begin() + 1, wire::FetchWeightsResponse()); }), kInvalid);
  EXPECT_EQ(code([](Messages& m) { m.push_back(m.back()); }), kInvalid);
  EXPECT_EQ(code([](Messages& m) { m[0].mutable_manifest()->set_run_id("other"); }),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code([](Messages& m) { m[0].mutable_manifest()->mutable_version()->set_step(0); }), kInvalid);
}

// A learner that sends a whole set to `receiver`, then what `change` makes of the delta that leads to the next one.
class ScriptedDeltaTest : public ScriptedWeightsTest {
 protected:
  ScriptedDeltaTest() {
    WeightPublisher publisher("run", 1);
    for (const uint64_t step : {1, 2}) {
      const std::vector<float> values = Trained(SampleValues(layout_), static_cast<int>(step));
      EXPECT_TRUE(PublishValues(publisher, {0, step}, layout_, values, StorageDType::kBFloat16).ok());
      if (step == 1) Append(first_, ToWire(publisher.Newest()->manifest), *publisher.Newest()->bytes);
    }
    const WeightOffer offer = publisher.OfferTo(PolicyVersion{0, 1});
    EXPECT_EQ(offer.deltas.size(), 1u);
    WeightManifest manifest = offer.snapshot->manifest;
    manifest.delta = WeightManifest::Delta{.base = {0, 1}, .bytes = {offer.deltas[0]->bytes.size()}};
    Append(second_, ToWire(manifest), offer.deltas[0]->bytes);
  }
  template <typename Bytes>
  static void Append(Script& script, wire::WeightManifest manifest, const Bytes& bytes) {
    *script.messages.emplace_back().mutable_manifest() = std::move(manifest);
    script.messages.emplace_back().mutable_chunk()->set_data(bytes.data(), bytes.size());
  }
  absl::StatusCode FetchWith(const std::function<void(std::vector<wire::FetchWeightsResponse>&)>& change) {
    WeightReceiver receiver(server_.channel(), "run", "actor", layout_);
    service_.Play(first_);
    EXPECT_TRUE(receiver.Fetch({0, 1}, kPatience).ok());
    Script script = second_;
    change(script.messages);
    service_.Play(script);
    const absl::StatusCode code = receiver.Fetch({0, 2}, kPatience).status().code();
    service_.Play(first_);
    EXPECT_TRUE(receiver.Fetch({0, 1}, kPatience).ok()) << "a bad delta does not spoil a later whole set";
    return code;
  }
  Script first_, second_;
};

TEST_F(ScriptedDeltaTest, WrongDeltasAreRefused) {
  using Messages = std::vector<wire::FetchWeightsResponse>;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kLoss = absl::StatusCode::kDataLoss;
  const auto delta = [](Messages& m) { return m[0].mutable_manifest()->mutable_delta(); };
  EXPECT_EQ(FetchWith([](Messages&) {}), absl::StatusCode::kOk);
  EXPECT_EQ(FetchWith([&](Messages& m) { delta(m)->mutable_base()->set_step(0); }), kInvalid) << "not the one held";
  EXPECT_EQ(FetchWith([&](Messages& m) { delta(m)->set_bytes(0, m[0].manifest().total_bytes() + 1); }), kInvalid);
  EXPECT_EQ(FetchWith([&](Messages& m) { delta(m)->add_bytes(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(FetchWith([&](Messages& m) { delta(m)->add_bytes(1); }), kLoss) << "one byte is missing";
  EXPECT_EQ(FetchWith([&](Messages& m) { delta(m)->clear_bytes(); }), kInvalid) << "bytes that are not announced";
  EXPECT_EQ(FetchWith([](Messages& m) { m.pop_back(); }), kLoss);
  EXPECT_EQ(FetchWith([](Messages& m) { m[1].mutable_chunk()->set_offset(1); }), kInvalid);
  EXPECT_EQ(FetchWith([](Messages& m) { m.push_back(m[1]); }), kInvalid);
  for (const size_t at : {size_t{0}, size_t{5}, size_t{60}, size_t{200}}) {
    EXPECT_EQ(FetchWith([&](Messages& m) { m[1].mutable_chunk()->mutable_data()->at(at) ^= 1; }), kLoss) << at;
  }
}

TEST_F(ScriptedWeightsTest, ASilentLearnerEndsAtTheDeadline) {
  good_.messages.resize(2);
  good_.hang = true;
  EXPECT_EQ(Fetch(good_, absl::Milliseconds(200)), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ScriptedWeightsTest, CloseEndsABlockedFetch) {
  good_.messages.resize(2);
  good_.hang = true;
  service_.Play(good_);
  WeightReceiver receiver(server_.channel(), "run", "actor", layout_);
  std::thread closer([&] {
    absl::SleepFor(absl::Milliseconds(100));
    receiver.Close();
  });
  EXPECT_EQ(receiver.Fetch({0, 1}, kPatience).status().code(), absl::StatusCode::kCancelled);
  closer.join();
  EXPECT_EQ(receiver.Fetch({0, 1}, kPatience).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace tactus
