#include "learner/rollout/grpc_rollout_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rollout/grpc_channel.h"

namespace tactus {
namespace {

constexpr absl::Duration kStuckTimeout = absl::Seconds(10);

}  // namespace

RolloutStream::RolloutStream(RolloutStreamOwner& owner, grpc::CallbackServerContext* context, uint64_t id,
                             size_t max_group_bytes, uint32_t submit_credits)
    : owner_(owner), context_(context), id_(id), max_group_bytes_(max_group_bytes), credits_(submit_credits) {}

void RolloutStream::Begin() { StartRead(&in_); }

void RolloutStream::Send(wire::LearnerMessage message) {
  if (message.has_new_version() || message.has_leases_ended()) {
    const auto old =
        std::find_if(queue_.begin(), queue_.end(), [&](const auto& m) { return m.kind_case() == message.kind_case(); });
    if (old != queue_.end()) queue_.erase(old);
  }
  queue_.push_back(std::move(message));
  Advance();
}

void RolloutStream::SendSubmitReply(uint64_t sequence, const absl::Status& status) {
  ++credits_;
  wire::LearnerMessage message;
  wire::SubmitReply& reply = *message.mutable_submit_reply();
  reply.set_sequence(sequence);
  reply.set_code(static_cast<int32_t>(status.code()));
  reply.set_message(std::string(status.message()));
  Send(std::move(message));
}

void RolloutStream::Close(const absl::Status& status) {
  if (!closing_.has_value()) closing_ = status;
  Advance();
}

void RolloutStream::Abort() {
  queue_.clear();
  Close(absl::CancelledError("ended by the learner"));
  context_->TryCancel();
}

void RolloutStream::AbortIfStuck(absl::Duration now) {
  if (!closing_.has_value() && !actor_id_.empty()) return;
  if (!stuck_since_.has_value()) stuck_since_ = now;
  if (now - *stuck_since_ >= kStuckTimeout) Abort();
}

void RolloutStream::Advance() {
  if (writing_ || finished_) return;
  if (!queue_.empty()) {
    out_ = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    StartWrite(&out_);
  } else if (closing_.has_value()) {
    finished_ = true;
    Finish(ToGrpc(*closing_));
  }
}

void RolloutStream::OnReadDone(bool ok) {
  absl::MutexLock lock(&owner_.mu());
  if (!ok) {
    // A lost connection, or bytes that are no message: gRPC tells us only later, through IsCancelled.
    read_failed_ = !closing_.has_value();
    Close(absl::InvalidArgumentError("the stream ended, or held bytes that are no message of its kind"));
    return;
  }
  if (closing_.has_value()) return;
  const absl::Status status = Handle();
  if (!status.ok()) {
    owner_.OnViolation(*this, status);
    Close(status);
  }
  if (closing_.has_value()) return;  // by its owner, too
  StartRead(&in_);
}

void RolloutStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&owner_.mu());
  writing_ = false;
  if (!ok) {
    queue_.clear();
    Close(absl::CancelledError("the actor is gone"));
  }
  Advance();
}

void RolloutStream::OnCancel() {
  absl::MutexLock lock(&owner_.mu());
  queue_.clear();
  Close(absl::CancelledError("the actor is gone"));
}

void RolloutStream::OnDone() {
  {
    absl::MutexLock lock(&owner_.mu());
    if (read_failed_ && !context_->IsCancelled()) owner_.OnViolation(*this, *closing_);
    owner_.OnClosed(*this);
  }
  delete this;
}

absl::Status RolloutStream::Handle() {
  if (in_.has_hello()) {
    if (!actor_id_.empty()) return absl::InvalidArgumentError("a second hello on one stream");
    RETURN_IF_ERROR(owner_.OnHello(*this, in_.hello()));
    actor_id_ = in_.hello().actor_id();
    return absl::OkStatus();
  }
  if (actor_id_.empty()) return absl::InvalidArgumentError("the first message on a stream must be a hello");
  switch (in_.kind_case()) {
    case wire::ActorMessage::kLeaseRequest:
      return owner_.OnLeaseRequest(*this, in_.lease_request());
    case wire::ActorMessage::kSubmitChunk:
      return HandleChunk(*in_.mutable_submit_chunk());
    case wire::ActorMessage::kHeartbeat:
      owner_.OnHeartbeat(*this, in_.heartbeat());
      return absl::OkStatus();
    case wire::ActorMessage::kHello:  // handled above
    case wire::ActorMessage::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a message of unknown kind");
}

absl::Status RolloutStream::HandleChunk(wire::SubmitChunk& chunk) {
  if (next_chunk_ == 0) {
    if (chunk.sequence() <= last_sequence_) {
      return absl::InvalidArgumentError(
          absl::StrCat("submit_chunk.sequence is ", chunk.sequence(), "; expected more than ", last_sequence_));
    }
    if (credits_ == 0) return absl::InvalidArgumentError("a group was sent without a credit for it");
    --credits_;
    last_sequence_ = chunk.sequence();
  }
  if (chunk.sequence() != last_sequence_ || chunk.index() != next_chunk_) {
    return absl::InvalidArgumentError(absl::StrCat("submit_chunk is part ", chunk.index(), " of group ",
                                                   chunk.sequence(), "; expected part ", next_chunk_, " of group ",
                                                   last_sequence_));
  }
  if (chunk.data().empty() || chunk.data().size() > kMaxChunkBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("submit_chunk.data has ", chunk.data().size(), " bytes; expected 1 to ", kMaxChunkBytes));
  }
  group_bytes_ += chunk.data().size();
  if (group_bytes_ > max_group_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("group ", chunk.sequence(), " has more than ", max_group_bytes_,
                                                   " bytes, the most that is possible in this run"));
  }
  group_.push_back(std::move(*chunk.mutable_data()));
  ++next_chunk_;
  if (chunk.last()) {
    next_chunk_ = 0;
    group_bytes_ = 0;
    owner_.OnGroup(*this, chunk.sequence(), std::exchange(group_, {}));
  }
  return absl::OkStatus();
}

}  // namespace tactus
