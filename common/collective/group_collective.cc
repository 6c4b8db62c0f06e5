#include "common/collective/group_collective.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/collective/bounded_call.h"

namespace tactus {
namespace {

using Kind = CommRequest::Kind;

template <typename T>
std::span<char> Bytes(std::span<T> values) {
  return {reinterpret_cast<char*>(values.data()), values.size_bytes()};
}

}  // namespace

GroupCollective::GroupCollective(const CollectiveOptions& options, std::shared_ptr<CommBackend> backend,
                                 std::unique_ptr<RankWatch> watch, const GroupPatience& patience)
    : options_(options),
      backend_(std::move(backend)),
      limits_(backend_->limits()),
      patience_(patience),
      state_(std::make_shared<State>()),
      hang_watch_(HangWatchOptions()),
      watch_(std::move(watch)) {
  watch_->OnTrouble([this] {
    Break(Cause::kOtherRank);
    hang_watch_.Hurry();
  });
}

HangWatch::Options GroupCollective::HangWatchOptions() {
  HangWatch::Options options;
  options.who = absl::StrCat("Rank ", rank(), " of ", size());
  options.limit = options_.timeout;
  options.grace = patience_.abort;
  options.overdue = options_.on_overdue;
  options.abort = [this] {
    Break(Cause::kHang);
    EndBackend();
  };
  options.end_process = patience_.end_process;
  return options;
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
  absl::StatusOr<std::unique_ptr<CommOperation>> operation = absl::InternalError("not started");
  {
    const HangWatch::Call call(hang_watch_, absl::StrCat("starting ", next.what));
    operation = backend_->Start(request, [state = state_] {
      absl::MutexLock lock(&state->mutex);
      state->woken = true;
      state->changed.SignalAll();
    });
  }
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
  absl::Status status = Await(*oldest.operation);
  if (status.ok()) {
    const HangWatch::Call call(hang_watch_, absl::StrCat("collecting ", oldest.what));
    status = oldest.operation->Collect();
  }
  if (!status.ok()) return Fail(oldest, status);
  pending_.pop_front();
  return absl::OkStatus();
}

absl::Status GroupCollective::TimedOut() const {
  return absl::DeadlineExceededError(absl::StrCat("timed out after ", absl::FormatDuration(options_.timeout)));
}

absl::Status GroupCollective::Await(CommOperation& operation) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const auto roused = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
    return state_->woken || state_->broken != Cause::kNone;
  };
  while (true) {
    {
      absl::MutexLock lock(&state_->mutex);
      if (state_->broken != Cause::kNone) return absl::AbortedError("aborted");
      state_->woken = false;
    }
    ASSIGN_OR_RETURN(const bool done, operation.Done());
    if (done) return absl::OkStatus();
    const absl::Duration left = options_.timeout - absl::FromChrono(Clock::now() - start);
    if (left <= absl::ZeroDuration()) return TimedOut();
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
      state_->changed.AwaitFor(&state_->mutex, patience_.abort, ended);
      return;
    }
  }
  const std::function<bool()> abort = [backend = backend_] {
    backend->Abort();
    return true;
  };
  if (!CallBounded(patience_.abort, abort).has_value()) {
    patience_.end_process(absl::StrCat("Rank ", rank(), " of ", size(), ": the communicator was not aborted within ",
                                       absl::FormatDuration(patience_.abort),
                                       ", and may still use memory: the process ends."));
  }
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
  absl::Status why = error;
  if (cause == Cause::kHang) why = TimedOut();
  if (cause == Cause::kOtherRank) why = absl::UnavailableError("another rank has given up");
  return absl::Status(why.code(), absl::StrCat(where, why.message(), "; ", watch_->WhoIsMissing(sequence, what), "."));
}

absl::Status GroupCollective::CheckUsable(const char* name) {
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->broken == Cause::kNone) return absl::OkStatus();
  }
  return Fail({name, sequence_, "", nullptr}, absl::AbortedError("aborted"));
}

}  // namespace tactus
