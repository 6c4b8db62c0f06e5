#include "common/weights/background_publisher.h"

#include <utility>

#include "absl/memory/memory.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"

namespace tactus {
namespace {

constexpr absl::Duration kWaitLogInterval = absl::Seconds(10);

}  // namespace

absl::StatusOr<std::unique_ptr<BackgroundPublisher>> BackgroundPublisher::Start(WeightPublisher* publisher,
                                                                                const ParameterLayout* layout,
                                                                                Published published, Ready ready) {
  auto started = absl::WrapUnique(new BackgroundPublisher(publisher, layout, std::move(published), std::move(ready)));
  ASSIGN_OR_RETURN(started->thread_, StartThread("publishing weights", [self = started.get()] { self->Run(); }));
  return started;
}

BackgroundPublisher::~BackgroundPublisher() {
  {
    absl::MutexLock lock(&mu_);
    closing_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status BackgroundPublisher::Submit(Set set) {
  set.handed_in = MonotonicNow();
  absl::MutexLock lock(&mu_);
  if (status_.ok()) waiting_ = std::move(set);
  changed_.SignalAll();
  return status_;
}

absl::Status BackgroundPublisher::status() const {
  absl::MutexLock lock(&mu_);
  return status_;
}

absl::Status BackgroundPublisher::Drain() {
  absl::MutexLock lock(&mu_);
  const auto done = [this] {
    mu_.AssertHeld();
    return !status_.ok() || (!waiting_.has_value() && !publishing_);
  };
  while (!changed_.AwaitFor(&mu_, kWaitLogInterval, done)) {
    TACTUS_LOG(INFO) << "still publishing weights";
  }
  return status_;
}

std::optional<BackgroundPublisher::Set> BackgroundPublisher::Next() {
  {
    absl::MutexLock lock(&mu_);
    publishing_ = false;
    changed_.SignalAll();
    while (!closing_ && !waiting_.has_value()) changed_.WaitFor(&mu_, kWaitLogInterval);
    if (closing_) return std::nullopt;
  }
  ready_();
  absl::MutexLock lock(&mu_);
  if (closing_) return std::nullopt;
  publishing_ = true;
  return std::exchange(waiting_, std::nullopt);
}

void BackgroundPublisher::Run() {
  while (std::optional<Set> next = Next()) {
    Set& set = *next;
    absl::Status status = publisher_.Publish(set.version, layout_, std::move(set.bytes), set.dtype,
                                             std::move(set.head_classes), std::move(set.shared));
    if (status.ok()) status = published_(set.version, MonotonicNow() - set.handed_in);
    absl::MutexLock lock(&mu_);
    status_.Update(status);
    if (!status_.ok()) {
      publishing_ = false;
      changed_.SignalAll();
      return;
    }
  }
}

}  // namespace tactus
