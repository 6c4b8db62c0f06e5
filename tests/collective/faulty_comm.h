// A communicator and a board that fail on purpose: what Gloo and NCCL do on a bad day, without them.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/collective/comm_backend.h"
#include "common/collective/rank_board.h"

namespace tactus {

enum class Fault {
  kNone,
  kHang,
  kError,
  kRefuse,
  kLost,          // whether it is done is not known
  kStartHangs,    // until the backend is aborted
  kStartIsStuck,  // and even then, until the test lets it go
  kCollectHangs,  // until the backend is aborted
};

// What a FaultyBackend is to do, and what it did. Outlives the backend.
struct FaultyScript {
  CommLimits limits = {.piece_bytes = 1 << 20, .max_in_flight = 8, .poll_interval = absl::InfiniteDuration()};
  std::map<size_t, Fault> faults;  // by operation, from 0
  bool wakes = true;               // on another thread; otherwise it has to be polled
  absl::Notification* before_abort_ends = nullptr;
  absl::Notification unstuck;  // kStartIsStuck
  absl::Notification aborted;  // Abort was called

  absl::Mutex mutex;
  std::vector<CommRequest> requests ABSL_GUARDED_BY(mutex);
  std::vector<size_t> collected ABSL_GUARDED_BY(mutex);
  std::vector<std::function<void()>> wakers ABSL_GUARDED_BY(mutex);
  int aborts ABSL_GUARDED_BY(mutex) = 0;
  bool abort_ended ABSL_GUARDED_BY(mutex) = false;
};

// Its operations take a moment on a thread of their own; a float sum doubles its values: a world of two
// equal ranks.
class FaultyOperation : public CommOperation {
 public:
  FaultyOperation(FaultyScript& script, size_t index, Fault fault, const CommRequest& request,
                  std::function<void()> wake)
      : script_(script), index_(index), fault_(fault), request_(request) {
    if (fault_ == Fault::kHang) return;
    thread_ = std::thread([this, wake = script_.wakes ? std::move(wake) : [] {}] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      done_ = true;
      wake();
    });
  }
  ~FaultyOperation() override {
    if (thread_.joinable()) thread_.join();
  }
  absl::StatusOr<bool> Done() override {
    if (fault_ == Fault::kLost) return absl::UnavailableError("the twin lost its event");
    return done_.load();
  }
  absl::Status Collect() override {
    if (fault_ == Fault::kCollectHangs) {
      script_.aborted.WaitForNotification();
      return absl::UnavailableError("the twin was aborted");
    }
    {
      absl::MutexLock lock(&script_.mutex);
      script_.collected.push_back(index_);
    }
    if (fault_ == Fault::kError) return absl::UnavailableError("the twin's cable was cut");
    if (request_.kind == CommRequest::Kind::kSumFloats) {
      float* values = reinterpret_cast<float*>(request_.values.data());
      for (size_t i = 0; i < request_.values.size() / sizeof(float); ++i) values[i] *= 2;
    }
    return absl::OkStatus();
  }

 private:
  FaultyScript& script_;
  const size_t index_;
  const Fault fault_;
  const CommRequest request_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

class FaultyBackend : public CommBackend {
 public:
  explicit FaultyBackend(FaultyScript& script) : script_(script) {}
  CommLimits limits() const override { return script_.limits; }

  absl::StatusOr<std::unique_ptr<CommOperation>> Start(const CommRequest& request,
                                                       std::function<void()> wake) override {
    size_t index = 0;
    {
      absl::MutexLock lock(&script_.mutex);
      index = script_.requests.size();
      script_.requests.push_back(request);
      script_.wakers.push_back(wake);
    }
    const auto fault = script_.faults.find(index);
    const Fault kind = fault == script_.faults.end() ? Fault::kNone : fault->second;
    if (kind == Fault::kRefuse) return absl::UnavailableError("the twin refuses");
    if (kind == Fault::kStartHangs || kind == Fault::kStartIsStuck) {
      (kind == Fault::kStartHangs ? script_.aborted : script_.unstuck).WaitForNotification();
      return absl::UnavailableError("the twin was aborted");
    }
    return std::make_unique<FaultyOperation>(script_, index, kind, request, std::move(wake));
  }

  void Abort() override {
    {
      absl::MutexLock lock(&script_.mutex);
      if (++script_.aborts == 1) script_.aborted.Notify();
    }
    if (script_.before_abort_ends != nullptr) script_.before_abort_ends->WaitForNotification();
    absl::MutexLock lock(&script_.mutex);
    script_.abort_ended = true;
  }

 private:
  FaultyScript& script_;
};

// A board in memory; each rank of a test has its own handle on it.
class MemoryBoard : public RankBoard {
 public:
  struct Texts {
    absl::Mutex mutex;
    std::map<std::string, std::string> by_key ABSL_GUARDED_BY(mutex);
    bool gone ABSL_GUARDED_BY(mutex) = false;  // every call fails
    std::map<std::thread::id, int64_t> writes ABSL_GUARDED_BY(mutex);
    absl::Notification* answers_after = nullptr;  // Read hangs until then
  };

  explicit MemoryBoard(std::shared_ptr<Texts> texts) : texts_(std::move(texts)) {}

  // From now on this handle's writes are lost, as a dead process's are.
  void Silence() {
    absl::MutexLock lock(&texts_->mutex);
    silent_ = true;
  }

  absl::Status Write(const std::string& key, const std::string& value) override {
    absl::MutexLock lock(&texts_->mutex);
    ++texts_->writes[std::this_thread::get_id()];
    if (texts_->gone) return absl::UnavailableError("the board is gone");
    if (!silent_) texts_->by_key[key] = value;
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Read(const std::string& key) override {
    if (texts_->answers_after != nullptr) texts_->answers_after->WaitForNotification();
    absl::MutexLock lock(&texts_->mutex);
    if (texts_->gone) return absl::UnavailableError("the board is gone");
    return texts_->by_key[key];
  }
  absl::StatusOr<int64_t> Increment(const std::string& key) override {
    absl::MutexLock lock(&texts_->mutex);
    std::string& text = texts_->by_key[key];
    text.push_back('|');
    return static_cast<int64_t>(text.size());
  }
  absl::StatusOr<std::unique_ptr<RankBoard>> Reopen() const override { return std::make_unique<MemoryBoard>(texts_); }

 private:
  const std::shared_ptr<Texts> texts_;
  bool silent_ = false;
};

}  // namespace tactus
