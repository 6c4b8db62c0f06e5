// What the machine can do at most, measured with the process's threads (ops::SetThreads): every figure of the profile
// is read against one of these. Each call measures once, some milliseconds; callers repeat, since others use the
// machine too.
#pragma once

#include <cstdint>

#include "common/base/dtype.h"
#include "common/ops/cpu/buffer.h"

namespace tactus {

class Roofs {
 public:
  Roofs();

  // Bytes a second that all threads read together, loads alone: of 512 MiB in huge pages, of 12 MiB (in the third-level
  // cache, too much for the second).
  double MemoryReadRate();
  double CacheReadRate();
  // Multiply-adds, two operations each, a second: of the widest vectors that the kernels in use have. For bfloat16 of
  // its own instruction where they use it.
  double ArithmeticRate(StorageDType dtype) const;
  // Seconds from handing a range of one trivial piece a thread to the threads until all are done.
  double RangeSeconds() const;
  // Seconds that the first touch of a page takes: of 4 KiB, of 2 MiB (0 where the system gives none).
  double SmallFaultSeconds() const;
  double HugeFaultSeconds() const;

 private:
  ops::Buffer<float> memory_, cache_;
};

}  // namespace tactus
