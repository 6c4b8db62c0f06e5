#include "learner/checkpoint/checkpoint_uploader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/back_off.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"
#include "learner/checkpoint/checkpointer.h"

namespace tactus {
namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(2), kLongestPause = absl::Minutes(5);
constexpr absl::Duration kLastPause = absl::Seconds(10);  // once the run waits for it
constexpr absl::Duration kStopPoll = absl::Milliseconds(200);

absl::Status CheckMirror(RunMirror& mirror, const CheckpointUploader::Options& options) {
  ASSIGN_OR_RETURN(const std::optional<uint32_t> before, mirror.Incarnation());
  if (!before.has_value()) return absl::OkStatus();
  if (!options.resumed) {
    ASSIGN_OR_RETURN(const std::optional<uint64_t> newest, mirror.NewestStep());
    if (!newest.has_value()) return absl::OkStatus();  // of a run that ended before its first
    return absl::AlreadyExistsError(absl::StrCat("checkpoint.upload: ", mirror.uri(),
                                                 " already holds a run: expected a place of its own, or --resume ",
                                                 mirror.uri(), " to go on with it"));
  }
  ASSIGN_OR_RETURN(const uint32_t mine, ReadIncarnation(options.folder.checkpoints()));
  if (mine > *before) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("checkpoint.upload: ", mirror.uri(), " is at incarnation ", *before,
                                               " and ", options.folder.root, " at ", mine,
                                               ": the run has gone on elsewhere; expected --resume ", mirror.uri()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CheckpointUploader>> CheckpointUploader::Start(Options options, Tried tried) {
  ASSIGN_OR_RETURN(std::unique_ptr<RunMirror> mirror, RunMirror::Open(options.uri));
  RETURN_IF_ERROR(CheckMirror(*mirror, options));
  RETURN_IF_ERROR(mirror->Claim(options.folder));
  std::unique_ptr<CheckpointUploader> uploader(
      new CheckpointUploader(std::move(options), std::move(mirror), std::move(tried)));
  ASSIGN_OR_RETURN(uploader->thread_, StartThread("uploading checkpoints", [self = uploader.get()] { self->Work(); }));
  return uploader;
}

CheckpointUploader::CheckpointUploader(Options options, std::unique_ptr<RunMirror> mirror, Tried tried)
    : options_(std::move(options)), mirror_(std::move(mirror)), tried_(std::move(tried)) {}

CheckpointUploader::~CheckpointUploader() {
  {
    const absl::MutexLock lock(&mutex_);
    give_up_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void CheckpointUploader::Offer(uint64_t step) {
  const absl::MutexLock lock(&mutex_);
  wanted_ = std::max(wanted_.value_or(0), step);
  changed_.SignalAll();
}

std::optional<uint64_t> CheckpointUploader::Next() {
  const absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return give_up_ || wanted_.has_value(); };
  while (!ready()) changed_.WaitFor(&mutex_, absl::Minutes(1));
  return give_up_ ? std::nullopt : wanted_;
}

void CheckpointUploader::End(uint64_t step, const absl::Status& status) {
  const absl::MutexLock lock(&mutex_);
  // One that the disk's own rule has deleted has a newer one behind it.
  const bool gone = absl::IsNotFound(status) && wanted_ != step;
  failures_ = status.ok() || gone ? 0 : failures_ + 1;
  last_ = status;
  if (status.ok() && wanted_ == step) wanted_.reset();
  changed_.SignalAll();
}

void CheckpointUploader::Work() {
  BackOff pause(kFirstPause, kLongestPause, /*jitter=*/true);
  while (const std::optional<uint64_t> step = Next()) {
    const absl::Status status = mirror_->Upload(options_.folder, *step, options_.keep, give_up_);
    if (give_up_) return;
    tried_(status);
    End(*step, status);
    if (status.ok()) {
      pause.Reset();
      TACTUS_LOG(INFO) << "the checkpoint of step " << *step << " is in " << mirror_->uri();
      continue;
    }
    const absl::Duration wait = pause.Next();
    TACTUS_LOG(WARNING) << "the checkpoint of step " << *step << " is not uploaded: " << std::string(status.message());
    if (absl::IsAborted(status)) return;  // it is another learner's now
    const absl::MutexLock lock(&mutex_);
    const bool awaited = awaited_;
    changed_.AwaitFor(&mutex_, awaited ? std::min(wait, kLastPause) : wait,
                      [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return give_up_ || awaited_ != awaited; });
  }
}

absl::Status CheckpointUploader::Await(const std::atomic<bool>& stop) {
  const absl::MutexLock lock(&mutex_);
  awaited_ = true;
  failures_ = 0;
  changed_.SignalAll();
  while (wanted_.has_value()) {
    if (failures_ >= kLastTries || absl::IsAborted(last_)) return last_;
    if (stop) return absl::CancelledError("stopped before the newest checkpoint was uploaded");
    changed_.WaitFor(&mutex_, kStopPoll);
  }
  return absl::OkStatus();
}

}  // namespace tactus
