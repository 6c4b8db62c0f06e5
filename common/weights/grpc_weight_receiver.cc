#include "common/weights/grpc_weight_receiver.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "proto/weight_service.grpc.pb.h"

namespace tactus {
namespace {

// The call's messages, remembering whether the stream ended by itself.
struct Stream {
  std::unique_ptr<grpc::ClientReader<wire::FetchWeightsResponse>> reader;
  bool ended = false;

  bool Next(wire::FetchWeightsResponse& message) {
    ended = !reader->Read(&message);
    return !ended;
  }
};

absl::Status ToAbsl(const grpc::Status& status) {
  // The two enumerations have the same values by design.
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("fetching weights: ", status.error_message()));
}

absl::StatusOr<WeightManifest> ReadManifest(Stream& stream, const std::string& run_id, PolicyVersion at_least,
                                            int calibrated_heads) {
  wire::FetchWeightsResponse message;
  if (!stream.Next(message)) return absl::DataLossError("fetching weights: the stream ended before a manifest came");
  if (!message.has_manifest()) return absl::InvalidArgumentError("fetching weights: the first message is no manifest");
  ASSIGN_OR_RETURN(WeightManifest manifest, FromWire(message.manifest(), calibrated_heads));
  if (manifest.run_id != run_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("fetching weights: they are of another run, not \"", run_id, "\""));
  }
  if (manifest.version < at_least) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: version ", VersionName(manifest.version),
                                                   " came; expected at least ", VersionName(at_least)));
  }
  return manifest;
}

// The manifest stands for the weights: they are copied from where it says.
absl::StatusOr<ReceivedWeights> TakeShared(Stream& stream, const WeightManifest& manifest, const std::string& machine,
                                           const ParameterLayout& layout) {
  RETURN_IF_ERROR(WeightAssembler::Check(manifest, layout));
  if (machine.empty() || manifest.shared->machine != machine) {
    return absl::InvalidArgumentError("fetching weights: they are said to be in the memory of another machine");
  }
  if (manifest.shared->elements != static_cast<uint64_t>(layout.total_numel)) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: ", manifest.shared->elements,
                                                   " shared numbers; expected this model's ", layout.total_numel));
  }
  wire::FetchWeightsResponse message;
  if (stream.Next(message)) return absl::InvalidArgumentError("fetching weights: shared weights are sent as well");
  return ReceivedWeights{
      .version = manifest.version, .flat = {}, .head_classes = manifest.head_classes, .shared = manifest.shared};
}

absl::StatusOr<ReceivedWeights> ReadAll(Stream& stream, const std::string& run_id, const std::string& machine,
                                        PolicyVersion at_least, const ParameterLayout& layout, int calibrated_heads) {
  ASSIGN_OR_RETURN(const WeightManifest manifest, ReadManifest(stream, run_id, at_least, calibrated_heads));
  if (manifest.shared.has_value()) return TakeShared(stream, manifest, machine, layout);
  ASSIGN_OR_RETURN(WeightAssembler assembler, WeightAssembler::Start(manifest, layout));
  wire::FetchWeightsResponse message;
  while (stream.Next(message)) {
    if (!message.has_chunk()) return absl::InvalidArgumentError("fetching weights: a message is no chunk");
    RETURN_IF_ERROR(assembler.Append(message.chunk().offset(), message.chunk().data()));
  }
  return assembler.Finish();
}

}  // namespace

WeightReceiver::WeightReceiver(std::shared_ptr<grpc::Channel> channel, std::string run_id, std::string actor_id,
                               ParameterLayout layout, int calibrated_heads)
    : channel_(std::move(channel)),
      run_id_(std::move(run_id)),
      actor_id_(std::move(actor_id)),
      layout_(std::move(layout)),
      calibrated_heads_(calibrated_heads) {}

WeightReceiver::~WeightReceiver() = default;

absl::StatusOr<ReceivedWeights> WeightReceiver::Fetch(PolicyVersion at_least, absl::Duration timeout,
                                                      const std::string& machine) {
  grpc::ClientContext context;
  // A minute below the server's limit: the two clocks need not agree.
  context.set_deadline(absl::ToChronoTime(absl::Now() + std::min(timeout, absl::Minutes(kMaxFetchMinutes - 1))));
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return absl::CancelledError("fetching weights: the receiver is closed");
    call_ = &context;
  }
  const auto unregister = absl::MakeCleanup([this] {
    absl::MutexLock lock(&mu_);
    call_ = nullptr;
  });
  wire::FetchWeightsRequest request;
  request.set_run_id(run_id_);
  request.set_actor_id(actor_id_);
  request.set_machine(machine);
  *request.mutable_at_least() = ToWire(at_least);
  const std::unique_ptr<wire::WeightService::Stub> stub = wire::WeightService::NewStub(channel_);
  Stream stream{stub->Fetch(&context, request)};
  absl::StatusOr<ReceivedWeights> weights = ReadAll(stream, run_id_, machine, at_least, layout_, calibrated_heads_);
  // When the stream ended by itself, its own status is the reason for what is missing. Otherwise the reason is ours,
  // and the call is cancelled, which would hide it.
  if (!stream.ended) context.TryCancel();
  const grpc::Status ending = stream.reader->Finish();
  return stream.ended && !ending.ok() ? ToAbsl(ending) : weights;
}

void WeightReceiver::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
  if (call_ != nullptr) call_->TryCancel();
}

}  // namespace tactus
