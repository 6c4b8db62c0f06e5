#include "common/weights/grpc_weight_receiver.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/rollout/grpc_channel.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "proto/weight_service.grpc.pb.h"

namespace tactus {

// One call, a message at a time, with a bound on the silence before each.
struct WeightReceiver::Call {
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  absl::Duration silence = absl::InfiniteDuration();
  std::unique_ptr<wire::WeightService::Stub> stub;
  std::unique_ptr<grpc::ClientAsyncReader<wire::FetchWeightsResponse>> reader;
  bool ended = false;   // by the other side
  bool silent = false;  // ended by us, for that

  ~Call() {
    queue.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue.Next(&tag, &ok)) {
    }
  }

  // Waits for the one operation that is under way; false: it failed, or nothing came in time.
  bool Await(absl::Duration patience) {
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (patience != absl::InfiniteDuration()) {
      deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                              gpr_time_from_millis(absl::ToInt64Milliseconds(patience), GPR_TIMESPAN));
    }
    void* tag = nullptr;
    bool ok = false;
    if (queue.AsyncNext(&tag, &ok, deadline) == grpc::CompletionQueue::TIMEOUT) {
      silent = true;
      context.TryCancel();
      queue.Next(&tag, &ok);  // the operation's end, which cancelling brings
      return false;
    }
    return ok;
  }

  bool Begin(const std::shared_ptr<grpc::Channel>& channel, const wire::FetchWeightsRequest& request) {
    ConnectAgain(*channel);
    stub = wire::WeightService::NewStub(channel);
    reader = stub->PrepareAsyncFetch(&context, request, &queue);
    reader->StartCall(this);
    ended = !Await(silence) && !silent;
    return !ended && !silent;
  }

  bool Next(wire::FetchWeightsResponse& message) {
    reader->Read(&message, this);
    ended = !Await(silence) && !silent;
    return !ended && !silent;
  }

  grpc::Status Finish() {
    if (!ended) context.TryCancel();
    grpc::Status status;
    reader->Finish(&status, this);
    Await(absl::InfiniteDuration());
    return status;
  }
};

namespace {

absl::Status ToAbsl(const grpc::Status& status) {
  // The two enumerations have the same values by design.
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("fetching weights: ", status.error_message()));
}

// Of weights that are to be copied from where the manifest says.
absl::Status CheckShared(const WeightManifest& manifest, const std::string& machine, const ParameterLayout& layout) {
  RETURN_IF_ERROR(WeightAssembler::Check(manifest, layout));
  if (machine.empty() || manifest.shared->machine != machine) {
    return absl::InvalidArgumentError("fetching weights: they are said to be in the memory of another machine");
  }
  if (manifest.shared->elements != static_cast<uint64_t>(layout.total_numel)) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: ", manifest.shared->elements,
                                                   " shared numbers; expected this model's ", layout.total_numel));
  }
  return absl::OkStatus();
}

bool IsSignOfLife(const wire::FetchWeightsResponse& message) {
  return message.part_case() == wire::FetchWeightsResponse::PART_NOT_SET;
}

}  // namespace

