// Keeps a run's mirror (run_mirror.h) up to date beside the training, which never waits for it: one thread, and only
// the newest checkpoint is worth its time. A store that fails is asked again, after pauses of up to five minutes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/cond_var.h"
#include "common/metrics/run_folder.h"
#include "learner/checkpoint/run_mirror.h"

namespace tactus {

// Thread-safe but for the destructor.
class CheckpointUploader {
 public:
  struct Options {
    RunFolder folder;
    std::string uri;
    int keep = 3;          // newest ones in the mirror, at least 1
    bool resumed = false;  // whether the folder's run may go on in a mirror that there is
  };
  // How a try went, on the uploader's thread.
  using Tried = std::function<void(const absl::Status& status)>;

  // Claims the mirror for the folder's incarnation: blocks for the store, whose errors it returns. AlreadyExists: the
  // mirror has checkpoints, and this run is new; or the run has gone on elsewhere.
  static absl::StatusOr<std::unique_ptr<CheckpointUploader>> Start(Options options, Tried tried);
  ~CheckpointUploader();  // gives up and waits
  CheckpointUploader(const CheckpointUploader&) = delete;
  CheckpointUploader& operator=(const CheckpointUploader&) = delete;

  // The checkpoint of this step is complete in the folder. Does not block.
  void Offer(uint64_t step);

  // Until the newest that was offered is in the mirror; or the store has failed kLastTries times in a row since the
  // call, whose last error is returned, another learner writes there (Aborted), or `stop` becomes true (Cancelled).
  absl::Status Await(const std::atomic<bool>& stop);
  static constexpr int kLastTries = 5;

 private:
  CheckpointUploader(Options options, std::unique_ptr<RunMirror> mirror, Tried tried);
  void Work();
  // The step to upload next; nullopt: given up.
  std::optional<uint64_t> Next();
  void End(uint64_t step, const absl::Status& status);

  const Options options_;
  const std::unique_ptr<RunMirror> mirror_;  // of the thread, once it runs
  const Tried tried_;
  std::atomic<bool> give_up_ = false;
  absl::Mutex mutex_;
  CondVar changed_;
  std::optional<uint64_t> wanted_ ABSL_GUARDED_BY(mutex_);  // not in the mirror yet
  absl::Status last_ ABSL_GUARDED_BY(mutex_);
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;      // in a row
  bool awaited_ ABSL_GUARDED_BY(mutex_) = false;  // pauses are short then
  std::thread thread_;
};

}  // namespace tactus
