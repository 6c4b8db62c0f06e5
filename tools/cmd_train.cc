#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/folder_lock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "common/storage/local_copy.h"
#include "common/storage/storage_uri.h"
#include "learner/checkpoint/run_mirror.h"
#include "learner/train/trainer_options.h"
#include "proto/config.pb.h"
#include "tools/command.h"
#include "tools/job/child_process.h"
#include "tools/job/memory_report.h"
#include "tools/job/run_inputs.h"
#include "tools/job/train_job.h"
#include "tools/report/rhythm_view.h"

namespace tactus {
namespace {

struct TrainFlags {
  std::optional<std::string> config, out, resume;
  int learners = 1, actors = 2;
  std::vector<std::string> set;

  void Declare(CLI::App& app) {
    AddFlag(app, "--config FILE", config, "the run's configuration");
    AddFlag(app, "--out DIR", out, "the run's folder, made new [runs/<config>-<time>]");
    AddFlag(app, "--resume DIR", resume,
            "go on from the newest complete checkpoint in DIR, or of what checkpoint.upload made at a URI, in --out");
    AddFlag(app, "--learners N", learners, "learner processes", 1, 1024);
    AddFlag(app, "--actors N", actors, "actor processes", 1, 1024);
    AddFlag(app, "--set FIELD=VALUE", set, "override one configuration field");
  }
};

// The folder is this process's before anything in it is changed: a live run's configuration is read again by each actor
// that it starts.
absl::StatusOr<FolderLock> LockRun(const RunFolder& folder) {
  ASSIGN_OR_RETURN(FolderLock lock, FolderLock::Take(folder.root, "another tactus train"));
  if (IsFolder(folder.checkpoints())) {  // a learner that was started by hand holds these alone
    RETURN_IF_ERROR(FolderLock::Take(folder.checkpoints(), "another learner").status());
  }
  return lock;
}

RunFolder NewFolder(const TrainFlags& flags) {
  RunFolder folder{flags.out.value_or("")};
  if (folder.root.empty()) {
    const std::string stem = std::filesystem::path(*flags.config).stem().string();
    folder.root =
        absl::StrCat("runs/", stem, "-", absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::LocalTimeZone()));
  }
  return folder;
}

absl::Status CheckNew(const RunFolder& folder) {
  if (!Exists(folder.config())) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat(folder.root, " already holds a run: expected a new folder, or --resume ",
                                               folder.root, " to go on with it."));
}

absl::StatusOr<DevicePlan> PlanOf(const TrainJobOptions& options) {
  DevicePlanInput input{
      .learners = options.learners, .actors = options.actors, .learner = {}, .actor = {}, .gpus = ListGpus()};
  ASSIGN_OR_RETURN(input.learner, ParseDeviceSpec(options.config->learner().device()));
  ASSIGN_OR_RETURN(input.actor, ParseDeviceSpec(options.config->actor().device()));
  ASSIGN_OR_RETURN(DevicePlan plan, PlanDevices(input));
  if (!input.gpus.gpus.empty()) {  // as the processes will, but before any of them starts
    ASSIGN_OR_RETURN(const std::string model, LocalModelConfig(options.config->model().path()));
    const auto check = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(MemoryReport report, PredictMemory(*options.config, model, plan, input.gpus));
      std::erase_if(report.devices, [](const DeviceMemory& memory) { return !memory.device.is_gpu(); });
      return report.Check();
    };
    const absl::Status now = check();
    for (GpuInfo& gpu : input.gpus.gpus) gpu.free_bytes.reset();
    if (!now.ok()) return check().ok() ? absl::UnavailableError(now.message()) : now;  // once others have left
  }
  return plan;
}

// What a resume does to the learning rate; empty without a checkpoint.
std::string RateJumpOf(const config::RunConfig& before, const config::RunConfig& now, absl::string_view checkpoint) {
  int64_t step = 0;
  if (!absl::SimpleAtoi(checkpoint.substr(checkpoint.rfind('-') + 1), &step)) return "";
  return RateJump(TrainerOptions::FromProto(before).schedule, TrainerOptions::FromProto(now).schedule,
                  step * now.algorithm().updates_per_batch());
}

