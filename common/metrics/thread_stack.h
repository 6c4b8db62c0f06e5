// Stacks large enough for civetweb's threads.
//
// Debian's civetweb asks for 100 KiB a thread, and glibc takes the thread-local variables of all loaded libraries out
// of that: CUDA's alone need more, and then no thread starts. So this library defines pthread_attr_setstacksize itself,
// for the whole process, with a floor under what is asked for. Thread-safe.
#pragma once

#include <cstddef>

namespace tactus {

inline constexpr size_t kLeastThreadStackBytes = size_t{1} << 20;

// Call it to link the definition in. True: it is the one that libraries of this process find.
bool ThreadStacksHaveAFloor();

}  // namespace tactus
