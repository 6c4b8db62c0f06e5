#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/ops/cpu/parallel.h"
#include "tools/command.h"
#include "tools/report/report.h"
#include "tools/report/rhythm_view.h"

namespace tactus {
namespace {

constexpr FlagSpec kFlags[] = {
    {.name = "html", .value = "FILE", .help = "the page to write [DIR/report.html]"},
};

absl::Status Run(const Flags& flags) {
  const RunFolder folder{flags.positional()[0]};
  if (!std::filesystem::is_directory(folder.root)) {
    return absl::NotFoundError(absl::StrCat(folder.root, " is not a folder: expected the folder of a run."));
  }
  ops::SetThreads(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  const std::string path = flags.Has("html") ? flags.Text("html") : folder.report();
  RETURN_IF_ERROR(WriteReport(folder, path, AddAttention));
  std::printf("%s\n", path.c_str());
  return absl::OkStatus();
}

}  // namespace

constinit const Command kReportCommand = {
    .name = "report",
    .summary = "Writes a run's report: curves, sample completions and configuration on one page",
    .synopsis = "DIR [--html FILE]",
    .example = "tactus report runs/quickstart-20260101-120000",
    .flags = kFlags,
    .rules = {.min_positional = 1, .max_positional = 1, .positional = "the folder of a run"},
    .run = Run,
};

}  // namespace tactus