// Changes nothing on disk.
absl::StatusOr<TrainJobOptions> OptionsOf(const TrainFlags& flags) {
  const bool resume = flags.resume.has_value();
  if (resume == flags.config.has_value()) {
    return absl::InvalidArgumentError("expected either --config FILE, for a new run, or --resume DIR.");
  }
  if (resume && flags.out.has_value()) {
    return absl::InvalidArgumentError("--out does not go with --resume: the run goes on in its own folder.");
  }
  TrainJobOptions options;
  options.resume = resume;
  options.learners = flags.learners;
  options.actors = flags.actors;
  options.terminal = isatty(STDERR_FILENO) == 1;
  options.enrich_report = AddAttention;
  options.folder.root = flags.resume.value_or("");
  const std::string config_path = resume ? options.folder.config() : *flags.config;
  ASSIGN_OR_RETURN(config::RunConfig run, config::LoadRunConfig(config_path, flags.set));
  options.config = std::make_shared<const config::RunConfig>(std::move(run));
  if (resume) {
    ASSIGN_OR_RETURN(const config::RunConfig started_with, config::LoadRunConfig(config_path, {}));
    if (config::Fingerprint(started_with) != config::Fingerprint(*options.config)) {
      return absl::InvalidArgumentError(
          "--set changes what the checkpoint was trained with: with --resume expected only learner.steps, "
          "learner.threads, learner.collective_timeout_s, learner.time_limit_s, learner.device, "
          "learner.gpu_memory_mib, learner.shard, "
          "optimizer.max_skipped_updates or fields of service, actor, checkpoint and eval.");
    }
    const std::string jump = RateJumpOf(started_with, *options.config, NewestCheckpoint(options.folder));
    if (!jump.empty()) std::fprintf(stderr, "warning: %s\n", jump.c_str());
  }
  const bool trained = resume && !NewestCheckpoint(options.folder).empty();
  const absl::StatusOr<std::vector<std::string>> inputs = CheckRunInputs(*options.config);
  if (!inputs.ok()) return InPhase(trained ? Phase::kResuming : Phase::kStarting, inputs.status());
  for (const std::string& remark : *inputs) std::fprintf(stderr, "warning: %s.\n", remark.c_str());
  ASSIGN_OR_RETURN(options.devices, PlanOf(options));
  ASSIGN_OR_RETURN(options.binary_folder, BinaryFolder());
  if (resume && !trained) {
    return absl::NotFoundError(absl::StrCat(options.folder.checkpoints(), " holds no checkpoint to go on from."));
  }
  if (!resume) {
    options.folder = NewFolder(flags);
    RETURN_IF_ERROR(CheckNew(options.folder));
  }
  return options;
}

// Takes the run's folder and writes what this job goes by.
absl::StatusOr<FolderLock> Begin(const TrainJobOptions& options) {
  const RunFolder& folder = options.folder;
  if (!options.resume) RETURN_IF_ERROR(MakeFolders(folder.root));
  ASSIGN_OR_RETURN(FolderLock lock, LockRun(folder));
  if (!options.resume) RETURN_IF_ERROR(CheckNew(folder));  // of two that found it new
  RETURN_IF_ERROR(MakeFolders(folder.logs()));
  RETURN_IF_ERROR(WriteFileAtomic(folder.config(), config::ResolvedText(*options.config)));
  return lock;
}

// Makes of `--resume URI [--out DIR]` a `--resume DIR` that has what is there.
absl::Status FetchRun(TrainFlags& flags) {
  ASSIGN_OR_RETURN(const StorageUri uri, StorageUri::Parse(*flags.resume));
  const RunFolder folder{flags.out.value_or(absl::StrCat("runs/", uri.Last()))};
  if (Exists(folder.config())) {
    ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(folder.config(), {}));
    if (run.checkpoint().upload() != *flags.resume) {
      return absl::AlreadyExistsError(absl::StrCat(folder.root, " holds a run whose checkpoint.upload is \"",
                                                   run.checkpoint().upload(), "\": expected a new folder in --out."));
    }
  }
  RETURN_IF_ERROR(MakeFolders(folder.root));
  ASSIGN_OR_RETURN(const FolderLock lock, LockRun(folder));
  ASSIGN_OR_RETURN(const std::unique_ptr<RunMirror> mirror, RunMirror::Open(*flags.resume));
  RETURN_IF_ERROR(Exists(folder.config()) ? mirror->Refresh(folder) : mirror->Fetch(folder));
  flags.resume = folder.root;
  flags.out.reset();
  return absl::OkStatus();
}

absl::Status Run(const TrainFlags& given) {
  TrainFlags flags = given;
  if (flags.resume.has_value() && IsUri(*flags.resume)) RETURN_IF_ERROR(FetchRun(flags));
  ASSIGN_OR_RETURN(TrainJobOptions options, OptionsOf(flags));
  ASSIGN_OR_RETURN(const FolderLock lock, Begin(options));
  for (const std::string& warning : config::Warnings(*options.config)) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  return TrainJob(std::move(options)).Run();
}

}  // namespace

constinit const Command kTrainCommand = {
    .name = "train",
    .summary = "Trains on this machine: starts learners and actors, shows progress, keeps checkpoints",
    .synopsis =
        "--config FILE [--out DIR] [--learners N] [--actors N] [--set FIELD=VALUE ...] | --resume DIR | --resume URI "
        "[--out DIR]",
    .example =
        "tactus train --config configs/quickstart.textproto --actors 2\n"
        "  tactus train --resume runs/quickstart-20260101-120000",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
