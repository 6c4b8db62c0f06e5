// One piece of work on a thread of its own, whose end others can wait for.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/cond_var.h"

namespace tactus {

// Thread-safe but for the destructor.
class BackgroundTask {
 public:
  // `work` ends soon after `give_up` has become true. ResourceExhausted: the system has no thread for `purpose`.
  static absl::StatusOr<std::unique_ptr<BackgroundTask>> Start(
      absl::string_view purpose, std::function<absl::Status(const std::atomic<bool>& give_up)> work);
  ~BackgroundTask();  // gives up and waits
  BackgroundTask(const BackgroundTask&) = delete;
  BackgroundTask& operator=(const BackgroundTask&) = delete;

  // How it ended; nullopt: it is still at work after `timeout`.
  std::optional<absl::Status> Wait(absl::Duration timeout);

 private:
  BackgroundTask() = default;

  std::atomic<bool> give_up_ = false;
  absl::Mutex mutex_;
  CondVar ended_;
  std::optional<absl::Status> result_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace tactus
