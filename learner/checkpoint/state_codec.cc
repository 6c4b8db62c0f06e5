#include "learner/checkpoint/state_codec.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "proto/checkpoint.pb.h"

namespace tactus {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 53;  // sums of a few stay far from overflow
constexpr uint32_t kMaxFailures = 1 << 30;       // of one prompt: as an int, and counted on

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("training state: ", what));
}

wire::LedgerState EncodeLedger(const LedgerSnapshot& ledger) {
  wire::LedgerState out;
  *out.mutable_version() = ToWire(ledger.version);
  out.set_next_prompt_id(ledger.next_prompt_id);
  out.mutable_open_prompt_ids()->Add(ledger.open_prompt_ids.begin(), ledger.open_prompt_ids.end());
  for (const ReadyGroup& ready : ledger.ready) {
    wire::LedgerState::ReadyGroup& added = *out.add_ready();
    added.set_group(EncodeGroup(ready.group));
    *added.mutable_version() = ToWire(ready.version);
  }
  wire::LedgerState::Counters& counters = *out.mutable_counters();
  counters.set_received(ledger.counters.received);
  counters.set_accepted(ledger.counters.accepted);
  counters.set_trained(ledger.counters.trained);
  counters.set_queued(ledger.counters.queued);
  counters.mutable_rejected()->Add(ledger.counters.rejected.begin(), ledger.counters.rejected.end());
  counters.mutable_dropped()->Add(ledger.counters.dropped.begin(), ledger.counters.dropped.end());
  counters.set_leases_granted(ledger.counters.leases_granted);
  counters.set_leases_expired(ledger.counters.leases_expired);
  counters.set_leases_returned(ledger.counters.leases_returned);
  counters.set_prompts_dropped(ledger.counters.prompts_dropped);
  out.mutable_open_prompt_failures()->Add(ledger.failures.begin(), ledger.failures.end());
  out.set_log_segment(ledger.log_segment);
  return out;
}

constexpr int kDropReasonsOfOld = 2;  // of checkpoints up to 0.2, which replaced no groups

absl::StatusOr<LedgerCounters> DecodeCounters(const wire::LedgerState::Counters& in) {
  LedgerCounters out;
  if (in.rejected_size() != kRejectReasons || in.dropped_size() < kDropReasonsOfOld ||
      in.dropped_size() > kDropReasons) {
    return Malformed(absl::StrCat("the ledger counts ", in.rejected_size(), " and ", in.dropped_size(),
                                  " reasons; expected ", kRejectReasons, " and ", kDropReasons));
  }
  out.received = in.received();
  out.accepted = in.accepted();
  out.trained = in.trained();
  out.queued = in.queued();
  for (int i = 0; i < kRejectReasons; ++i) out.rejected[static_cast<size_t>(i)] = in.rejected(i);
  for (int i = 0; i < in.dropped_size(); ++i) out.dropped[static_cast<size_t>(i)] = in.dropped(i);
  out.leases_granted = in.leases_granted();
  out.leases_expired = in.leases_expired();
  out.leases_returned = in.leases_returned();
  out.prompts_dropped = in.prompts_dropped();
  for (const int64_t count : {out.received, out.accepted, out.trained, out.queued, out.rejected[0], out.rejected[1],
                              out.rejected[2], out.dropped[0], out.dropped[1], out.dropped[2], out.leases_granted,
                              out.leases_expired, out.leases_returned, out.prompts_dropped}) {
    if (count < 0 || count > kMaxCount) return Malformed("a ledger counter is out of range");
  }
  if (!out.Balanced()) return Malformed("the ledger's counters do not add up");
  return out;
}

absl::StatusOr<LedgerSnapshot> DecodeLedger(const wire::LedgerState& in, const TrajectoryLimits& limits) {
  LedgerSnapshot out;
  out.version = FromWire(in.version());
  out.next_prompt_id = in.next_prompt_id();
  out.open_prompt_ids.assign(in.open_prompt_ids().begin(), in.open_prompt_ids().end());
  for (const uint32_t failures : in.open_prompt_failures()) {
    if (failures > kMaxFailures) return Malformed("a count of failed leases is out of range");
    out.failures.push_back(static_cast<int>(failures));
  }
  for (const wire::LedgerState::ReadyGroup& ready : in.ready()) {
    ASSIGN_OR_RETURN(TrajectoryGroup group, DecodeGroup(ready.group(), limits));
    out.ready.push_back({std::move(group), FromWire(ready.version())});
  }
  ASSIGN_OR_RETURN(out.counters, DecodeCounters(in.counters()));
  out.log_segment = in.log_segment();
  return out;
}

