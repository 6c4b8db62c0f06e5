#include "common/metrics/thread_stack.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>

namespace {

using SetStackSize = int (*)(pthread_attr_t*, size_t);

SetStackSize Glibc() {
  static const auto function = reinterpret_cast<SetStackSize>(dlsym(RTLD_NEXT, "pthread_attr_setstacksize"));
  return function;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int pthread_attr_setstacksize(pthread_attr_t* attributes,
                                                                                size_t bytes) noexcept {
  return Glibc() == nullptr ? ENOSYS : Glibc()(attributes, std::max(bytes, tactus::kLeastThreadStackBytes));
}

namespace tactus {

bool ThreadStacksHaveAFloor() {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  size_t bytes = 0;
  const auto set = reinterpret_cast<SetStackSize>(dlsym(RTLD_DEFAULT, "pthread_attr_setstacksize"));
  const bool holds = set != nullptr && set(&attributes, 100 << 10) == 0 &&
                     pthread_attr_getstacksize(&attributes, &bytes) == 0 && bytes >= kLeastThreadStackBytes;
  pthread_attr_destroy(&attributes);
  return holds;
}

}  // namespace tactus
