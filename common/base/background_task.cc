#include "common/base/background_task.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/base/thread.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<BackgroundTask>> BackgroundTask::Start(
    absl::string_view purpose, std::function<absl::Status(const std::atomic<bool>& give_up)> work) {
  std::unique_ptr<BackgroundTask> task(new BackgroundTask);
  ASSIGN_OR_RETURN(task->thread_, StartThread(purpose, [self = task.get(), work = std::move(work)]() mutable {
                     absl::Status result = work(self->give_up_);
                     work = nullptr;  // what it holds goes before anybody hears of the end
                     absl::MutexLock lock(&self->mutex_);
                     self->result_ = std::move(result);
                     self->ended_.SignalAll();
                   }));
  return task;
}

BackgroundTask::~BackgroundTask() {
  give_up_ = true;
  if (thread_.joinable()) thread_.join();
}

std::optional<absl::Status> BackgroundTask::Wait(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  ended_.AwaitFor(&mutex_, timeout, [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return result_.has_value(); });
  return result_;
}

}  // namespace tactus
