#include "common/collective/group_collective.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

using Kind = CommRequest::Kind;

template <typename T>
std::span<char> Bytes(std::span<T> values) {
  return {reinterpret_cast<char*>(values.data()), values.size_bytes()};
}

}  // namespace

GroupCollective::GroupCollective(const CollectiveOptions& options, std::unique_ptr<CommBackend> backend,
                                 std::unique_ptr<RankWatch> watch)
    : options_(options),
      backend_(std::move(backend)),
      limits_(backend_->limits()),
      state_(std::make_shared<State>()),
      watch_(std::move(watch)) {
  watch_->OnTrouble([this] { Break(Cause::kOtherRank); });
}

GroupCollective::~GroupCollective() {
  if (!pending_.empty()) Abort();  // their memory is the caller's, who no longer waits
  absl::ReleasableMutexLock lock(&state_->mutex);
  const bool broken = state_->broken != Cause::kNone;
  lock.Release();
  if (broken) EndBackend();
}

absl::Status GroupCollective::StartAllReduceSum(std::span<float> values) {
  return StartInPieces("AllReduceSum", {.kind = Kind::kSumFloats, .values = Bytes(values)}, sizeof(float));
}

absl::Status GroupCollective::AllReduceSum(std::span<double> values) {
  RETURN_IF_ERROR(StartInPieces("AllReduceSum", {.kind = Kind::kSumDoubles, .values = Bytes(values)}, sizeof(double)));
  return Wait();
}

absl::Status GroupCollective::Broadcast(std::span<char> bytes, int root) {
  if (root < 0 || root >= size())
    return absl::InvalidArgumentError(absl::StrCat("Broadcast: root ", root, " is not in a group of ", size(), "."));
  RETURN_IF_ERROR(StartInPieces("Broadcast", {.kind = Kind::kBroadcastBytes, .values = bytes, .root = root}, 1));
  return Wait();
}

absl::Status GroupCollective::StartReduceScatterSum(std::span<float> values) {
  return StartSliced("ReduceScatterSum", {.kind = Kind::kReduceScatterFloats, .values = Bytes(values)}, sizeof(float));
}

absl::Status GroupCollective::StartAllGather(std::span<char> values, size_t element_bytes) {
  return StartSliced("AllGather", {.kind = Kind::kGather, .values = values}, element_bytes);
}

absl::Status GroupCollective::Barrier() {
  RETURN_IF_ERROR(EnqueueToken("Barrier"));
  return Wait();
}

// Also an empty operation waits for all ranks.
absl::Status GroupCollective::EnqueueToken(const char* name) {
  token_ = 0;
  return Enqueue(name, {.kind = Kind::kSumFloats, .values = Bytes(std::span<float>(&token_, 1))});
}

absl::Status GroupCollective::StartSliced(const char* name, CommRequest request, size_t element_bytes) {
  if (request.values.empty()) return EnqueueToken(name);
  request.slice_bytes = SliceOf(request.values.size() / element_bytes, size(), 0).size() * element_bytes;
  return Enqueue(name, request);
}

absl::Status GroupCollective::StartInPieces(const char* name, CommRequest request, size_t element_bytes) {
  if (request.values.empty()) return EnqueueToken(name);
  const std::span<char> whole = request.values;
  const size_t largest = limits_.piece_bytes / element_bytes * element_bytes;
  for (size_t begin = 0; begin < whole.size(); begin += largest) {
    request.values = whole.subspan(begin, std::min(largest, whole.size() - begin));
    RETURN_IF_ERROR(Enqueue(name, request));
  }
  return absl::OkStatus();
}

absl::Status GroupCollective::Enqueue(const char* name, const CommRequest& request) {
  RETURN_IF_ERROR(CheckUsable(name));
  while (pending_.size() >= limits_.max_in_flight) RETURN_IF_ERROR(FinishOldest());
  ++sequence_;
  Pending next = {name, sequence_, absl::StrCat(name, " ", sequence_, " of ", request.values.size(), " bytes"),
                  nullptr};
  watch_->Arrived(next.sequence, next.what);
  auto operation = backend_->Start(request, [state = state_] {
    absl::MutexLock lock(&state->mutex);
    state->woken = true;
    state->changed.SignalAll();
  });
  if (!operation.ok()) return Fail(next, operation.status());
  next.operation = *std::move(operation);
  pending_.push_back(std::move(next));
  return absl::OkStatus();
}

