#include "common/weights/grpc_weight_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/data/codec.h"
#include "common/weights/weight_assembler.h"
#include "common/weights/weight_codec.h"
#include "proto/weight_service.grpc.pb.h"

namespace tactus {
namespace {

using Reactor = grpc::ServerWriteReactor<wire::FetchWeightsResponse>;

// A reader that waits hears from us so often.
constexpr absl::Duration kSignOfLife = absl::Seconds(1);

grpc::Status ToGrpc(const absl::Status& status) {
  // The two enumerations have the same values by design.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

class WeightServiceImpl;

// One fetch: the manifest, then chunk after chunk as far as they are there, one write in flight. Deletes itself in
// OnDone. A cancelled call ends through a failed write, which one that waits tries every second.
class FetchStream : public Reactor {
 public:
  FetchStream(WeightServiceImpl& service, const wire::FetchWeightsRequest& request)
      : service_(service), machine_(request.machine()), offset_(request.offset()) {
    wish_.at_least = FromWire(request.at_least());
    if (request.has_held()) wish_.held = FromWire(request.held());
    wish_.since = last_write_ = MonotonicNow();
  }

  // Goes on if there is something to send, or to say.
  void Pump() ABSL_LOCKS_EXCLUDED(mu_);
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone() override;

 private:
  void Begin(WeightFeed feed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendNextChunk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ShowLife() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  WeightServiceImpl& service_;
  const std::string machine_;
  WeightWish wish_;

  absl::Mutex mu_;
  wire::FetchWeightsResponse message_;                   // gRPC's while a write is under way
  std::optional<WeightFeed> feed_ ABSL_GUARDED_BY(mu_);  // once it is known
  uint64_t offset_ ABSL_GUARDED_BY(mu_);                 // of what is sent next, in all pieces; before: as asked for
  size_t piece_ ABSL_GUARDED_BY(mu_) = 0;                // the one it is in, or at the end of
  uint64_t in_piece_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time last_write_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

// Refuses a call.
class Refusal : public Reactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

class WeightServiceImpl final : public wire::WeightService::CallbackService {
 public:
  WeightServiceImpl(WeightSupply* supply, std::atomic<uint64_t>* bytes_sent, int max_streams)
      : supply_(*supply), bytes_sent_(bytes_sent), max_streams_(static_cast<size_t>(max_streams)) {
    supply_.Watch([this] {
      absl::MutexLock lock(&mu_);
      for (FetchStream* stream : streams_) stream->Pump();
    });
  }
  ~WeightServiceImpl() override { supply_.Watch(nullptr); }

  Reactor* Fetch(grpc::CallbackServerContext* context, const wire::FetchWeightsRequest* request) override {
    if (const grpc::Status refusal = Check(*context, *request); !refusal.ok()) return new Refusal(refusal);
    FetchStream* stream = nullptr;
    {
      absl::MutexLock lock(&mu_);
      if (streams_.size() >= max_streams_) {
        return new Refusal(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                        absl::StrCat("more than ", max_streams_, " fetches are under way")));
      }
      stream = new FetchStream(*this, *request);
      streams_.insert(stream);
    }
    stream->Pump();
    return stream;
  }

  const WeightSupply& supply() const { return supply_; }
  void CountSent(uint64_t bytes) {
    if (bytes_sent_ != nullptr) *bytes_sent_ += bytes;
  }
  void Forget(FetchStream* stream) {
    absl::MutexLock lock(&mu_);
    streams_.erase(stream);
  }

 private:
  grpc::Status Check(const grpc::CallbackServerContext& context, const wire::FetchWeightsRequest& request) const {
    if (request.run_id() != supply_.run_id()) {
      TACTUS_LOG(WARNING) << "refused weights to an actor of another run at " << context.peer();
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                          absl::StrCat("here is run \"", supply_.run_id(), "\", not the actor's run"));
    }
    if (context.deadline() > std::chrono::system_clock::now() + std::chrono::minutes(kMaxFetchMinutes)) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                          absl::StrCat("the call needs a deadline of at most ", kMaxFetchMinutes, " minutes"));
    }
    return grpc::Status::OK;
  }

