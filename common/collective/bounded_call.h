// Waiting for a call of a library that may hang.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include "absl/time/time.h"

namespace tactus {

// Calls `work` on a thread of its own and waits at most `patience` for its result. A call that takes longer is left
// behind, so `work` owns what it uses.
template <typename T>
std::optional<T> CallBounded(absl::Duration patience, std::function<T()> work) {
  std::packaged_task<T()> task(std::move(work));
  std::future<T> result = task.get_future();
  std::thread(std::move(task)).detach();
  if (result.wait_for(absl::ToChronoNanoseconds(patience)) != std::future_status::ready) return std::nullopt;
  return result.get();
}

}  // namespace tactus