absl::Status GroupCollective::Wait() {
  while (!pending_.empty()) RETURN_IF_ERROR(FinishOldest());
  return CheckUsable("Wait");
}

absl::Status GroupCollective::FinishOldest() {
  const Pending& oldest = pending_.front();
  switch (Await(*oldest.operation)) {
    case Outcome::kDone: {
      const absl::Status collected = oldest.operation->Collect();
      if (!collected.ok()) return Fail(oldest, collected);
      pending_.pop_front();
      return absl::OkStatus();
    }
    case Outcome::kTimedOut:
      return Fail(oldest, absl::DeadlineExceededError(
                              absl::StrCat("timed out after ", absl::FormatDuration(options_.timeout))));
    case Outcome::kAborted:
      break;
  }
  return Fail(oldest, absl::AbortedError("aborted"));
}

GroupCollective::Outcome GroupCollective::Await(CommOperation& operation) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const auto roused = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
    return state_->woken || state_->broken != Cause::kNone;
  };
  while (true) {
    {
      absl::MutexLock lock(&state_->mutex);
      if (state_->broken != Cause::kNone) return Outcome::kAborted;
      state_->woken = false;
    }
    if (operation.Done()) return Outcome::kDone;
    const absl::Duration left = options_.timeout - absl::FromChrono(Clock::now() - start);
    if (left <= absl::ZeroDuration()) return Outcome::kTimedOut;
    absl::MutexLock lock(&state_->mutex);
    state_->changed.AwaitFor(&state_->mutex, std::min(left, limits_.poll_interval), roused);
  }
}

bool GroupCollective::Break(Cause cause) {
  absl::MutexLock lock(&state_->mutex);
  if (state_->broken != Cause::kNone) return false;
  state_->broken = cause;
  state_->changed.SignalAll();
  return true;
}

void GroupCollective::EndBackend() {
  {
    absl::MutexLock lock(&state_->mutex);
    if (std::exchange(state_->backend_ending, true)) {
      const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) { return state_->backend_ended; };
      state_->changed.AwaitFor(&state_->mutex, options_.timeout, ended);
      return;
    }
  }
  backend_->Abort();
  absl::MutexLock lock(&state_->mutex);
  state_->backend_ended = true;
  state_->changed.SignalAll();
}

void GroupCollective::Abort() {
  const bool first = Break(Cause::kOwner);
  EndBackend();
  if (first) watch_->Aborted();
}

// The other ranks, which wait for us, learn of it by the backend's end or by the board.
absl::Status GroupCollective::Fail(const Pending& failed, const absl::Status& error) {
  const std::string where = absl::StrCat(failed.name, " on rank ", rank(), " of ", size(), ": ");
  const int64_t sequence = failed.sequence;
  const std::string what = failed.what;
  Break(Cause::kError);
  EndBackend();
  pending_.clear();  // `failed` among them
  Cause cause = Cause::kNone;
  {
    absl::MutexLock lock(&state_->mutex);
    cause = state_->broken;
  }
  if (std::exchange(told_, true) || cause == Cause::kOwner)
    return absl::AbortedError(absl::StrCat(where, "the group was aborted or had failed before."));
  watch_->Failed();
  const bool ours = cause == Cause::kError;
  return absl::Status(ours ? error.code() : absl::StatusCode::kUnavailable,
                      absl::StrCat(where, ours ? error.message() : "another rank has given up", "; ",
                                   watch_->WhoIsMissing(sequence, what), "."));
}

absl::Status GroupCollective::CheckUsable(const char* name) {
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->broken == Cause::kNone) return absl::OkStatus();
  }
  return Fail({name, sequence_, "", nullptr}, absl::AbortedError("aborted"));
}

}  // namespace tactus
