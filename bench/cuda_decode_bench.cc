// What decoding costs on a GPU: tokens a second by batch, what of the memory's bandwidth a single sequence gets, what
// measuring the rhythm adds, and what a change of weights holds up. Without a GPU it says so and measures nothing.
//
//   build/cuda/bin/cuda_decode_bench [MODEL] [--batches 1,8,64,128,256] [--context 1024] [--rounds 15]
//                                    [--dtype bfloat16] [--peak-gb-s 3350] [--gpu 0]
//
// MODEL: a folder with a config.json, tests/goldens/model_configs/qwen3-0.6b by default; where it has no weights they
// are drawn, as figures do not depend on them. Prints one JSON line per figure, medians with their range over the
// rounds.
//   step   one decode step with its draws; off_s without and on_s with the rhythm, in turn. bandwidth_share: of
//          --peak-gb-s (an H100 SXM has 3350), for the bytes of weights and cache that the step must read
//   swap   a set of weights staged by another thread while steps run: how long that takes, the longest step meanwhile,
//          and the swap itself
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "actor/engine/load_engine.h"
#include "bench/step_case.h"
#include "common/base/status_macros.h"
#include "common/config/flags.h"
#include "common/device/devices.h"
#include "common/model/folder/hf_folder.h"
#include "common/rhythm/rhythm.h"

namespace tactus {
namespace {

constexpr int kStepsPerRound = 20;
constexpr char kDefaultModel[] = "tests/goldens/model_configs/qwen3-0.6b";

struct BenchFlags {
  std::optional<std::string> model;
  std::string batches = "1,8,64,128,256", dtype = "bfloat16";
  int64_t context = 1024, rounds = 15;
  double peak_gb_s = 3350;
  int gpu = 0;

