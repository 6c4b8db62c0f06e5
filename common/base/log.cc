#include "common/base/log.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tactus {
namespace {

struct LogState {
  absl::Mutex mu;
  LogOptions options ABSL_GUARDED_BY(mu);
  std::string version ABSL_GUARDED_BY(mu);
};

LogState& State() {
  static LogState* state = new LogState;  // never destroyed: threads may log while the process ends
  return *state;
}

constexpr absl::string_view kNames[] = {"INFO", "WARNING", "ERROR"};

std::string Now() { return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()); }

std::string JsonLine(const LogOptions& options, absl::string_view version, LogSeverity severity,
                     const std::string& source, const std::string& message) {
  nlohmann::ordered_json line = {{"time", Now()}, {"severity", kNames[static_cast<int>(severity)]}};
  line["run"] = options.run_id;
  line["role"] = options.role;
  if (!options.instance_kind.empty()) line[options.instance_kind] = options.instance;
  line["version"] = version;
  line["source"] = source;
  line["message"] = message;
  return line.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// Text as it is, but for control characters.
std::string OneLine(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    control ? absl::StrAppend(&out, absl::CHexEscape(absl::string_view(&c, 1))) : void(out.push_back(c));
  }
  return out;
}

// __FILE__ is relative to the build's folder.
std::string SourceName(absl::string_view file, int line) {
  const size_t up = file.rfind("../");
  return absl::StrCat(up == absl::string_view::npos ? file : file.substr(up + 3), ":", line);
}

void Write(const std::string& line) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void ConfigureLog(const LogOptions& options) {
  absl::MutexLock lock(&State().mu);
  State().options = options;
}

void SetLogVersion(absl::string_view version) {
  absl::MutexLock lock(&State().mu);
  State().version = std::string(version);
}

void LogFailure(absl::string_view program, absl::string_view message) {
  LogState& state = State();
  absl::MutexLock lock(&state.mu);
  Write(state.options.json
            ? JsonLine(state.options, state.version, LogSeverity::ERROR, std::string(program), std::string(message))
            : absl::StrCat(program, ": ", message, "\n"));
}

LogLine::~LogLine() {
  absl::MutexLock lock(&State().mu);
  const LogOptions& options = State().options;
  const std::string& version = State().version;
  if (options.json) {
    Write(JsonLine(options, version, severity_, SourceName(file_, line_), stream_.str()));
    return;
  }
  std::string line = absl::StrCat(Now(), " ", kNames[static_cast<int>(severity_)].substr(0, 1));
  for (const std::string& word : {options.role, options.instance, version}) {
    if (!word.empty()) absl::StrAppend(&line, " ", word);
  }
  Write(absl::StrCat(line, "  ", OneLine(stream_.str()), "\n"));
}

}  // namespace tactus
