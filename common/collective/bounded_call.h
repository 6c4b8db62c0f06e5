// Waiting for a call of a library that may hang.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/base/thread.h"

namespace tactus {

// Calls `work` on a thread of its own and waits at most `patience` for its result. A call that takes longer is left
// behind, so `work` owns what it uses. Where there is no thread to be had, that is logged and as good as a call that
// takes longer.
template <typename T>
std::optional<T> CallBounded(absl::Duration patience, std::function<T()> work) {
  const auto task = std::make_shared<std::packaged_task<T()>>(std::move(work));
  std::future<T> result = task->get_future();
  absl::StatusOr<std::thread> thread = StartThread("a call that may hang", [task] { (*task)(); });
  if (!thread.ok()) {
    TACTUS_LOG(ERROR) << thread.status().message();
    return std::nullopt;
  }
  thread->detach();
  if (result.wait_for(absl::ToChronoNanoseconds(patience)) != std::future_status::ready) return std::nullopt;
  return result.get();
}

}  // namespace tactus
