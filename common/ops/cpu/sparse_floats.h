// Float32 memory under one flat range of addresses, of which only what is written to is there: for buffers whose parts
// come and go, so that code which counts places from the buffer's begin needs to know nothing of it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

namespace tactus::ops {

// Owns it. Reads as 0 where nothing was written. Movable, not copyable. Not thread-safe.
class SparseFloats {
 public:
  SparseFloats() = default;
  explicit SparseFloats(int64_t count) : size_(count) {
    if (count == 0) return;
    void* memory = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<float*>(memory);
    ::madvise(memory, bytes(), MADV_NOHUGEPAGE);  // a huge page stays as long as any part of it
  }
  SparseFloats(SparseFloats&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  SparseFloats& operator=(SparseFloats&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~SparseFloats() {
    if (data_ != nullptr) ::munmap(data_, bytes());
  }

  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return size_; }

  // [begin, end) reads as 0 again, and its whole pages are given back.
  void Release(int64_t begin, int64_t end) {
    char* const first = reinterpret_cast<char*>(data_ + begin);
    char* const last = reinterpret_cast<char*>(data_ + end);
    const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    char* const whole = first + (page - reinterpret_cast<uintptr_t>(first) % page) % page;
    char* const whole_end = last - reinterpret_cast<uintptr_t>(last) % page;
    if (whole >= whole_end || ::madvise(whole, static_cast<size_t>(whole_end - whole), MADV_DONTNEED) != 0) {
      std::memset(first, 0, static_cast<size_t>(last - first));
      return;
    }
    std::memset(first, 0, static_cast<size_t>(whole - first));
    std::memset(whole_end, 0, static_cast<size_t>(last - whole_end));
  }

 private:
  size_t bytes() const { return static_cast<size_t>(size_) * sizeof(float); }

  float* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace tactus::ops
