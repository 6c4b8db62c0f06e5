#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/device/host_limits.h"
#include "common/ops/cpu/parallel.h"
#include "tools/command.h"
#include "tools/report/report.h"
#include "tools/report/rhythm_view.h"

namespace tactus {
namespace {

struct ReportFlags {
  std::string folder;
  std::optional<std::string> html;

  void Declare(CLI::App& app) {
    AddArgument(app, folder, "the folder of a run");
    AddFlag(app, "--html FILE", html, "the page to write [DIR/report.html]");
  }
};

absl::Status Run(const ReportFlags& flags) {
  const RunFolder folder{flags.folder};
  if (!IsFolder(folder.root)) {
    return absl::NotFoundError(absl::StrCat(folder.root, " is not a folder: expected the folder of a run."));
  }
  ops::SetThreads(OwnHostLimits().cpus);
  const std::string path = flags.html.value_or(folder.report());
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
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
