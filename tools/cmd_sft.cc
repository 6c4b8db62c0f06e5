#include <unistd.h>

#include <cstdio>

#include "common/base/exit_code.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "learner/sft/sft.h"
#include "proto/config.pb.h"
#include "tools/command.h"
#include "tools/report/html_page.h"

namespace tactus {
namespace {

constexpr int64_t kStepsPerLine = 20;

struct SftFlags {
  std::string config, out;
  std::vector<std::string> set;

  void Declare(CLI::App& app) {
    AddRequired(app, "--config FILE", config, "the configuration; sft.*, optimizer.*, task.* and learner.device count");
    AddRequired(app, "--out DIR", out, "the model folder to write, made new");
    AddFlag(app, "--set FIELD=VALUE", set, "override one configuration field");
  }
};

// One line that is drawn over on a terminal; else a line now and then.
void Show(const SftProgress& p, bool terminal) {
  if (!terminal && p.step % kStepsPerLine != 0 && p.step != p.steps && p.step != 1) return;
  const double left = p.step > 0 ? p.time_s / static_cast<double>(p.step) * static_cast<double>(p.steps - p.step) : 0;
  std::fprintf(stderr, "%sstep %lld/%lld  loss %.4f  gradient %.3f  lr %.2e  %.0f tok/s  left %s%s",
               terminal ? "\r" : "", static_cast<long long>(p.step), static_cast<long long>(p.steps), p.loss,
               p.grad_norm, p.lr, p.tokens_per_s, DurationText(left).c_str(), terminal ? "\033[K" : "\n");
}

absl::Status Run(const SftFlags& flags) {
  ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(flags.config, flags.set));
  ASSIGN_OR_RETURN(const DeviceSpec spec, ParseDeviceSpec(run.learner().device()));
  ASSIGN_OR_RETURN(const DeviceChoice choice, ChooseDevice(spec, "learner.device", ListGpus()));
  const bool terminal = isatty(STDERR_FILENO) == 1;
  CatchStopSignals();
  Phase phase = Phase::kStarting;
  const auto on_step = [&](const SftProgress& progress) {
    phase = Phase::kWorking;
    Show(progress, terminal);
  };
  const absl::Status status = RunSft(run, choice.device, flags.out, on_step, [] { return StopSignalCount() > 0; });
  if (terminal) std::fputc('\n', stderr);
  RETURN_IF_ERROR(InPhase(phase, status));
  std::printf("%s\n", flags.out.c_str());
  return StopSignalCount() > 0 ? absl::CancelledError("stopped early by Ctrl-C; the folder holds the policy so far.")
                               : absl::OkStatus();
}

}  // namespace

constinit const Command kSftCommand = {
    .name = "sft",
    .summary = "Warm-starts a policy by supervised training on worked answers",
    .synopsis = "--config FILE --out DIR [--set FIELD=VALUE ...]",
    .example = "tactus sft --config configs/quickstart_sft.textproto --out runs/quickstart-sft",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
