#include "common/collective/hang_watch.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/thread.h"

namespace tactus {
namespace {

// How late an overdue call may be noticed: the thread looks so often, and no call has to wake it.
constexpr absl::Duration kShortestLook = absl::Milliseconds(5), kLongestLook = absl::Seconds(1);
// Of a call in a group that is broken: longer than one that does return takes.
constexpr absl::Duration kHurriedLimit = absl::Seconds(1);

}  // namespace

void EndProcess(const std::string& sentence) {
  TACTUS_LOG(ERROR) << sentence;
  ::_exit(kExitFailure);
}

HangWatch::HangWatch(Options options) : options_(std::move(options)) {
  absl::StatusOr<std::thread> thread = StartThread("calls that may hang", [this] { Run(); });
  if (thread.ok()) {
    thread_ = *std::move(thread);
  } else {
    TACTUS_LOG(ERROR) << thread.status().message();
  }
}

HangWatch::~HangWatch() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void HangWatch::Begin(const std::string& what) {
  absl::MutexLock lock(&mutex_);
  what_ = what;
  start_ = MonotonicNow();
}

void HangWatch::End() {
  absl::MutexLock lock(&mutex_);
  what_.clear();
  if (hurry_) changed_.SignalAll();
}

void HangWatch::Hurry() {
  absl::MutexLock lock(&mutex_);
  hurry_ = true;
  changed_.SignalAll();
}

bool HangWatch::Late() const {
  const absl::Duration limit = hurry_ ? std::min(kHurriedLimit, options_.limit) : options_.limit;
  return !what_.empty() && MonotonicNow() - start_ > limit;
}

void HangWatch::Run() {
  const absl::Duration look = std::clamp(options_.limit / 20, kShortestLook, kLongestLook);
  absl::MutexLock lock(&mutex_);
  const auto roused = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_ || Late(); };
  while (!stopped_ && !Late()) changed_.AwaitFor(&mutex_, look, roused);
  if (!stopped_) EndLateCall();
}

void HangWatch::EndLateCall() {
  const std::string call = what_;
  const bool hurried = hurry_;
  const std::string waited = absl::FormatDuration(absl::Trunc(MonotonicNow() - start_, absl::Milliseconds(1)));
  mutex_.Unlock();
  options_.overdue(absl::StrCat(call, " has not returned for ", waited,
                                hurried ? ", and another rank has given up"
                                        : absl::StrCat(", longer than ", absl::FormatDuration(options_.limit))));
  options_.abort();
  mutex_.Lock();
  const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return what_.empty() || stopped_; };
  hurry_ = true;  // from now on the call's end is told
  if (changed_.AwaitFor(&mutex_, options_.grace, over)) return;
  options_.end_process(absl::StrCat(options_.who, ": ", call, " did not return within ",
                                    absl::FormatDuration(options_.grace),
                                    " after the communicator was aborted: the process ends."));
}

}  // namespace tactus