  WeightSupply& supply_;
  std::atomic<uint64_t>* const bytes_sent_;
  const size_t max_streams_;
  absl::Mutex mu_;  // before a stream's
  std::set<FetchStream*> streams_ ABSL_GUARDED_BY(mu_);
};

void FetchStream::Pump() {
  absl::MutexLock lock(&mu_);
  if (writing_ || ended_) return;
  if (feed_.has_value()) return SendNextChunk();
  absl::StatusOr<std::optional<WeightFeed>> feed = service_.supply().FeedFor(wish_);
  if (!feed.ok()) return End(ToGrpc(feed.status()));
  if (!feed->has_value()) return ShowLife();
  Begin(*std::move(*feed));
}

void FetchStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    if (ok) service_.CountSent(message_.chunk().data().size());  // none in the manifest's message
    if (!ok) End(grpc::Status(grpc::StatusCode::CANCELLED, "the reader went away"));
  }
  Pump();
}

void FetchStream::OnDone() {
  service_.Forget(this);
  delete this;
}

void FetchStream::Begin(WeightFeed feed) {
  WeightManifest& manifest = feed.manifest;
  if (manifest.shared.has_value() && !machine_.empty() && machine_ == manifest.shared->machine) {
    manifest.delta.reset();  // the actor copies the weights itself
    feed.pieces.clear();
  } else {
    manifest.shared.reset();
  }
  uint64_t total = 0;
  for (const WeightFeed::Piece& piece : feed.pieces) total += piece.bytes.size();
  // Of the same kind, since a reader with a part of the set itself holds no other.
  const bool goes_on = manifest.version == wish_.at_least && manifest.delta.has_value() == wish_.held.has_value();
  if (!goes_on) offset_ = 0;
  if (offset_ > total) {
    return End(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                            absl::StrCat("offset is ", offset_, "; there are ", total, " bytes")));
  }
  for (in_piece_ = offset_; piece_ < feed.pieces.size() && in_piece_ > feed.pieces[piece_].bytes.size(); ++piece_) {
    in_piece_ -= feed.pieces[piece_].bytes.size();
  }
  *message_.mutable_manifest() = ToWire(manifest);
  feed_ = std::move(feed);
  Write();
}

void FetchStream::SendNextChunk() {
  const std::vector<WeightFeed::Piece>& pieces = feed_->pieces;
  for (; piece_ < pieces.size() && in_piece_ == pieces[piece_].bytes.size(); ++piece_) in_piece_ = 0;
  if (piece_ == pieces.size()) return End(grpc::Status::OK);
  const WeightFeed::Piece& piece = pieces[piece_];
  if (piece.arrival != nullptr && piece.arrival->withdrawn()) {
    return End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "these weights are passed on no further"));
  }
  const uint64_t there = piece.arrival == nullptr ? piece.bytes.size() : piece.arrival->bytes();
  if (there <= in_piece_) return ShowLife();
  const absl::string_view data =
      piece.bytes.substr(in_piece_, std::min<uint64_t>(there - in_piece_, kMaxWeightChunkBytes));
  wire::WeightChunk& chunk = *message_.mutable_chunk();
  chunk.set_offset(offset_);
  chunk.set_data(data.data(), data.size());
  offset_ += data.size();
  in_piece_ += data.size();
  Write();
}

void FetchStream::ShowLife() {
  if (MonotonicNow() - last_write_ < kSignOfLife) return;
  message_.Clear();
  Write();
}

void FetchStream::Write() {
  writing_ = true;
  last_write_ = MonotonicNow();
  StartWrite(&message_);
}

void FetchStream::End(const grpc::Status& status) {
  ended_ = true;  // a second Finish would abort the process
  Finish(status);
}

}  // namespace

std::unique_ptr<grpc::Service> MakeWeightService(WeightSupply* supply, std::atomic<uint64_t>* bytes_sent,
                                                 int max_streams) {
  return std::make_unique<WeightServiceImpl>(supply, bytes_sent, max_streams);
}

}  // namespace tactus
