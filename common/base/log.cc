#include "common/base/log.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tactus {
namespace {

struct LogState {
  absl::Mutex mu;
  LogOptions options;
};

LogState& State() {
  static LogState* state = new LogState;  // never destroyed: threads may log while the process ends
  return *state;
}

// JSON string content: quotes, backslashes and control characters escaped.
std::string JsonEscape(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(&out, "\\u", absl::Hex(c, absl::kZeroPad4));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

constexpr absl::string_view kNames[] = {"INFO", "WARNING", "ERROR"};

}  // namespace

void ConfigureLog(const LogOptions& options) {
  absl::MutexLock lock(&State().mu);
  State().options = options;
}

LogLine::~LogLine() {
  const absl::string_view name = kNames[static_cast<int>(severity_)];
  const absl::Time now = absl::Now();
  absl::MutexLock lock(&State().mu);
  const LogOptions& options = State().options;
  std::string line;
  if (options.json) {
    line =
        absl::StrCat("{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone()),
                     "\",\"severity\":\"", name, "\",\"role\":\"", JsonEscape(options.role), "\",\"run\":\"",
                     JsonEscape(options.run_id), "\",\"instance\":\"", JsonEscape(options.instance), "\",\"source\":\"",
                     JsonEscape(file_), ":", line_, "\",\"message\":\"", JsonEscape(stream_.str()), "\"}\n");
  } else {
    line = absl::StrCat(absl::FormatTime("%H:%M:%E3S", now, absl::LocalTimeZone()), " ", name.substr(0, 1), " ",
                        options.role, options.instance.empty() ? "" : " ", options.instance, "  ", stream_.str(), "\n");
  }
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace tactus
