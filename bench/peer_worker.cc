// Our side of bench/peers/compare.py: does the workload's job once for each line "run" on standard input.
//
//   build/release/bin/peer_worker generate MODEL WORKLOAD [--threads 2] [--dtype float32|bfloat16]
//   build/release/bin/peer_worker update   MODEL WORKLOAD [--threads 2]
//
// generate: all prompts at once through the actor's engine: prefill, decode, sampling at temperature 1, records
// included. update: one GRPO step on the given completions in groups of 8: forward, loss, backward, clipping, AdamW,
// repacking.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "actor/engine/load_engine.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/collective/collective.h"
#include "common/config/flags.h"
#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"
#include "learner/train/lm_policy_cpu.h"
#include "learner/train/trainer.h"
#include "tools/batch/run_requests.h"

namespace tactus {
namespace {

constexpr size_t kGroup = 8;

struct WorkerFlags {
  std::vector<std::string> arguments;
  int threads = 2, logprob_chunk = 256;
  std::string dtype = "float32";

  void Declare(CLI::App& app) {
    AddArgument(app, arguments, "JOB MODEL WORKLOAD");
    AddFlag(app, "--threads N", threads, "CPU threads", 1, 64);
    AddFlag(app, "--logprob-chunk N", logprob_chunk, "rows of logits that exist at once in an update", 1, 1000000);
    AddChoice(app, "--dtype DTYPE", dtype, "of the weights", {"float32", "bfloat16"});
  }
};

struct Workload {
  std::vector<std::vector<TokenId>> prompts, completions;
  int new_tokens = 0;
};

absl::StatusOr<Workload> ReadWorkload(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const nlohmann::json json = nlohmann::json::parse(text);
  return Workload{.prompts = json["prompts"], .completions = json["completions"], .new_tokens = json["new_tokens"]};
}

double PeakRssMb() {
  struct rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Answers every "run" with the time of one call; `run` gives the number of tokens.
absl::Status Serve(const nlohmann::json& about, const std::function<absl::StatusOr<int64_t>()>& run) {
  std::cout << nlohmann::json{{"ready", about}}.dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const int64_t tokens, run());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::cout << nlohmann::json{{"seconds", seconds}, {"tokens", tokens}, {"peak_rss_mb", PeakRssMb()}}.dump()
              << std::endl;
  }
  return absl::OkStatus();
}

absl::Status Generate(const ModelFolder& folder, const Workload& work, StorageDType dtype,
                      const nlohmann::json& about) {
  const int sequences = static_cast<int>(work.prompts.size());
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   LoadEngine(folder, {.weights_dtype = dtype,
                                       .engine = {.max_sequences = sequences, .max_waiting_groups = sequences},
                                       .kv_cache_mib = 512,
                                       .max_sequence_tokens = 1024}));
  uint64_t round = 0;
  return Serve(about, [&]() -> absl::StatusOr<int64_t> {
    ++round;
    size_t next = 0;
    int64_t tokens = 0;
    RETURN_IF_ERROR(RunRequests(
        *engine,
        [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
          if (next == work.prompts.size()) return std::optional<EngineRequest>();
          EngineRequest request;
          request.request_id = request.prompt_id = next;
          request.seed = round;
          request.prompt_ids = work.prompts[next++];
          request.max_tokens = work.new_tokens;
          return std::optional<EngineRequest>(std::move(request));
        },
        [&](FinishedCompletion done) {
          tokens += static_cast<int64_t>(done.completion.token_ids.size());
          return absl::OkStatus();
        }));
    return tokens;
  });
}

// Alternating rewards, as the peer's worker gives; behaviour log-probs of an equally likely policy.
std::vector<TrajectoryGroup> Groups(const Workload& work) {
  std::vector<TrajectoryGroup> groups(work.completions.size() / kGroup);
  for (size_t i = 0; i < groups.size() * kGroup; ++i) {
    TrajectoryGroup& group = groups[i / kGroup];
    group.prompt_id = i / kGroup;
    group.prompt_token_ids = work.prompts[i / kGroup * kGroup];
    Completion& completion = group.completions.emplace_back();
    const size_t tokens = work.completions[i].size();
    completion.token_ids = work.completions[i];
    completion.logprobs.assign(tokens, -2.0f);
    completion.entropy.assign(tokens, 1.0f);
    completion.credit.assign(tokens, 1.0f);
    completion.versions = {{0, {}}};
    completion.reward.total = static_cast<double>(i % 2);
  }
  return groups;
}

absl::Status Update(const ModelFolder& folder, const Workload& work, StorageDType dtype, int logprob_chunk,
                    const nlohmann::json& about) {
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> model, DecoderWeightsCpu::FromFolder(folder, dtype));
  ASSIGN_OR_RETURN(const std::unique_ptr<Collective> alone, CreateCollective({}));
  TrainerOptions options;
  options.micro_batch_tokens = 2048;
  options.schedule.lr = 1e-6;
  ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                   Trainer::Create(options, MakeLmPolicyCpu(std::move(model), {.logprob_chunk_tokens = logprob_chunk}),
                                   nullptr, *alone));
  const std::vector<TrajectoryGroup> groups = Groups(work);
  return Serve(about, [&]() -> absl::StatusOr<int64_t> {
    ASSIGN_OR_RETURN(const StepRecord stats, trainer->TrainStep(groups, {}));
    return static_cast<int64_t>(stats.completion_tokens);
  });
}

absl::Status RunMain(const std::vector<std::string>& args) {
  WorkerFlags flags;
  RETURN_IF_ERROR(ParseFlags([&flags](CLI::App& app) { flags.Declare(app); }, args));
  if (flags.arguments.size() != 3) return absl::InvalidArgumentError("expected JOB MODEL WORKLOAD.");
  ops::SetThreads(flags.threads);
  const StorageDType dtype = flags.dtype == "bfloat16" ? StorageDType::kBFloat16 : StorageDType::kFloat32;
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(flags.arguments[1]));
  ASSIGN_OR_RETURN(const Workload work, ReadWorkload(flags.arguments[2]));
  const std::string& job = flags.arguments[0];
  const nlohmann::json about = {
      {"what", "tactus " + job},
      {"dtype", dtype == StorageDType::kBFloat16 ? "float32 master weights, bfloat16 products, float32 sums"
                                                 : "float32 weights, float32 arithmetic"},
      {"kernels", ops::ActiveKernels().name},
      {"threads", flags.threads}};
  return job == "update" ? Update(folder, work, dtype, flags.logprob_chunk, about)
                         : Generate(folder, work, dtype, about);
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::RunMain(std::vector<std::string>(argv + 1, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "peer_worker: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
