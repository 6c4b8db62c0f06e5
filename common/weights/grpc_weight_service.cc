#include "common/weights/grpc_weight_service.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/data/codec.h"
#include "common/weights/weight_assembler.h"
#include "common/weights/weight_codec.h"
#include "proto/weight_service.grpc.pb.h"

namespace tactus {
namespace {

using Reactor = grpc::ServerWriteReactor<wire::FetchWeightsResponse>;

// One fetch: the manifest, then chunk after chunk unless `share`, one write in flight. Deletes itself in OnDone. Finish
// is called from OnWriteDone alone, so never twice; a cancelled call ends through a failed write.
class FetchStream : public Reactor {
 public:
  FetchStream(WeightOffer offer, std::atomic<int>* streams, std::atomic<uint64_t>* bytes_sent, bool share)
      : offer_(std::move(offer)), streams_(streams), bytes_sent_(bytes_sent) {
    WeightManifest manifest = offer_.snapshot->manifest;
    if (!share) {
      manifest.shared.reset();
      ListPieces(manifest);
    }
    *message_.mutable_manifest() = ToWire(manifest);
    StartWrite(&message_);
  }

  void OnWriteDone(bool ok) override {
    if (ok && bytes_sent_ != nullptr) *bytes_sent_ += message_.chunk().data().size();  // none in the manifest's message
    if (!ok) {
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the reader went away"));
    } else if (pieces_.empty()) {
      Finish(grpc::Status::OK);
    } else {
      const absl::string_view data = pieces_.front().substr(0, kMaxWeightChunkBytes);
      wire::WeightChunk& chunk = *message_.mutable_chunk();
      chunk.set_offset(sent_);
      chunk.set_data(data.data(), data.size());
      sent_ += data.size();
      pieces_.front().remove_prefix(data.size());
      if (pieces_.front().empty()) pieces_.pop_front();
      StartWrite(&message_);
    }
  }

  void OnDone() override {
    --*streams_;
    delete this;
  }

 private:
  // What the chunks hold; says in the manifest what that is.
  void ListPieces(WeightManifest& manifest) {
    if (offer_.deltas.empty()) {
      pieces_.emplace_back(offer_.snapshot->bytes->data(), offer_.snapshot->bytes->size());
      return;
    }
    manifest.delta.emplace().base = offer_.deltas.front()->from;
    for (const std::shared_ptr<const WeightDelta>& delta : offer_.deltas) {
      manifest.delta->bytes.push_back(delta->bytes.size());
      pieces_.push_back(delta->bytes);
    }
  }

  const WeightOffer offer_;
  std::atomic<int>* const streams_;
  std::atomic<uint64_t>* const bytes_sent_;
  wire::FetchWeightsResponse message_;
  std::deque<absl::string_view> pieces_;  // of `offer_`, still to send: none where the actor copies the weights itself
  size_t sent_ = 0;
};

// Refuses a call.
class Refusal : public Reactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

class WeightServiceImpl final : public wire::WeightService::CallbackService {
 public:
  WeightServiceImpl(const WeightPublisher* publisher, std::atomic<uint64_t>* bytes_sent)
      : publisher_(publisher), bytes_sent_(bytes_sent) {}

  Reactor* Fetch(grpc::CallbackServerContext* context, const wire::FetchWeightsRequest* request) override {
    WeightOffer offer =
        publisher_->OfferTo(request->has_held() ? std::optional(FromWire(request->held())) : std::nullopt);
    const grpc::Status refusal = Check(*context, *request, offer.snapshot.get());
    if (!refusal.ok()) return new Refusal(refusal);
    if (++streams_ > kMaxWeightStreams) {
      --streams_;
      return new Refusal(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                      absl::StrCat("more than ", kMaxWeightStreams, " fetches are under way")));
    }
    const std::optional<SharedWeights>& shared = offer.snapshot->manifest.shared;
    const bool share = shared.has_value() && !request->machine().empty() && request->machine() == shared->machine;
    return new FetchStream(std::move(offer), &streams_, bytes_sent_, share);
  }

 private:
  grpc::Status Check(const grpc::CallbackServerContext& context, const wire::FetchWeightsRequest& request,
                     const WeightSnapshot* snapshot) const {
    if (request.run_id() != publisher_->run_id()) {
      TACTUS_LOG(WARNING) << "refused weights to an actor of another run at " << context.peer();
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                          absl::StrCat("this learner serves run \"", publisher_->run_id(), "\", not the actor's run"));
    }
    if (context.deadline() > std::chrono::system_clock::now() + std::chrono::minutes(kMaxFetchMinutes)) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                          absl::StrCat("the call needs a deadline of at most ", kMaxFetchMinutes, " minutes"));
    }
    if (snapshot == nullptr) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "no weights are published yet");
    if (snapshot->manifest.version < FromWire(request.at_least())) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE,
                          absl::StrCat("the newest weights are of version ", VersionName(snapshot->manifest.version),
                                       ", older than ", VersionName(FromWire(request.at_least()))));
    }
    return grpc::Status::OK;
  }

  const WeightPublisher* const publisher_;
  std::atomic<uint64_t>* const bytes_sent_;
  std::atomic<int> streams_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeWeightService(const WeightPublisher* publisher, std::atomic<uint64_t>* bytes_sent) {
  return std::make_unique<WeightServiceImpl>(publisher, bytes_sent);
}

}  // namespace tactus
