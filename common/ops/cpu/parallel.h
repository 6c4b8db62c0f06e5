// The process's intra-op threads: splits a range among them and waits.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace tactus::ops {

// Calls fn(begin, end) on disjoint pieces that cover [0, count), each a multiple of `grain` but the last, and returns
// when all are done. Which thread runs which piece never influences a result: pieces share no output. Calls from
// several threads at once are serialised; nested calls run inline. Uses at most Threads() threads.
void ParallelFor(int64_t count, int64_t grain, absl::FunctionRef<void(int64_t, int64_t)> fn);

// Intra-op threads of this process, the caller's included. SetThreads is called once at start, before any ParallelFor;
// where the system refuses some of them it makes do with the others, and logs a warning.
void SetThreads(int threads);
int Threads();

// What the threads have done since measuring began: how many ranges were split, how long their callers were in
// ParallelFor, and how long all threads together computed pieces meanwhile. The rest of Threads() * inside_ns is
// waiting.
struct ParallelTimes {
  int64_t ranges = 0;
  int64_t inside_ns = 0;
  int64_t computing_ns = 0;
};
// For benches: from now on two looks at the clock a thread and range. With one thread nothing is split, nor measured.
void MeasureParallel();
ParallelTimes ParallelTimesSoFar();

}  // namespace tactus::ops
