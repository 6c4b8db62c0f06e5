#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/monotonic_clock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/metrics/run_folder.h"
#include "tools/command.h"
#include "tools/job/run_end.h"
#include "tools/top/live_page.h"
#include "tools/top/source.h"
#include "tools/top/terminal_view.h"

namespace tactus {
namespace {

struct TopFlags {
  std::optional<std::string> folder, prometheus, run, http;
  int interval_s = 2, window_s = 60;
  bool once = false;

  void Declare(CLI::App& app) {
    AddArgument(app, folder, "the folder of a run");
    AddFlag(app, "--prometheus URL", prometheus, "ask this Prometheus, instead of the processes of a run's folder");
    AddFlag(app, "--run NAME", run, "with --prometheus: only the run of this name");
    AddFlag(app, "--interval-s N", interval_s, "seconds between two looks", 1, 3600);
    AddFlag(app, "--window-s N", window_s, "seconds that rates are taken over", 2, 86400);
    AddFlag(app, "--http HOST:PORT", http, "serve the live page here too; port 0 = any free one");
    AddSwitch(app, "--once", once, "two looks, one picture, then the end");
  }
};

absl::StatusOr<std::unique_ptr<top::Source>> SourceOf(const TopFlags& flags) {
  if (flags.folder.has_value() == flags.prometheus.has_value())
    return absl::InvalidArgumentError("tactus top needs either a run's folder or --prometheus URL.");
  if (flags.prometheus.has_value()) {
    return top::MakePrometheusSource(*flags.prometheus, flags.run.value_or(""), flags.window_s);
  }
  if (flags.run.has_value()) return absl::InvalidArgumentError("--run goes with --prometheus: a folder holds one run.");
  const RunFolder folder{*flags.folder};
  if (!IsFolder(folder.root))
    return absl::NotFoundError(absl::StrCat(folder.root, " is not a folder: expected the folder of a run."));
  return top::MakeLocalSource(folder.targets(), flags.window_s);
}

// The frames so far, for the page's threads and the one that reads.
class SharedLog {
 public:
  explicit SharedLog(std::string title) : title_(std::move(title)) {}
  void Add(top::Frame frame) {
    const absl::MutexLock lock(&mutex_);
    log_.Add(std::move(frame));
  }
  std::string Json() const {
    const absl::MutexLock lock(&mutex_);
    return top::FramesJson(log_, title_);
  }
  std::vector<std::string> Lines(bool color) const {
    const absl::MutexLock lock(&mutex_);
    return top::TopLines(log_, title_, color);
  }

 private:
  const std::string title_;
  mutable absl::Mutex mutex_;
  top::FrameLog log_ ABSL_GUARDED_BY(mutex_);
};

// From the top left corner, over what stood there.
void Draw(const std::vector<std::string>& lines, bool terminal) {
  std::string out = terminal ? "\033[H\033[?7l" : "";
  for (const std::string& line : lines) absl::StrAppend(&out, line, terminal ? "\033[K\n" : "\n");
  if (terminal) out += "\033[?7h\033[J";
  std::fwrite(out.data(), 1, out.size(), stdout);
  std::fflush(stdout);
}

void Pause(absl::Duration duration) {
  const absl::Time end = MonotonicNow() + duration;
  while (MonotonicNow() < end && StopSignalCount() == 0) absl::SleepFor(absl::Milliseconds(50));
}

// Where no process of a run answers, its folder tells how it ended; `error` where it does not.
absl::Status ShowEnd(const TopFlags& flags, const absl::Status& error) {
  if (!flags.folder.has_value() || !(absl::IsUnavailable(error) || absl::IsNotFound(error))) return error;
  const absl::StatusOr<std::string> end = RunEnd({*flags.folder});
  if (!end.ok()) return error;
  std::printf("%s", end->c_str());
  return absl::OkStatus();
}

absl::Status Run(const TopFlags& flags) {
  ASSIGN_OR_RETURN(const std::unique_ptr<top::Source> source, SourceOf(flags));
  CatchStopSignals();
  SharedLog log(flags.folder.has_value() ? *flags.folder : *flags.prometheus);
  std::unique_ptr<top::LivePage> page;
  if (flags.http.has_value()) {
    ASSIGN_OR_RETURN(page, top::LivePage::Start(*flags.http, [&log] { return log.Json(); }));
    std::fprintf(stderr, "live page at http://%s/\n", page->address().c_str());
  }
  const bool once = flags.once, terminal = !once && isatty(STDOUT_FILENO) == 1;
  const absl::Duration interval = absl::Seconds(flags.interval_s);
  if (terminal) std::printf("\033[2J");
  // A rate needs two looks, so the first picture comes after the second.
  absl::StatusOr<top::Frame> first = source->Read();
  if (!first.ok()) return ShowEnd(flags, first.status());
  if (!once) log.Add(*std::move(first));
  for (;;) {
    Pause(interval);
    if (StopSignalCount() > 0) return absl::CancelledError("stopped.");
    absl::StatusOr<top::Frame> frame = source->Read();
    if (!frame.ok()) {
      const bool finished = flags.folder.has_value() && IsFinished({*flags.folder});
      if (once || finished) return ShowEnd(flags, frame.status());
      if (!absl::IsUnavailable(frame.status())) return frame.status();
      std::fprintf(stderr, "%s\n", std::string(frame.status().message()).c_str());
      continue;
    }
    log.Add(*std::move(frame));
    Draw(log.Lines(terminal), terminal);
    if (once) return absl::OkStatus();
  }
}

}  // namespace

constinit const Command kTopCommand = {
    .name = "top",
    .summary = "Shows a running job live: throughput, reward, staleness, who waits for whom",
    .synopsis = "DIR | --prometheus URL [--run NAME]",
    .example =
        "tactus top runs/quickstart-20260101-120000\n"
        "tactus top --prometheus http://localhost:9090 --run quickstart --http 127.0.0.1:9300",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
