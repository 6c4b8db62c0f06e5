#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/field_docs.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "proto/config.pb.h"
#include "tools/command.h"
#include "tools/job/memory_report.h"

namespace tactus {
namespace {

constexpr FlagSpec kFlags[] = {
    {.name = "set", .value = "FIELD=VALUE", .help = "override one field", .repeated = true},
    {.name = "fields",
     .type = FlagType::kSwitch,
     .help = "print every field with its default and what it accepts instead; without FILE"},
    {.name = "memory",
     .type = FlagType::kSwitch,
     .help = "print the memory each process will need instead, and whether there is as much"},
    {.name = "learners",
     .type = FlagType::kInt,
     .value = "N",
     .help = "with --memory: learner processes",
     .fallback = "1",
     .min = 1,
     .max = 1024},
    {.name = "actors",
     .type = FlagType::kInt,
     .value = "N",
     .help = "with --memory: actor processes",
     .fallback = "1",
     .min = 1,
     .max = 1024},
    {.name = "gpu-memory-gib",
     .type = FlagType::kDouble,
     .value = "X",
     .help = "with --memory: plan for GPUs that have so much, in place of this machine's",
     .min = 1,
     .max = 4096},
    {.name = "gpus",
     .type = FlagType::kInt,
     .value = "N",
     .help = "with --gpu-memory-gib: how many",
     .fallback = "1",
     .min = 1,
     .max = 1024},
    {.name = "model-config",
     .value = "FILE",
     .help = "with --memory: a config.json to take in place of the one in model.path"},
};

GpuList GpusOf(const Flags& flags) {
  if (!flags.Has("gpu-memory-gib")) return ListGpus();
  GpuList list;
  for (int i = 0; i < flags.Int("gpus"); ++i) {
    list.gpus.push_back({.index = i,
                         .name = "a planned GPU",
                         .total_bytes = static_cast<int64_t>(flags.Double("gpu-memory-gib") * (int64_t{1} << 30)),
                         .free_bytes = std::nullopt,
                         .compute_major = 9,
                         .compute_minor = 0});
  }
  return list;
}

absl::Status PrintMemory(const config::RunConfig& run, const Flags& flags) {
  const std::string& file = flags.positional()[0];
  const std::string model =
      flags.Has("model-config") ? flags.Text("model-config") : absl::StrCat(run.model().path(), "/config.json");
  if (!std::filesystem::exists(model)) {
    return absl::NotFoundError(absl::StrCat(model, " is not there: expected the shape of the model of ", file,
                                            "; --model-config FILE gives one without it."));
  }
  DevicePlanInput input{.learners = static_cast<int>(flags.Int("learners")),
                        .actors = static_cast<int>(flags.Int("actors")),
                        .learner = {},
                        .actor = {},
                        .gpus = GpusOf(flags)};
  ASSIGN_OR_RETURN(input.learner, ParseDeviceSpec(run.learner().device()));
  ASSIGN_OR_RETURN(input.actor, ParseDeviceSpec(run.actor().device()));
  ASSIGN_OR_RETURN(const DevicePlan plan, PlanDevices(input));
  ASSIGN_OR_RETURN(const MemoryReport report, PredictMemory(run, model, plan, input.gpus));
  const std::string table = report.Table();
  std::fwrite(table.data(), 1, table.size(), stdout);
  return report.Check();
}

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

absl::Status Run(const Flags& flags) {
  if (flags.On("fields") != flags.positional().empty()) {
    return absl::InvalidArgumentError("expected either a configuration file or --fields.");
  }
  if (flags.On("fields")) {
    Print(config::FieldsText());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(flags.positional()[0], flags.All("set")));
  for (const std::string& warning : config::Warnings(run)) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (flags.On("memory")) return PrintMemory(run, flags);
  Print(config::ResolvedText(run));
  return absl::OkStatus();
}

}  // namespace

constinit const Command kCheckConfigCommand = {
    .name = "check-config",
    .summary = "Checks a configuration and prints it with every default, or the memory it needs",
    .synopsis =
        "FILE [--set FIELD=VALUE ...] | --fields | FILE [--memory [--learners N] [--actors N] [--gpus N "
        "--gpu-memory-gib X]]",
    .example =
        "tactus check-config configs/quickstart.textproto --set rollout.temperature=0.8\n"
        "  tactus check-config configs/quickstart.textproto --memory --actors 2",
    .flags = kFlags,
    .rules = {.max_positional = 1, .positional = "a configuration file"},
    .run = Run,
};

}  // namespace tactus
