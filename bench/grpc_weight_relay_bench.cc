// One end of a measurement of how fast new weights reach actors; scripts/weight_relay.py runs it on several network
// namespaces. The streams, the announcements, the transfers and the checks are the product's; nothing is sampled or
// trained.
//
//   weight_relay_bench learner LAYERS LISTEN FAN_OUT MAX_DELTAS  a learner of random bfloat16 weights, with 30 layers
//   of
//                                                                SmolLM2-135M's shape. Each line of its input publishes
//                                                                a version, in which one number in a hundred has moved
//   weight_relay_bench actor LAYERS LEARNER NAME FAN_OUT         fetches, and passes on unless FAN_OUT is 0
//
// One JSON line on stdout for what happens, with "at": seconds of the machine's monotonic clock, which all processes
// share. Ends with its input.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actor/grpc_weight_source.h"
#include "actor/weight_relaying.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/rollout/grpc_rollout_port.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "common/weights/weight_publisher.h"
#include "learner/rollout/grpc_rollout_server.h"

namespace tactus {
namespace {

constexpr char kRun[] = "weight-relay-bench";
constexpr TrajectoryLimits kLimits = {
    .max_prompt_tokens = 64, .max_completion_tokens = 64, .completions_per_prompt = 2, .vocab_size = 1000};

double Now() { return absl::ToDoubleSeconds(MonotonicNow() - absl::UnixEpoch()); }

void Say(const std::string& fields) {
  std::printf("{\"at\":%.3f,%s}\n", Now(), fields.c_str());
  std::fflush(stdout);
}

ChannelSecurity Plaintext() {
  ChannelSecurity security;
  security.plaintext = true;
  return security;
}

ParameterLayout Layout(int layers) {
  ParameterLayout layout;
  const auto add = [&layout](const std::string& name, int64_t rows, int64_t columns) {
    layout.specs.push_back({name, {rows, columns}, layout.total_numel, rows * columns});
    layout.total_numel += rows * columns;
  };
  constexpr int64_t kHidden = 576, kKeys = 192, kInner = 1536;
  add("embed", 49152, kHidden);
  for (int layer = 0; layer < layers; ++layer) {
    const std::string name = absl::StrCat("layer", layer, ".");
    for (const char* square : {"q", "o"}) add(name + square, kHidden, kHidden);
    for (const char* narrow : {"k", "v"}) add(name + narrow, kKeys, kHidden);
    for (const char* inner : {"gate", "up"}) add(name + inner, kInner, kHidden);
    add(name + "down", kHidden, kInner);
    for (const char* norm : {"norm1", "norm2"}) add(name + norm, 1, kHidden);
  }
  add("norm", 1, kHidden);
  return layout;
}

// Splitmix64: what the numbers are matters to nobody.
struct Random {
  uint64_t state;
  uint64_t operator()() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
};

int RunLearner(int layers, const std::string& listen, int fan_out, int max_deltas) {
  const ParameterLayout layout = Layout(layers);
  Random random{.state = 1};
  std::vector<uint16_t> numbers(static_cast<size_t>(layout.total_numel));
  for (uint16_t& number : numbers) {  // of either sign, between 2^-12 and 1
    const uint64_t bits = random();
    number = static_cast<uint16_t>((bits & 0x807f) | (115 + (bits >> 16) % 12) << 7);
  }
  WeightPublisher publisher(kRun, max_deltas, 2);
  std::atomic<uint64_t> sent{0};
  const std::unique_ptr<grpc::Service> service = MakeWeightService(&publisher, &sent);
  RolloutServerOptions options;
  options.listen = listen;
  options.security = Plaintext();
  options.run_id = kRun;
  options.config_fingerprint = kRun;
  options.limits = kLimits;
  options.ledger.prompts_per_step = 1;
  options.ledger.completions_per_prompt = kLimits.completions_per_prompt;
  options.relay_fan_out = fan_out;
  options.more_services = {service.get()};
  const auto server = RolloutServer::Start(options, std::nullopt);
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }
  const std::string bytes = absl::StrCat("\"bytes\":", numbers.size() * sizeof(uint16_t));
  Say(absl::StrCat("\"learner\":", (*server)->port(), ",", bytes));
  std::string line;
  for (uint64_t step = 0; std::getline(std::cin, line); ++step) {
    if (step > 0) {
      for (size_t i = random() % 200; i < numbers.size(); i += 1 + random() % 199) {
        numbers[i] = static_cast<uint16_t>(numbers[i] + 1 + random() % 2);
      }
    }
    const char* data = reinterpret_cast<const char*>(numbers.data());
    const absl::Status published = publisher.Publish(
        {0, step}, layout, std::make_shared<const std::vector<char>>(data, data + numbers.size() * sizeof(uint16_t)),
        StorageDType::kBFloat16);
    const uint64_t before = sent;
    Say(absl::StrCat("\"published\":", step, ",\"delta_bytes\":", publisher.NewestDeltaBytes(), ",\"sent\":", before));
    const absl::Status announced =
        published.ok() ? (*server)->SetVersion({0, step}, ManifestDigest(publisher.Newest()->manifest)) : published;
    if (!announced.ok()) {
      std::cerr << announced << "\n";
      return 1;
    }
  }
  Say(absl::StrCat("\"sent\":", sent.load()));
  return 0;
}

absl::Status RunActor(int layers, const std::string& learner, const std::string& name, int fan_out) {
  GrpcRolloutPortOptions options;
  ASSIGN_OR_RETURN(options.address, HostPort::Parse(learner, "LEARNER"));
  options.security = Plaintext();
  options.run_id = options.config_fingerprint = kRun;
  options.actor_id = name;
  options.limits = kLimits;
  std::unique_ptr<WeightRelaying> relaying;
  if (fan_out > 0) {
    ASSIGN_OR_RETURN(relaying, WeightRelaying::Start({.learner = options.address,
                                                      .listen = std::nullopt,
                                                      .advertise = std::nullopt,
                                                      .security = options.security,
                                                      .run_id = kRun,
                                                      .patience = absl::Seconds(10)}));
    options.relay_address = relaying->address();
  }
  ASSIGN_OR_RETURN(const auto port, GrpcRolloutPort::Connect(options, absl::Seconds(60)));
  ASSIGN_OR_RETURN(const auto source, MakeGrpcWeightSource({.address = options.address,
                                                            .security = options.security,
                                                            .run_id = kRun,
                                                            .actor_id = name,
                                                            .layout = Layout(layers),
                                                            .relay = RelayOf(relaying.get())},
                                                           port.get()));
  Say(absl::StrCat("\"attached\":\"", name, "\""));
  std::thread input([&] {
    std::string line;
    while (std::getline(std::cin, line)) {
    }
    source->Close();
  });
  std::optional<PolicyVersion> held;
  absl::Status status;
  while (!absl::IsCancelled(status)) {
    absl::StatusOr<std::optional<NewWeights>> weights = source->Fetch(held, absl::Seconds(1));
    status = weights.status();
    if (!status.ok() || !weights->has_value()) continue;
    held = (*weights)->version;
    Say(absl::StrCat("\"held\":", held->step, ",\"actor\":\"", name,
                     "\",\"passed_on\":", relaying == nullptr ? 0 : relaying->bytes_sent()));
  }
  input.join();
  return absl::OkStatus();
}

int Main(const std::vector<std::string>& args) {
  if (args.size() != 5 || (args[0] != "learner" && args[0] != "actor")) {
    std::cerr << "usage: weight_relay_bench learner LAYERS LISTEN FAN_OUT MAX_DELTAS\n"
                 "       weight_relay_bench actor LAYERS LEARNER NAME FAN_OUT\n";
    return 2;
  }
  const int layers = std::atoi(args[1].c_str());
  if (args[0] == "learner") {
    return RunLearner(layers, args[2], std::atoi(args[3].c_str()), std::atoi(args[4].c_str()));
  }
  const absl::Status status = RunActor(layers, args[2], args[3], std::atoi(args[4].c_str()));
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) { return tactus::Main({argv + 1, argv + argc}); }
