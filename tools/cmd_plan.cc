#include <cmath>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/device/host_limits.h"
#include "common/metrics/run_folder.h"
#include "common/storage/local_copy.h"
#include "proto/config.pb.h"
#include "tools/command.h"
#include "tools/plan/measure_rates.h"
#include "tools/plan/plan.h"

namespace tactus {
namespace {

constexpr size_t kMaxModelConfigBytes = size_t{1} << 20;

struct PlanFlags {
  std::string config, scratch = ".";
  std::optional<std::string> model_config, run;
  std::vector<std::string> set;
  std::optional<double> gpus, cores, learners, actors;
  std::optional<double> prompt_tokens, completion_tokens, link, peak_tflops, memory_gbs, mfu, disk;
  double gpu_memory_gib = 79;
  bool measure = false, json = false;

  void Declare(CLI::App& app) {
    AddRequired(app, "--config FILE", config, "the run's configuration");
    AddFlag(app, "--set FIELD=VALUE", set, "overrides one field");
    AddFlag(app, "--model-config FILE", model_config, "a config.json to take in place of the one in model.path");
    AddFlag(app, "--gpus N", gpus, "plan for so many GPUs", 1, 1024);
    AddFlag(app, "--cores N", cores, "plan for so many cores of one machine; default: this machine's", 1, 1024);
    AddFlag(app, "--learners N", learners, "so many learner ranks; default: what gives the shortest step", 1, 1024);
    AddFlag(app, "--actors N", actors, "so many actors; default: likewise", 1, 1024);
    AddFlag(app, "--prompt-tokens N", prompt_tokens, "mean length of a prompt", 1, 1e7);
    AddFlag(app, "--completion-tokens N", completion_tokens, "mean length of an answer", 1, 1e7);
    AddFlag(app, "--run DIR", run, "take lengths, and how many answers have a signal, from a run's steps");
    AddSwitch(app, "--measure", measure,
              "measure the rates of this machine's cores, with some steps of the run's own shapes");
    AddFlag(app, "--scratch DIR", scratch, "with --measure: where a file of 64 MiB is written and removed");
    AddFlag(app, "--link X", link, "GB/s between two processes, each way", 1e-6, 1e6);
    AddFlag(app, "--disk X", disk, "GB/s at which a checkpoint is written", 1e-6, 1e6);
    AddFlag(app, "--peak-tflops X", peak_tflops, "of one GPU, or of one core", 1e-6, 1e6);
    AddFlag(app, "--memory-gbs X", memory_gbs, "GB/s of its memory", 1e-3, 1e6);
    AddFlag(app, "--mfu X", mfu, "share of the peak that passes reach", 1e-4, 1);
    AddFlag(app, "--gpu-memory-gib X", gpu_memory_gib, "of one GPU", 1, 4096);
    AddSwitch(app, "--json", json, "print one JSON object");
  }
};

Given Flag(double value, const char* flag) { return {value, Known::kConfigured, flag}; }

void Override(const std::optional<double>& value, double unit, const char* flag, Given& given) {
  if (value.has_value()) given = Flag(*value * unit, flag);
}

// Whole numbers that may be absent.
std::optional<int> Whole(const std::optional<double>& value) {
  return value.has_value() ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
}

absl::StatusOr<PlanMachine> MachineOf(const PlanFlags& flags) {
  if (flags.gpus.has_value() && flags.cores.has_value()) {
    return absl::InvalidArgumentError("--gpus and --cores do not go together: expected one of them.");
  }
  if (flags.gpus.has_value()) {
    if (flags.measure)
      return absl::InvalidArgumentError("--measure looks at cores: expected --cores instead of --gpus.");
    return PlanMachine{.gpus = true,
                       .devices = static_cast<int>(*flags.gpus),
                       .gpu_bytes = static_cast<int64_t>(flags.gpu_memory_gib * (int64_t{1} << 30))};
  }
  return PlanMachine{.devices = Whole(flags.cores).value_or(OwnHostLimits().cpus)};
}

// Means over the steps of a run, without the first two of more than four.
absl::Status ReadRun(const std::string& path, PlanInputs& inputs) {
  ASSIGN_OR_RETURN(const std::vector<StepRecord> steps, ReadSteps(RunFolder{path}.metrics()));
  double answers = 0, trained = 0, prompts = 0;
  int count = 0;
  for (size_t i = steps.size() > 4 ? 2 : 0; i < steps.size(); ++i) {
    answers += steps[i].completion_tokens_mean;
    trained += steps[i].completion_tokens;
    prompts += steps[i].prompt_tokens;
    ++count;
  }
  if (count == 0 || !(answers > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has no steps to take lengths from: expected the folder of a run."));
  }
  const std::string from = absl::StrCat(path, ", ", count, " steps");
  inputs.answer_tokens = {answers / count, Known::kMeasured, from};
  inputs.trained_share = {trained / answers / (inputs.prompts.value * inputs.completions.value), Known::kMeasured,
                          from};
  if (trained > 0)
    inputs.prompt_tokens = {prompts / trained * inputs.answer_tokens.value * inputs.completions.value, Known::kMeasured,
                            from};
  return absl::OkStatus();
}

absl::Status ReadWork(const PlanFlags& flags, PlanInputs& inputs) {
  if (flags.run.has_value()) RETURN_IF_ERROR(ReadRun(*flags.run, inputs));
  Override(flags.prompt_tokens, 1, "--prompt-tokens", inputs.prompt_tokens);
  Override(flags.completion_tokens, 1, "--completion-tokens", inputs.answer_tokens);
  if (inputs.answer_tokens.value > inputs.longest_tokens.value) {
    return absl::InvalidArgumentError(absl::StrCat("--completion-tokens is ", inputs.answer_tokens.value,
                                                   ": expected at most rollout.max_completion_tokens, ",
                                                   inputs.longest_tokens.value, "."));
  }
  return absl::OkStatus();
}

DeviceFacts FactsOf(const PlanFlags& flags, bool gpus) {
  DeviceFacts facts = gpus ? DeviceFacts::OfGpu() : DeviceFacts::OfCore();
  Override(flags.peak_tflops, 1e12, "--peak-tflops", facts.flops);
  Override(flags.memory_gbs, 1e9, "--memory-gbs", facts.memory);
  Override(flags.mfu, 1, "--mfu", facts.flops_share);
  return facts;
}

// The split whose work is measured: the given one, or that of the first look.
absl::StatusOr<PlanSplit> MeasuredSplit(const PlanRequest& request, const ModelConfig& model) {
  ASSIGN_OR_RETURN(const Plan assumed, MakePlan(request, model));
  return assumed.best().split;
}

absl::StatusOr<ModelFolder> FolderOf(const config::RunConfig& run, const std::string& model_file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(model_file, kMaxModelConfigBytes));
  ModelFolder folder{.path = run.model().path(), .config = {}, .layout = {}};
  ASSIGN_OR_RETURN(folder.config, ParseModelConfig(text, "", model_file));
  folder.layout = MakeParameterLayout(folder.config);
  return folder;
}

absl::Status Run(const PlanFlags& flags) {
  ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(flags.config, flags.set));
  ASSIGN_OR_RETURN(const PlanMachine machine, MachineOf(flags));
  std::string model_file = flags.model_config.value_or("");
  if (model_file.empty()) {
    ASSIGN_OR_RETURN(model_file, LocalModelConfig(run.model().path()));
  }
  ASSIGN_OR_RETURN(const ModelFolder folder, FolderOf(run, model_file));
  PlanRequest request{.run = &run,
                      .model_file = model_file,
                      .machine = machine,
                      .inputs = InputsOf(run, folder.config),
                      .learners = Whole(flags.learners),
                      .actors = Whole(flags.actors)};
  RETURN_IF_ERROR(ReadWork(flags, request.inputs));
  const int learner_cores = machine.gpus ? 1 : LearnerCores(run, machine.devices, 1);
  AssumeRates(folder.config, FactsOf(flags, machine.gpus), machine.gpus ? 1 : ActorCores(run), learner_cores,
              run.learner().activation_checkpointing(), request.inputs);
  if (flags.measure) {
    ASSIGN_OR_RETURN(const PlanSplit split, MeasuredSplit(request, folder.config));
    RETURN_IF_ERROR(MeasureRates(run, folder, split, flags.scratch, request.inputs));
  }
  Override(flags.link, 1e9, "--link", request.inputs.link);
  Override(flags.disk, 1e9, "--disk", request.inputs.disk);
  ASSIGN_OR_RETURN(const Plan plan, MakePlan(request, folder.config));
  const std::string text = flags.json ? PlanJson(plan) : PlanText(plan);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return plan.memory.Check();
}

}  // namespace

constinit const Command kPlanCommand = {
    .name = "plan",
    .summary = "Predicts a run's memory, step time, traffic and checkpoints, and the best split of the devices",
    .synopsis =
        "--config FILE [--gpus N | --cores N] [--link GB/s] [--learners N] [--actors N] [--measure] [--run DIR] "
        "[--json]",
    .example =
        "tactus plan --config configs/quickstart.textproto --cores 2 --measure\n"
        "  tactus plan --config configs/qwen3_4b_countdown.textproto --gpus 8 --link 50 --completion-tokens 400 "
        "--model-config tests/goldens/model_configs/qwen3-4b-base/config.json",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
