#include "common/ops/cpu/parallel.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/thread.h"

namespace tactus::ops {
namespace {

// Small models spend microseconds in an op: a worker looks for the next job this often before it sleeps.
constexpr int kSpins = 2000;

thread_local bool inside_parallel_for = false;

// Adds the nanoseconds until its end to `total`, unless it is null.
class NanosecondTimer {
 public:
  explicit NanosecondTimer(std::atomic<int64_t>* total) : total_(total), start_(total == nullptr ? 0 : Now()) {}
  ~NanosecondTimer() {
    if (total_ != nullptr) total_->fetch_add(Now() - start_, std::memory_order_relaxed);
  }
  NanosecondTimer(const NanosecondTimer&) = delete;
  NanosecondTimer& operator=(const NanosecondTimer&) = delete;

 private:
  static int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

  std::atomic<int64_t>* const total_;
  const int64_t start_;
};

class ThreadPool {
 public:
  explicit ThreadPool(int threads) {
    for (int i = 1; i < threads; ++i) {
      absl::StatusOr<std::thread> worker = StartThread("computing", [this] { Work(); });
      if (!worker.ok()) {  // fewer give the same results
        TACTUS_LOG(WARNING) << worker.status().message() << "; computing with " << i << " of " << threads << " threads";
        break;
      }
      workers_.push_back(*std::move(worker));
    }
  }

  ~ThreadPool() {
    stopping_ = true;
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void Measure() { measuring_ = true; }
  ParallelTimes times() const { return {ranges_, inside_ns_, computing_ns_}; }

  void Run(int64_t count, int64_t piece, absl::FunctionRef<void(int64_t, int64_t)> fn) {
    absl::MutexLock lock(&one_job_);
    const bool measuring = measuring_.load(std::memory_order_relaxed);
    const NanosecondTimer timer(measuring ? &inside_ns_ : nullptr);
    ranges_ += measuring ? 1 : 0;
    fn_ = &fn;
    count_ = count;
    piece_ = piece;
    next_.store(0, std::memory_order_relaxed);
    door_.store(kOpen, std::memory_order_release);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    TakePieces();
    // No piece is left. Who has not come in by now, as its core has other work, stays out and is not waited for.
    door_.fetch_and(~kOpen, std::memory_order_relaxed);
    for (int spins = 0; door_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < kSpins) {
        _mm_pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  void TakePieces() {
    const NanosecondTimer timer(measuring_.load(std::memory_order_relaxed) ? &computing_ns_ : nullptr);
    inside_parallel_for = true;
    for (;;) {
      const int64_t begin = next_.fetch_add(piece_, std::memory_order_relaxed);
      if (begin >= count_) break;
      (*fn_)(begin, std::min(begin + piece_, count_));
    }
    inside_parallel_for = false;
  }

  void Work() {
    uint32_t seen = 0;
    for (;;) {
      for (int spins = 0; spins < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spins) _mm_pause();
      generation_.wait(seen, std::memory_order_acquire);
      seen = generation_.load(std::memory_order_acquire);
      if (stopping_) return;
      for (uint32_t door = door_.load(std::memory_order_relaxed); (door & kOpen) != 0;) {
        if (!door_.compare_exchange_weak(door, door + 1, std::memory_order_acquire)) continue;
        TakePieces();
        door_.fetch_sub(1, std::memory_order_release);
        break;
      }
    }
  }

  // Of door_; the other bits count the workers inside.
  static constexpr uint32_t kOpen = uint32_t{1} << 31;

  absl::Mutex one_job_;
  // Written by Run while the door is shut and nobody inside, read by workers inside.
  absl::FunctionRef<void(int64_t, int64_t)>* fn_ = nullptr;
  int64_t count_ = 0;
  int64_t piece_ = 1;
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> next_{0};
  std::atomic<uint32_t> door_{0};
  std::atomic<uint32_t> generation_{0};
  std::atomic<bool> measuring_{false};
  std::atomic<int64_t> ranges_{0}, inside_ns_{0}, computing_ns_{0};
  std::vector<std::thread> workers_;  // last: started when the rest is ready
};

std::unique_ptr<ThreadPool>& Pool() {
  static auto* pool = new std::unique_ptr<ThreadPool>;
  return *pool;
}

}  // namespace

void SetThreads(int threads) {
  Pool().reset();
  if (threads > 1) Pool() = std::make_unique<ThreadPool>(threads);
}

int Threads() { return Pool() == nullptr ? 1 : Pool()->size(); }

void MeasureParallel() {
  if (Pool() != nullptr) Pool()->Measure();
}

ParallelTimes ParallelTimesSoFar() { return Pool() == nullptr ? ParallelTimes() : Pool()->times(); }

void ParallelFor(int64_t count, int64_t grain, absl::FunctionRef<void(int64_t, int64_t)> fn) {
  if (count <= 0) return;
  ThreadPool* pool = Pool().get();
  if (pool == nullptr || inside_parallel_for || count <= grain) {
    fn(0, count);
    return;
  }
  // Four pieces a thread even out unequal work without much overhead.
  const int64_t pieces = int64_t{4} * pool->size();
  const int64_t piece = std::max<int64_t>(grain, (count + pieces - 1) / pieces / grain * grain);
  pool->Run(count, piece, fn);
}

}  // namespace tactus::ops
