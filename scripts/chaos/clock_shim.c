// Preloaded into a process of a chaos run: its wall clock is the machine's plus an offset, which a file holds and the run
// changes under it. The monotonic clock stays. Absolute waits on the wall clock behave as in the kernel: when the clock is
// set back, a wait that is under way lasts that much longer; when it is set forward, the wait ends.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t kSecond = 1000000000;
static const int64_t kSlice = 50000000;  // how soon a wait notices that the clock was set
static volatile int64_t zero_offset;
static volatile int64_t* offset = &zero_offset;  // nanoseconds

static long (*real_syscall)(long, ...);
static int (*real_clock_gettime)(clockid_t, struct timespec*);
static int (*real_timedwait)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*);

__attribute__((constructor)) static void Begin(void) {
  real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  real_clock_gettime = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  real_timedwait =
      (int (*)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*))dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  const char* path = getenv("CHAOS_CLOCK");
  const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped != MAP_FAILED) offset = (volatile int64_t*)mapped;
}

static int64_t Nanos(const struct timespec* t) { return t->tv_sec * kSecond + t->tv_nsec; }

static struct timespec Timespec(int64_t nanos) {
  struct timespec t = {.tv_sec = nanos / kSecond, .tv_nsec = nanos % kSecond};
  return t;
}

static int64_t RealNow(void) {
  struct timespec now;
  if (real_clock_gettime == NULL) return real_syscall == NULL ? 0 : kSecond * time(NULL);
  real_clock_gettime(CLOCK_REALTIME, &now);
  return Nanos(&now);
}

int clock_gettime(clockid_t clock, struct timespec* out) {
  if (real_clock_gettime == NULL) Begin();
  const int code = real_clock_gettime(clock, out);
  if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) *out = Timespec(Nanos(out) + *offset);
  return code;
}

int gettimeofday(struct timeval* restrict out, void* restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}

// The end of the next slice of a wait until `until` of the shifted clock, on the machine's clock; 0 when that is over.
static int64_t SliceEnd(int64_t until) {
  const int64_t now = RealNow(), left = until - (now + *offset);
  if (left <= 0) return 0;
  return now + (left < kSlice ? left : kSlice);
}

// Abseil waits by this call.
long syscall(long number, ...) {
  long a[6];
  va_list arguments;
  va_start(arguments, number);
  for (int i = 0; i < 6; ++i) a[i] = va_arg(arguments, long);
  va_end(arguments);
  if (real_syscall == NULL) Begin();
  const struct timespec* deadline = (const struct timespec*)a[3];
  const int wall = FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME;
  if (number != SYS_futex || (a[1] & ~FUTEX_PRIVATE_FLAG) != wall || deadline == NULL) {
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  const int64_t until = Nanos(deadline);
  while (1) {
    const int64_t end = SliceEnd(until);
    if (end == 0) {
      errno = ETIMEDOUT;
      return -1;
    }
    const struct timespec slice = Timespec(end);
    const long code = real_syscall(number, a[0], a[1], a[2], &slice, a[4], a[5]);
    if (code == 0 || errno != ETIMEDOUT) return code;
  }
}

int pthread_cond_timedwait(pthread_cond_t* restrict cond, pthread_mutex_t* restrict mutex,
                           const struct timespec* restrict deadline) {
  if (real_timedwait == NULL) Begin();
  const int64_t until = Nanos(deadline), now = RealNow() + *offset;
  // A deadline that is nowhere near the wall clock is of a condition variable on the monotonic clock.
  if (until < now - 400000 * kSecond * 24) return real_timedwait(cond, mutex, deadline);
  while (1) {
    const int64_t end = SliceEnd(until);
    if (end == 0) return ETIMEDOUT;
    const struct timespec slice = Timespec(end);
    const int code = real_timedwait(cond, mutex, &slice);
    if (code != ETIMEDOUT) return code;
  }
}
