// Bounds the calls of a communication library that may never return, as NCCL's do while a rank that is gone is being
// connected to: a thread of its own sees that a call takes too long, aborts the communicator, which makes most calls
// return, and where even that does not help ends the process with a sentence.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/cond_var.h"

namespace tactus {

// Logs the sentence and ends the process at once, as a failure: its threads may hang anywhere.
[[noreturn]] void EndProcess(const std::string& sentence);

class HangWatch {
 public:
  struct Options {
    std::string who;                           // begins sentences: "Rank 0 of 2"
    absl::Duration limit = absl::Minutes(5);   // of a call
    absl::Duration grace = absl::Seconds(30);  // for it to return, once abort was called
    std::function<void(const std::string&)> overdue = [](const std::string&) {};  // before abort: what takes how long
    std::function<void()> abort = [] {};                                          // itself bounded
    std::function<void(const std::string&)> end_process = EndProcess;
  };

  // The functions are called on the thread, one after the other, each at most once. Where there is no thread to be had
  // that is logged, and calls have no bound.
  explicit HangWatch(Options options);
  ~HangWatch();  // waits for them
  HangWatch(const HangWatch&) = delete;
  HangWatch& operator=(const HangWatch&) = delete;

  // A call of the library is under way for as long as this lives. One at a time.
  class Call {
   public:
    Call(HangWatch& watch, const std::string& what) : watch_(watch) { watch_.Begin(what); }
    ~Call() { watch_.End(); }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    HangWatch& watch_;
  };

  // The group is broken: the call under way, and each from now on, has a second at most. Any thread.
  void Hurry();

 private:
  void Begin(const std::string& what);
  void End();
  void Run();
  bool Late() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLateCall() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  absl::Mutex mutex_;
  CondVar changed_;
  std::string what_ ABSL_GUARDED_BY(mutex_);  // empty: no call is under way
  absl::Time start_ ABSL_GUARDED_BY(mutex_);
  bool hurry_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // the last: it uses the others
};

}  // namespace tactus