  void Declare(CLI::App& app) {
    AddArgument(app, model, "MODEL");
    AddFlag(app, "--batches LIST", batches, "sequences decoded at once");
    AddFlag(app, "--context N", context, "tokens in the cache", kBenchPrompt + 1, 1 << 20);
    AddFlag(app, "--rounds N", rounds, "of each", 3, 999);
    AddChoice(app, "--dtype TYPE", dtype, "of the weights", {"bfloat16", "float32"});
    AddFlag(app, "--peak-gb-s GB/S", peak_gb_s, "the memory's bandwidth by its data sheet", 1, 100000);
    AddFlag(app, "--gpu N", gpu, "which one", 0, 63);
  }
};

void Print(const nlohmann::json& line) {
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

// Bytes that a decode step reads at least: every weight but the embedding's other rows, and the sequences' keys and
// values.
double StepBytes(const ModelFolder& folder, StorageDType dtype, int64_t batch, int64_t context) {
  const ModelConfig& config = folder.config;
  const int64_t embedding = config.tie_word_embeddings ? 0 : config.vocab_size * config.hidden_size;
  const int64_t cache = batch * context * 2 * config.num_layers * config.num_kv_heads * config.head_dim;
  return static_cast<double>((folder.layout.total_numel - embedding + cache) * BytesPerElement(dtype));
}

absl::Status MeasureSteps(ModelRunner& runner, const ModelFolder& folder, const BenchFlags& flags, StorageDType dtype,
                          int64_t batch) {
  const int64_t context = flags.context;
  const RhythmOptions options;
  StepCase step(runner, options, context, batch);
  RETURN_IF_ERROR(step.Prefill(context));
  for (int i = 0; i < 3; ++i) {  // both shapes are recorded
    step.Step(false);
    step.Step(true);
  }
  std::vector<double> off_s, on_s, added;
  for (int64_t round = 0; round < flags.rounds; ++round) {
    off_s.push_back(SecondsOf([&] { step.Step(false); }, kStepsPerRound));
    on_s.push_back(SecondsOf([&] { step.Step(true); }, kStepsPerRound));
    added.push_back(on_s.back() / off_s.back() - 1);
  }
  std::vector<double> tokens, share;
  for (const double seconds : off_s) {
    tokens.push_back(static_cast<double>(batch) / seconds);
    share.push_back(StepBytes(folder, dtype, batch, context) / seconds / (1e9 * flags.peak_gb_s));
  }
  Print({{"what", "step"},
         {"batch", batch},
         {"context", context},
         {"off_s", Spread(off_s)},
         {"on_s", Spread(on_s)},
         {"added", Spread(added)},
         {"tokens_per_s", Spread(tokens)},
         {"bandwidth_share", Spread(share)}});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> Weights(const ModelFolder& folder) {
  std::vector<float> parameters(static_cast<size_t>(folder.layout.total_numel));
  if (HasWeights(folder.path)) {
    RETURN_IF_ERROR(LoadParameters(folder, parameters));
  } else {
    InitialiseParameters(folder.config, folder.layout, 1, parameters);
  }
  return parameters;
}

absl::Status MeasureSwap(ModelRunner& runner, std::vector<float> parameters, int64_t context, int64_t batch) {
  StepCase step(runner, RhythmOptions(), context, batch);
  RETURN_IF_ERROR(step.Prefill(context));
  std::vector<double> before, during;
  for (int i = 0; i < kStepsPerRound; ++i) before.push_back(SecondsOf([&] { step.Step(false); }, 1));
  std::atomic<bool> staged{false};
  absl::Status status;
  double stage_s = 0;
  std::thread staging([&] {
    stage_s = SecondsOf([&] { status = runner.StageWeights(std::move(parameters)); }, 1);
    staged = true;
  });
  while (!staged) during.push_back(SecondsOf([&] { step.Step(false); }, 1));
  staging.join();
  RETURN_IF_ERROR(status);
  const double swap_s = SecondsOf([&] { status = runner.UseStagedWeights(); }, 1);
  RETURN_IF_ERROR(status);
  const double first_s = SecondsOf([&] { step.Step(false); }, 1);
  Print({{"what", "swap"},
         {"batch", batch},
         {"stage_s", stage_s},
         {"swap_s", swap_s},
         {"step_before_s", Spread(before)},
         {"step_during_s", Spread(during)},
         {"first_step_after_s", first_s}});
  return absl::OkStatus();
}

absl::Status RunMain(const std::vector<std::string>& args) {
  BenchFlags flags;
  RETURN_IF_ERROR(ParseFlags([&flags](CLI::App& app) { flags.Declare(app); }, args));
  const GpuList gpus = ListGpus();
  const GpuInfo* const gpu = FindGpu(gpus, flags.gpu);
  if (gpu == nullptr) {
    std::printf("Nothing was measured: %s.\n",
                gpus.gpus.empty() ? gpus.why_none.c_str() : "this machine has no GPU of that index");
    return absl::OkStatus();
  }
  std::vector<int64_t> batches;
  for (const auto text : absl::StrSplit(flags.batches, ',')) {
    if (!absl::SimpleAtoi(text, &batches.emplace_back()) || batches.back() < 1) {
      return absl::InvalidArgumentError("--batches: expected numbers from 1 on, separated by commas.");
    }
  }
  const std::string path = flags.model.value_or(kDefaultModel);
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(path, WeightsExpected::kOptional));
  ASSIGN_OR_RETURN(std::vector<float> parameters, Weights(folder));
  const StorageDType dtype = flags.dtype == "float32" ? StorageDType::kFloat32 : StorageDType::kBFloat16;
  const int64_t context = flags.context, most = *std::max_element(batches.begin(), batches.end());
  Print({{"what", "machine"}, {"gpu", GpuText(*gpu)}, {"model", folder.path}, {"dtype", flags.dtype}});
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelRunner> runner,
                   CreateModelRunner(folder, {.weights_dtype = dtype,
                                              .load_weights = false,
                                              .kv_cache_mib = 1 << 20,
                                              .max_pages = most * (context / kPageTokens + 1),
                                              .device = {.gpu = gpu->index},
                                              .max_sequences = most,
                                              .max_sequence_tokens = context + 1}));
  RETURN_IF_ERROR(runner->SetWeights(parameters));
  for (const int64_t batch : batches) RETURN_IF_ERROR(MeasureSteps(*runner, folder, flags, dtype, batch));
  return MeasureSwap(*runner, std::move(parameters), context, most);
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::RunMain(std::vector<std::string>(argv + 1, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "cuda_decode_bench: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
