#include "common/weights/grpc_weight_receiver.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/weights/delta/delta_set.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "proto/weight_service.grpc.pb.h"

namespace tactus {

// The call's messages, remembering whether the stream ended by itself.
struct WeightReceiver::Stream {
  std::unique_ptr<grpc::ClientReader<wire::FetchWeightsResponse>> reader;
  bool ended = false;

  bool Next(wire::FetchWeightsResponse& message) {
    ended = !reader->Read(&message);
    return !ended;
  }

  // Calls take(offset, data) for each chunk up to the end of the stream, or an error.
  absl::Status ForEachChunk(absl::FunctionRef<absl::Status(uint64_t, absl::string_view)> take) {
    wire::FetchWeightsResponse message;
    while (Next(message)) {
      if (!message.has_chunk()) return absl::InvalidArgumentError("fetching weights: a message is no chunk");
      RETURN_IF_ERROR(take(message.chunk().offset(), message.chunk().data()));
    }
    return absl::OkStatus();
  }
};

namespace {

absl::Status ToAbsl(const grpc::Status& status) {
  // The two enumerations have the same values by design.
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("fetching weights: ", status.error_message()));
}

absl::Status CheckManifest(const WeightManifest& manifest, const std::string& run_id, PolicyVersion at_least) {
  if (manifest.run_id != run_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("fetching weights: they are of another run, not \"", run_id, "\""));
  }
  if (manifest.version < at_least) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: version ", VersionName(manifest.version),
                                                   " came; expected at least ", VersionName(at_least)));
  }
  return absl::OkStatus();
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

// The bytes of all deltas. InvalidArgument: more than the set itself.
absl::StatusOr<uint64_t> DeltaBytes(const WeightManifest& manifest) {
  uint64_t total = 0;
  for (const uint64_t bytes : manifest.delta->bytes) {
    if (bytes > manifest.total_bytes - total) {
      return absl::InvalidArgumentError(absl::StrCat("fetching weights: deltas are announced that are larger than the ",
                                                     manifest.total_bytes, " bytes of the weights"));
    }
    total += bytes;
  }
  return total;
}

absl::string_view Bytes(const std::vector<uint16_t>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(numbers[0])};
}

}  // namespace

absl::StatusOr<ReceivedWeights> WeightReceiver::ReadAll(Stream& stream, const std::string& machine,
                                                        PolicyVersion at_least) {
  wire::FetchWeightsResponse message;
  if (!stream.Next(message)) return absl::DataLossError("fetching weights: the stream ended before a manifest came");
  if (!message.has_manifest()) return absl::InvalidArgumentError("fetching weights: the first message is no manifest");
  ASSIGN_OR_RETURN(const WeightManifest manifest, FromWire(message.manifest(), calibrated_heads_));
  RETURN_IF_ERROR(CheckManifest(manifest, run_id_, at_least));
  if (manifest.delta.has_value()) return ReadDelta(stream, manifest);
  if (!manifest.shared.has_value()) return ReadSet(stream, manifest);
  RETURN_IF_ERROR(CheckShared(manifest, machine, layout_));
  if (stream.Next(message)) return absl::InvalidArgumentError("fetching weights: shared weights are sent as well");
  return ReceivedWeights{
      .version = manifest.version, .flat = {}, .head_classes = manifest.head_classes, .shared = manifest.shared};
}

absl::StatusOr<ReceivedWeights> WeightReceiver::ReadSet(Stream& stream, const WeightManifest& manifest) {
  ASSIGN_OR_RETURN(WeightAssembler assembler, WeightAssembler::Start(manifest, layout_));
  held_.reset();  // its memory is for the new one
  Held fresh{.version = manifest.version, .numbers = {}};
  const bool keep = manifest.dtype == StorageDType::kBFloat16;
  if (keep) fresh.numbers.resize(manifest.total_bytes / sizeof(uint16_t));
  const auto take = [&](uint64_t offset, absl::string_view data) {
    const absl::Status status = assembler.Append(offset, data);
    if (status.ok() && keep) {
      std::memcpy(reinterpret_cast<char*>(fresh.numbers.data()) + offset, data.data(), data.size());
    }
    return status;
  };
  RETURN_IF_ERROR(stream.ForEachChunk(take));
  absl::StatusOr<ReceivedWeights> weights = assembler.Finish();
  if (weights.ok() && keep) held_ = std::move(fresh);
  return weights;
}

absl::StatusOr<ReceivedWeights> WeightReceiver::ReadDelta(Stream& stream, const WeightManifest& manifest) {
  if (!held_.has_value() || held_->version != manifest.delta->base) {
    return absl::InvalidArgumentError(absl::StrCat("fetching weights: changes since version ",
                                                   VersionName(manifest.delta->base),
                                                   " came, which were not asked for"));
  }
  ASSIGN_OR_RETURN(WeightAssembler assembler, WeightAssembler::Start(manifest, layout_));
  ASSIGN_OR_RETURN(const uint64_t expected, DeltaBytes(manifest));
  std::string deltas;
  const auto take = [&](uint64_t offset, absl::string_view data) -> absl::Status {
    if (offset != deltas.size() || data.size() > expected - deltas.size()) {
      return absl::InvalidArgumentError(absl::StrCat("fetching weights: ", data.size(), " bytes of changes at ", offset,
                                                     "; expected those from ", deltas.size(), " up to ", expected));
    }
    absl::StrAppend(&deltas, data);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(stream.ForEachChunk(take));
  if (deltas.size() != expected) {
    return absl::DataLossError(absl::StrCat("fetching weights: ", deltas.size(), " of ", expected,
                                            " bytes of changes arrived before the stream ended"));
  }
  // From here on the old set is no more: what does not work out ends in fetching all.
  Held fresh{.version = manifest.version, .numbers = std::move(held_->numbers)};
  held_.reset();
  absl::string_view left = deltas;
  for (const uint64_t bytes : manifest.delta->bytes) {
    const absl::Status applied = ApplyDelta(left.substr(0, bytes), fresh.numbers);
    if (!applied.ok()) return absl::DataLossError(absl::StrCat("fetching weights: ", applied.message()));
    left.remove_prefix(bytes);
  }
  const absl::string_view all = Bytes(fresh.numbers);
  for (uint64_t at = 0; at < all.size(); at += kMaxWeightChunkBytes) {
    RETURN_IF_ERROR(assembler.Append(at, all.substr(at, kMaxWeightChunkBytes)));
  }
  ASSIGN_OR_RETURN(ReceivedWeights weights, assembler.Finish());
  weights.wire_bytes = expected;
  held_ = std::move(fresh);
  return weights;
}

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
  if (held_.has_value()) *request.mutable_held() = ToWire(held_->version);
  const std::unique_ptr<wire::WeightService::Stub> stub = wire::WeightService::NewStub(channel_);
  Stream stream{stub->Fetch(&context, request)};
  absl::StatusOr<ReceivedWeights> weights = ReadAll(stream, machine, at_least);
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
