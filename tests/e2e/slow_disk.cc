// A disk that takes its time, for a process that is started with LD_PRELOAD of this: each fsync of a file of the
// optimizer sleeps TACTUS_TEST_FSYNC_MS first.
#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

extern "C" int fsync(int fd) {
  static auto* const real = reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "fsync"));
  std::array<char, 4096> name = {};
  const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name.data(), name.size() - 1);
  const char* const ms = std::getenv("TACTUS_TEST_FSYNC_MS");
  if (ms != nullptr && length > 0 && std::string(name.data()).find("optimizer") != std::string::npos) {
    usleep(static_cast<useconds_t>(std::atoi(ms)) * 1000);
  }
  return real(fd);
}
