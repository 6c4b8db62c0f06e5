// What peers send, each message a byte in front of it: groups, leases, weight manifests and weights. A group that is
// accepted encodes to bytes that decode to the same.
#include <string>

#include "common/data/codec.h"
#include "common/weights/weight_assembler.h"
#include "common/weights/weight_codec.h"
#include "proto/trajectory.pb.h"
#include "proto/weight_service.pb.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {
namespace {

constexpr TrajectoryLimits kLimits = {
    .max_prompt_tokens = 8, .max_completion_tokens = 8, .completions_per_prompt = 2, .vocab_size = 100, .max_turns = 3};

TrajectoryLimits Limits(int calibrated_heads) {
  TrajectoryLimits limits = kLimits;
  limits.calibrated_heads = calibrated_heads;
  return limits;
}

void Group(absl::string_view bytes, int calibrated_heads) {
  const TrajectoryLimits limits = Limits(calibrated_heads);
  const absl::StatusOr<TrajectoryGroup> group = DecodeGroup(bytes, limits);
  if (!group.ok()) {
    (void)NonfiniteValue(group.status());
    return;
  }
  Require(ValidateGroup(*group, limits).ok(), "what was decoded is valid");
  const std::string encoded = EncodeGroup(*group);
  Require(encoded.size() <= MaxGroupBytes(limits), "a valid group is within the size that is allowed");
  const absl::StatusOr<TrajectoryGroup> again = DecodeGroup(encoded, limits);
  Require(again.ok() && EncodeGroup(*again) == encoded, "it comes back as it went");
}

void Lease(absl::string_view bytes) {
  wire::PromptLease message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const absl::StatusOr<PromptLease> lease = FromWire(message, kLimits);
  if (!lease.ok()) return;
  Require(ValidatePrompt(lease->prompt, kLimits).ok(), "a lease's prompt is valid");
  Require(FromWire(ToWire(*lease), kLimits).ok(), "a lease comes back");
}

ModelConfig SmallModel() {
  ModelConfig config;
  config.vocab_size = 4;
  config.hidden_size = config.intermediate_size = config.head_dim = 16;
  config.num_layers = config.num_heads = config.num_kv_heads = 1;
  return config;
}

void Manifest(absl::string_view bytes, int calibrated_heads) {
  wire::WeightManifest message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const absl::StatusOr<WeightManifest> manifest = FromWire(message, calibrated_heads);
  if (!manifest.ok()) return;
  Require(FromWire(ToWire(*manifest), calibrated_heads).ok(), "a manifest comes back");
  static const ParameterLayout* const layout = new ParameterLayout(MakeParameterLayout(SmallModel()));
  absl::StatusOr<WeightAssembler> assembler = WeightAssembler::Start(*manifest, *layout);
  if (!assembler.ok()) return;
  (void)assembler->Append(0, bytes);
  (void)assembler->Finish();
}

}  // namespace

void FuzzWireMessages(absl::string_view input) {
  if (input.empty()) return;
  const absl::string_view bytes = input.substr(1);
  switch (input[0]) {
    case 'g':
      return Group(bytes, 0);
    case 'h':
      return Group(bytes, 4);
    case 'l':
      return Lease(bytes);
    case 'm':
      return Manifest(bytes, 0);
    case 'n':
      return Manifest(bytes, 4);
    default:
      return;
  }
}

}  // namespace tactus::fuzz
