#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/config/field_docs.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "common/storage/local_copy.h"
#include "proto/config.pb.h"
#include "tools/command.h"
#include "tools/job/memory_report.h"
#include "tools/job/run_inputs.h"

namespace tactus {
namespace {

struct CheckConfigFlags {
  std::optional<std::string> file, model_config;
  std::vector<std::string> set;
  bool fields = false, memory = false, config_only = false;
  int learners = 1, actors = 1, gpus = 1;
  std::optional<double> gpu_memory_gib;

  void Declare(CLI::App& app) {
    AddArgument(app, file, "a configuration file");
    AddFlag(app, "--set FIELD=VALUE", set, "override one field");
    AddSwitch(app, "--fields", fields, "print every field with its default and what it accepts instead; without FILE");
    AddSwitch(app, "--config-only", config_only, "do not read the model and the data: they are on another machine");
    AddSwitch(app, "--memory", memory, "print the memory each process will need instead, and whether there is as much");
    AddFlag(app, "--learners N", learners, "with --memory: learner processes", 1, 1024);
    AddFlag(app, "--actors N", actors, "with --memory: actor processes", 1, 1024);
    AddFlag(app, "--gpu-memory-gib X", gpu_memory_gib,
            "with --memory: plan for GPUs that have so much, in place of this machine's", 1, 4096);
    AddFlag(app, "--gpus N", gpus, "with --gpu-memory-gib: how many", 1, 1024);
    AddFlag(app, "--model-config FILE", model_config,
            "with --memory: a config.json to take in place of the one in model.path");
  }
};

GpuList GpusOf(const CheckConfigFlags& flags) {
  if (!flags.gpu_memory_gib.has_value()) return ListGpus();
  GpuList list;
  for (int i = 0; i < flags.gpus; ++i) {
    list.gpus.push_back({.index = i,
                         .name = "a planned GPU",
                         .total_bytes = static_cast<int64_t>(*flags.gpu_memory_gib * (int64_t{1} << 30)),
                         .free_bytes = std::nullopt,
                         .compute_major = 9,
                         .compute_minor = 0});
  }
  return list;
}

absl::Status PrintMemory(const config::RunConfig& run, const CheckConfigFlags& flags) {
  std::string model = flags.model_config.value_or("");
  if (model.empty()) {
    ASSIGN_OR_RETURN(model, LocalModelConfig(run.model().path()));
  }
  if (!Exists(model)) {
    return absl::NotFoundError(absl::StrCat(model, " is not there: expected the shape of the model of ", *flags.file,
                                            "; --model-config FILE gives one without it."));
  }
  DevicePlanInput input{
      .learners = flags.learners, .actors = flags.actors, .learner = {}, .actor = {}, .gpus = GpusOf(flags)};
  ASSIGN_OR_RETURN(input.learner, ParseDeviceSpec(run.learner().device()));
  ASSIGN_OR_RETURN(input.actor, ParseDeviceSpec(run.actor().device()));
  ASSIGN_OR_RETURN(const DevicePlan plan, PlanDevices(input));
  ASSIGN_OR_RETURN(const MemoryReport report, PredictMemory(run, model, plan, input.gpus));
  const std::string table = report.Table();
  std::fwrite(table.data(), 1, table.size(), stdout);
  return report.Check();
}

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

absl::Status Run(const CheckConfigFlags& flags) {
  if (flags.fields == flags.file.has_value()) {
    return absl::InvalidArgumentError("expected either a configuration file or --fields.");
  }
  if (flags.fields) {
    Print(config::FieldsText());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(*flags.file, flags.set));
  for (const std::string& warning : config::Warnings(run)) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (flags.memory) return PrintMemory(run, flags);
  if (!flags.config_only) {
    ASSIGN_OR_RETURN(const std::vector<std::string> remarks, CheckRunInputs(run));
    for (const std::string& remark : remarks) std::fprintf(stderr, "warning: %s.\n", remark.c_str());
  }
  Print(config::ResolvedText(run));
  return absl::OkStatus();
}

}  // namespace

constinit const Command kCheckConfigCommand = {
    .name = "check-config",
    .summary = "Checks a configuration, its model and data, and prints it with every default, or the memory it needs",
    .synopsis =
        "FILE [--set FIELD=VALUE ...] [--config-only] | --fields | FILE [--memory [--learners N] [--actors N] [--gpus "
        "N "
        "--gpu-memory-gib X]]",
    .example =
        "tactus check-config configs/quickstart.textproto --set rollout.temperature=0.8\n"
        "  tactus check-config configs/quickstart.textproto --memory --actors 2",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