absl::StatusOr<std::optional<HeadClasses>> ClassesOf(const wire::CheckpointState& in, int calibrated_heads) {
  if (calibrated_heads > 0 && in.learner_step() > 0 && !in.has_head_classes()) {
    return Malformed("head_classes is missing; expected those of the last calibration");
  }
  return FromWire("training state: head_classes", in.has_head_classes() ? &in.head_classes() : nullptr,
                  calibrated_heads);
}

absl::StatusOr<wire::CheckpointState> Parse(absl::string_view bytes) {
  wire::CheckpointState in;
  if (bytes.size() > INT32_MAX || !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Malformed("not a CheckpointState message");
  }
  if (!in.has_version() || !in.has_ledger()) return Malformed("version or ledger is missing");
  return in;
}

}  // namespace

std::string EncodeTrainFacts(const TrainFacts& facts) {
  wire::CheckpointState out;
  *out.mutable_version() = ToWire(facts.version);
  out.set_optimizer_steps(facts.optimizer_steps);
  out.set_skipped_steps(facts.skipped_steps);
  out.set_schedule_step(facts.schedule_step);
  out.set_learner_step(facts.learner_step);
  out.set_planned_steps(facts.planned_steps);
  out.set_data_cursor(facts.data_cursor);
  out.set_seed(facts.seed);
  out.set_config_fingerprint(facts.config_fingerprint);
  out.set_data_fingerprint(facts.data_fingerprint);
  out.set_tactus_version(facts.tactus_version);
  out.set_prompt_difficulty(facts.prompt_difficulty);
  *out.mutable_ledger() = EncodeLedger(facts.ledger);
  if (facts.head_classes.has_value()) *out.mutable_head_classes() = ToWire(*facts.head_classes);
  return out.SerializeAsString();
}

absl::StatusOr<TrainFacts> DecodeTrainFacts(absl::string_view bytes, const TrajectoryLimits& limits) {
  ASSIGN_OR_RETURN(const wire::CheckpointState in, Parse(bytes));
  TrainFacts out;
  out.version = FromWire(in.version());
  const std::pair<const char*, int64_t> counts[] = {{"optimizer_steps", in.optimizer_steps()},
                                                    {"skipped_steps", in.skipped_steps()},
                                                    {"schedule_step", in.schedule_step()},
                                                    {"learner_step", in.learner_step()},
                                                    {"planned_steps", in.planned_steps()}};
  for (const auto& [name, count] : counts) {
    if (count < 0) return Malformed(absl::StrCat(name, " is ", count, "; expected 0 or more"));
  }
  out.optimizer_steps = in.optimizer_steps();
  out.skipped_steps = in.skipped_steps();
  out.schedule_step = in.schedule_step();
  out.learner_step = in.learner_step();
  out.planned_steps = in.planned_steps();
  out.data_cursor = in.data_cursor();
  out.seed = in.seed();
  out.config_fingerprint = in.config_fingerprint();
  out.data_fingerprint = in.data_fingerprint();
  out.tactus_version = in.tactus_version();
  out.prompt_difficulty = in.prompt_difficulty();
  ASSIGN_OR_RETURN(out.ledger, DecodeLedger(in.ledger(), limits));
  ASSIGN_OR_RETURN(out.head_classes, ClassesOf(in, limits.calibrated_heads));
  return out;
}

absl::StatusOr<uint64_t> DecodeLogSegment(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const wire::CheckpointState in, Parse(bytes));
  return in.ledger().log_segment();
}

absl::StatusOr<std::optional<HeadClasses>> DecodeHeadClasses(absl::string_view bytes, int calibrated_heads) {
  ASSIGN_OR_RETURN(const wire::CheckpointState in, Parse(bytes));
  return ClassesOf(in, calibrated_heads);
}

}  // namespace tactus