absl::Status WeightReceiver::CheckManifest(const WeightManifest& manifest, const Want& want) const {
  if (manifest.run_id != run_id_) {
    return absl::FailedPreconditionError(
        absl::StrCat("fetching weights: they are of another run, not \"", run_id_, "\""));
  }
  if (manifest.version < want.version) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: version ", VersionName(manifest.version),
                                                   " came; expected at least ", VersionName(want.version)));
  }
  if (want.parent == nullptr) return absl::OkStatus();
  if (manifest.version != want.version || manifest.shared.has_value() ||
      ManifestDigest(manifest) != want.parent->manifest_digest) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: what came of version ",
                                                   VersionName(manifest.version),
                                                   " is not what the learner announced"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ReceivedWeights> WeightReceiver::ReadAll(Call& call, const Want& want) {
  wire::FetchWeightsResponse message;
  absl::Time progress = MonotonicNow();
  // The next message that says something.
  const auto next = [&] {
    while (call.Next(message)) {
      if (want.parent == nullptr || !IsSignOfLife(message)) return true;
      if (MonotonicNow() - progress < kRelayStall) continue;
      call.silent = true;
      return false;
    }
    return false;
  };
  if (!next()) return absl::DataLossError("fetching weights: the stream ended before a manifest came");
  if (!message.has_manifest()) return absl::InvalidArgumentError("fetching weights: the first message is no manifest");
  ASSIGN_OR_RETURN(const WeightManifest manifest, FromWire(message.manifest(), calibrated_heads_));
  RETURN_IF_ERROR(CheckManifest(manifest, want));
  if (manifest.shared.has_value()) {
    RETURN_IF_ERROR(CheckShared(manifest, want.machine, layout_));
    if (next()) return absl::InvalidArgumentError("fetching weights: shared weights are sent as well");
    if (relay_ != nullptr) relay_->Decline();
    return ReceivedWeights{
        .version = manifest.version, .flat = {}, .head_classes = manifest.head_classes, .shared = manifest.shared};
  }
  RETURN_IF_ERROR(incoming_.Begin(manifest));
  while (next()) {
    progress = MonotonicNow();
    if (!message.has_chunk()) return absl::InvalidArgumentError("fetching weights: a message is no chunk");
    RETURN_IF_ERROR(incoming_.Append(message.chunk().offset(), message.chunk().data()));
    if (want.parent != nullptr) bytes_from_relays_ += message.chunk().data().size();
  }
  return incoming_.Finish();
}

WeightReceiver::WeightReceiver(std::shared_ptr<grpc::Channel> channel, std::string run_id, std::string actor_id,
                               ParameterLayout layout, int calibrated_heads, WeightRelay* relay)
    : channel_(std::move(channel)),
      run_id_(std::move(run_id)),
      actor_id_(std::move(actor_id)),
      layout_(std::move(layout)),
      calibrated_heads_(calibrated_heads),
      relay_(relay),
      incoming_(&layout_, relay) {}

WeightReceiver::~WeightReceiver() = default;

absl::StatusOr<ReceivedWeights> WeightReceiver::Fetch(PolicyVersion at_least, absl::Duration timeout,
                                                      const std::string& machine) {
  return Run({.version = at_least, .machine = machine}, timeout);
}

absl::StatusOr<ReceivedWeights> WeightReceiver::FetchFrom(const WeightParent& parent, PolicyVersion version,
                                                          absl::Duration timeout) {
  return Run({.version = version, .machine = "", .parent = &parent}, timeout);
}

absl::StatusOr<ReceivedWeights> WeightReceiver::Run(const Want& want, absl::Duration timeout) {
  Call call;
  // A minute below the server's limit: the two clocks need not agree.
  call.context.set_deadline(absl::ToChronoTime(absl::Now() + std::min(timeout, absl::Minutes(kMaxFetchMinutes - 1))));
  if (want.parent != nullptr) call.silence = kRelaySilence;
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return absl::CancelledError("fetching weights: the receiver is closed");
    call_ = &call.context;
  }
  const auto unregister = absl::MakeCleanup([this] {
    absl::MutexLock lock(&mu_);
    call_ = nullptr;
  });
  if (relay_ != nullptr) relay_->Expect(want.version);
  wire::FetchWeightsRequest request;
  request.set_run_id(run_id_);
  request.set_actor_id(actor_id_);
  request.set_machine(want.machine);
  *request.mutable_at_least() = ToWire(want.version);
  if (const auto held = incoming_.held(); held.has_value()) *request.mutable_held() = ToWire(*held);
  request.set_offset(incoming_.received(want.version));
  absl::StatusOr<ReceivedWeights> weights = absl::DataLossError("fetching weights: the call did not begin");
  if (call.Begin(want.parent == nullptr ? channel_ : want.parent->channel, request)) weights = ReadAll(call, want);
  const grpc::Status ending = call.Finish();
  // When the stream ended by itself, its own status is the reason for what is missing. Otherwise the reason is ours,
  // and the call is cancelled, which would hide it.
  if (weights.ok()) return weights;
  if (call.silent) return absl::UnavailableError("fetching weights: nothing has come for too long");
  return call.ended && !ending.ok() ? ToAbsl(ending) : weights;
}

void WeightReceiver::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
  if (call_ != nullptr) call_->TryCancel();
}

}  // namespace tactus
