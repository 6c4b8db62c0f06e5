#include "tools/plan/measure_rates.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actor/run_engine.h"
#include "common/base/file.h"
#include "common/base/hashed_file.h"
#include "common/base/listen_socket.h"
#include "common/base/monotonic_clock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"
#include "common/collective/collective.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "common/ops/cpu/parallel.h"
#include "learner/prompt_source.h"
#include "learner/train/create_policy.h"
#include "learner/train/trainer.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

constexpr int kDecodeSteps = 12, kPrefills = 5, kFewPrompts = 32;
constexpr double kMeasuredS = 2;  // rounds of a small model go on so long
constexpr int kMostRounds = 16;
constexpr size_t kCopiedBytes = size_t{64} << 20, kWrittenBytes = size_t{64} << 20, kSummedFloats = size_t{4} << 20;
constexpr size_t kSmallBytes = 4096;
constexpr int kSyncs = 8;

// What a long run adds up, other work of the machine included.
class Mean {
 public:
  void Add(double value) { sum_ += value, ++count_; }
  double value() const { return sum_ / std::max(1, count_); }

 private:
  double sum_ = 0;
  int count_ = 0;
};

template <typename F>
absl::StatusOr<double> SecondsOf(F&& run) {
  const absl::Time start = MonotonicNow();
  RETURN_IF_ERROR(run());
  return SecondsSince(start);
}

// Calls `run(i)` for each i < count at once, where `run` computes on its own thread alone; else for 0 only: the
// process's worker threads are one pool. The results of those that ran.
template <typename T>
absl::StatusOr<std::vector<T>> AtOnce(int count, std::function<absl::StatusOr<T>(int)> run) {
  if (ops::Threads() > 1) count = 1;
  std::vector<absl::StatusOr<T>> results(static_cast<size_t>(count), absl::UnknownError("did not run"));
  std::vector<std::thread> threads;
  absl::Status started;
  for (int i = 0; i < count && started.ok(); ++i) {
    absl::StatusOr<std::thread> thread = StartThread("measuring", [&, i] { results[static_cast<size_t>(i)] = run(i); });
    started = thread.status();
    if (thread.ok()) threads.push_back(*std::move(thread));
  }
  for (std::thread& thread : threads) thread.join();
  RETURN_IF_ERROR(started);
  std::vector<T> values;
  for (absl::StatusOr<T>& result : results) {
    RETURN_IF_ERROR(result.status());
    values.push_back(*std::move(result));
  }
  return values;
}

std::string Told(absl::string_view what, size_t at_once) {
  return absl::StrCat("here, ", what, at_once > 1 ? absl::StrCat(", ", at_once, " at once") : "");
}

Given Measured(double value, std::string from) { return {value, Known::kMeasured, std::move(from)}; }

std::vector<TokenId> MadeUpTokens(size_t count, const ModelConfig& model, uint64_t salt) {
  std::vector<TokenId> ids(count);
  for (size_t i = 0; i < count; ++i) {
    ids[i] = static_cast<TokenId>((i * 7919 + salt * 104'729) % static_cast<size_t>(model.vocab_size));
  }
  return ids;
}

// ---- Sampling

struct EngineRates {
  double step_s = 0, row_s = 0, prefill_s = 0;
};

// An engine with requests of made-up prompts.
class Sampler {
 public:
  Sampler(std::unique_ptr<Engine> engine, bool measures) : engine_(std::move(engine)), measures_(measures) {}

  absl::Status Add(int completions, size_t prompt_tokens, int max_tokens) {
    EngineRequest request;
    request.request_id = request.prompt_id = next_++;
    request.prompt_ids = MadeUpTokens(prompt_tokens, engine_->config(), next_);
    request.num_completions = completions;
    request.max_tokens = max_tokens;
    request.measure_rhythm = measures_;
    return engine_->Add(std::move(request));
  }

  absl::StatusOr<double> Step() {
    return SecondsOf([&] { return engine_->Step().status(); });
  }

  absl::Status Drain() {
    while (!engine_->idle()) RETURN_IF_ERROR(engine_->Step().status());
    return absl::OkStatus();
  }

  // Steps with so many sequences, of which each has read `context` tokens.
  absl::Status DecodeSteps(int sequences, int group, size_t context, int most_step_tokens, Mean& seconds) {
    const int groups = (sequences + group - 1) / group;
    const int before = static_cast<int>(context) * groups / most_step_tokens + 3;  // until all prompts are read
    for (int left = sequences; left > 0; left -= group) {
      RETURN_IF_ERROR(Add(std::min(left, group), context, before + kDecodeSteps + 1));
    }
    for (int i = 0; i < before; ++i) RETURN_IF_ERROR(Step().status());
    for (int i = 0; i < kDecodeSteps; ++i) {
      ASSIGN_OR_RETURN(const double took, Step());
      seconds.Add(took);
    }
    return Drain();
  }

  // The step that reads so many prompts.
  absl::StatusOr<double> PrefillStep(int prompts, size_t tokens) {
    Mean seconds;
    for (int round = 0; round < kPrefills; ++round) {
      for (int i = 0; i < prompts; ++i) RETURN_IF_ERROR(Add(1, tokens, 1));
      ASSIGN_OR_RETURN(const double took, Step());
      seconds.Add(took);
      RETURN_IF_ERROR(Drain());
    }
    return seconds.value();
  }

 private:
  const std::unique_ptr<Engine> engine_;
  const bool measures_;
  uint64_t next_ = 1;
};

absl::StatusOr<std::unique_ptr<Engine>> EngineWithWeights(const config::RunConfig& run, const ModelFolder& folder,
                                                          const CreditAssigner& credit) {
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, MakeRunEngine(run, folder, credit, Device{}));
  std::vector<float> flat(static_cast<size_t>(folder.layout.total_numel));
  RETURN_IF_ERROR(FillParameters(folder, run.seed(), flat));
  RETURN_IF_ERROR(engine->SwapWeights({}, flat));
  return engine;
}

absl::StatusOr<EngineRates> MeasureEngine(const config::RunConfig& run, const ModelFolder& folder,
                                          const CreditAssigner& credit, const PlanInputs& inputs, int sequences) {
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, EngineWithWeights(run, folder, credit));
  Sampler sampler(std::move(engine), credit.MeasuresAttention());
  const int group = static_cast<int>(inputs.completions.value), most = run.actor().max_step_tokens();
  const auto context = static_cast<size_t>(inputs.prompt_tokens.value + inputs.answer_tokens.value / 2);
  const int few = std::max(1, sequences / 4);
  Mean full, part;
  const absl::Time start = MonotonicNow();
  for (int round = 0; round < kMostRounds && (round == 0 || SecondsSince(start) < kMeasuredS); ++round) {
    RETURN_IF_ERROR(sampler.DecodeSteps(sequences, group, context, most, full));
    RETURN_IF_ERROR(sampler.DecodeSteps(few, group, context, most, part));
  }
  EngineRates rates;
  // A step of none costs no less than nothing, and one of many no less than one of few.
  if (few < sequences) {
    const double most_row_s = full.value() / sequences;
    rates.row_s = std::clamp((full.value() - part.value()) / (sequences - few), 0.0, most_row_s);
  }
  rates.step_s = full.value() - sequences * rates.row_s;
  const auto tokens = static_cast<size_t>(std::max(1.0, inputs.prompt_tokens.value));
  const int room = std::max(1, most / static_cast<int>(tokens));
  const int prompts = std::min({std::max(1, sequences / group), room, run.actor().max_leases()});
  ASSIGN_OR_RETURN(const double prefill, sampler.PrefillStep(prompts, tokens));
  rates.prefill_s = std::max(0.0, (prefill - rates.step_s) / static_cast<double>(prompts * tokens));
  return rates;
}

absl::Status MeasureSampling(const config::RunConfig& run, const ModelFolder& folder, const PlanSplit& split,
                             PlanInputs& inputs) {
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(run.credit()));
  ops::SetThreads(split.actor_devices);
  const double groups = std::ceil(inputs.prompts.value / split.actors);
  const int sequences = static_cast<int>(std::min(inputs.slots.value, groups * inputs.completions.value));
  ASSIGN_OR_RETURN(const std::vector<EngineRates> all,
                   AtOnce<EngineRates>(std::min(split.actors, split.devices),
                                       [&](int) { return MeasureEngine(run, folder, credit, inputs, sequences); }));
  EngineRates sum;
  for (const EngineRates& one : all) {
    sum.step_s += one.step_s, sum.row_s += one.row_s, sum.prefill_s += one.prefill_s;
  }
  const auto count = static_cast<double>(all.size());
  const std::string how = Told(absl::StrCat("steps with ", sequences, " sequences and with a quarter"), all.size());
  inputs.step_s = Measured(sum.step_s / count, how);
  inputs.row_s = Measured(sum.row_s / count, how);
  inputs.prefill_s = Measured(sum.prefill_s / count, Told("a step that reads prompts", all.size()));
  return absl::OkStatus();
}

// ---- Training

// Groups whose answers differ in reward, of about one micro-batch.
std::vector<TrajectoryGroup> MadeUpGroups(const PlanInputs& inputs, const ModelConfig& model) {
  const auto prompt = static_cast<size_t>(std::max(1.0, inputs.prompt_tokens.value));
  const auto answer = static_cast<size_t>(std::max(1.0, inputs.answer_tokens.value));
  const auto completions = static_cast<size_t>(std::max(2.0, inputs.completions.value));
  const double fit = inputs.micro_batch_tokens.value / static_cast<double>(completions * answer + prompt);
  std::vector<TrajectoryGroup> groups(static_cast<size_t>(std::clamp(fit, 1.0, inputs.prompts.value)));
  for (size_t g = 0; g < groups.size(); ++g) {
    groups[g].prompt_id = g;
    groups[g].prompt_token_ids = MadeUpTokens(prompt, model, g);
    for (size_t c = 0; c < completions; ++c) {
      Completion& completion = groups[g].completions.emplace_back();
      completion.token_ids = MadeUpTokens(answer, model, 1000 * g + c);
      completion.logprobs.assign(answer, -2.0F);
      completion.entropy.assign(answer, 1.0F);
      completion.credit.assign(answer, 1.0F);
      completion.versions = {{0, {}}};
      completion.reward.total = static_cast<double>(c % 2);
    }
  }
  return groups;
}

struct TrainerRates {
  double token_s = 0, optimizer_s = 0;
};

absl::StatusOr<TrainerRates> MeasureTrainer(const config::RunConfig& run, const ModelFolder& folder,
                                            const std::vector<TrajectoryGroup>& groups) {
  PolicyOptions policy = PolicyOptions::FromProto(run);
  policy.seed = run.seed();
  ASSIGN_OR_RETURN(const std::unique_ptr<Collective> alone, CreateCollective({}));
  TrainerOptions options = TrainerOptions::FromProto(run);
  options.updates_per_batch = 1;
  options.shaping.kl_beta = 0;
  ASSIGN_OR_RETURN(std::unique_ptr<TrainablePolicy> trained, CreatePolicy(folder, policy));
  std::unique_ptr<TrainablePolicy> reference;
  if (options.needs_reference()) {
    ASSIGN_OR_RETURN(reference, CreatePolicy(folder, policy));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                   Trainer::Create(options, std::move(trained), std::move(reference), *alone));
  Mean token_s, optimizer_s;
  const absl::Time start = MonotonicNow();
  for (int round = 0; round < kMostRounds && (round < 3 || SecondsSince(start) < kMeasuredS); ++round) {
    ASSIGN_OR_RETURN(const StepRecord stats, trainer->TrainStep(groups, {}));
    if (round == 0) continue;  // touches its memory for the first time
    const double tokens = stats.completion_tokens + stats.prompt_tokens;
    token_s.Add((stats.phase_forward_s + stats.phase_backward_s) / tokens);
    optimizer_s.Add(stats.phase_optimizer_s);
  }
  return TrainerRates{token_s.value(), optimizer_s.value()};
}

absl::Status MeasureTraining(const config::RunConfig& run, const ModelFolder& folder, const PlanSplit& split,
                             PlanInputs& inputs) {
  ops::SetThreads(split.learner_devices);
  const std::vector<TrajectoryGroup> groups = MadeUpGroups(inputs, folder.config);
  ASSIGN_OR_RETURN(const std::vector<TrainerRates> all,
                   AtOnce<TrainerRates>(std::min(split.learners, split.devices),
                                        [&](int) { return MeasureTrainer(run, folder, groups); }));
  TrainerRates sum;
  for (const TrainerRates& one : all) sum.token_s += one.token_s, sum.optimizer_s += one.optimizer_s;
  const auto count = static_cast<double>(all.size());
  inputs.train_s = Measured(sum.token_s / count, Told("a micro-batch", all.size()));
  inputs.optimizer_s = Measured(sum.optimizer_s / count, Told("an optimizer step", all.size()));
  return absl::OkStatus();
}

// ---- The rest of the machine

// Bytes a second of an all-reduce of two ranks, each way.
absl::StatusOr<double> MeasureLink() {
  ASSIGN_OR_RETURN(const int port, FreePort());
  ops::SetThreads(1);
  ASSIGN_OR_RETURN(const std::vector<double> seconds, AtOnce<double>(2, [port](int rank) -> absl::StatusOr<double> {
                     ASSIGN_OR_RETURN(const std::unique_ptr<Collective> ranks,
                                      CreateCollective({.rank = rank, .world = 2, .store_port = port}));
                     std::vector<float> values(kSummedFloats, 1.0F);
                     RETURN_IF_ERROR(ranks->AllReduceSum(std::span<float>(values)));
                     const absl::Time start = MonotonicNow();
                     RETURN_IF_ERROR(ranks->AllReduceSum(std::span<float>(values)));
                     const double took = SecondsSince(start);
                     RETURN_IF_ERROR(ranks->Barrier());
                     return took;
                   }));
  return sizeof(float) * static_cast<double>(kSummedFloats) / std::max(seconds[0], seconds[1]);
}

absl::Status MeasureMachine(const std::string& scratch, PlanInputs& inputs) {
  ASSIGN_OR_RETURN(const double link, MeasureLink());
  inputs.link = Measured(link, "here, two ranks that add up 16 MiB over loopback");
  std::vector<char> from(kCopiedBytes, 'a'), to(kCopiedBytes, 'b');
  ASSIGN_OR_RETURN(const double copied, SecondsOf([&] {
                     std::memcpy(to.data(), from.data(), to.size());
                     return absl::OkStatus();
                   }));
  inputs.copy = Measured(static_cast<double>(kCopiedBytes) / copied, "here, 64 MiB on a core");
  ASSIGN_OR_RETURN(
      const double hashed, SecondsOf([&] {
        return DigestOf({to.data(), to.size()}).bytes == 0 ? absl::InternalError("no digest") : absl::OkStatus();
      }));
  inputs.hash = Measured(static_cast<double>(kCopiedBytes) / hashed, "here, 64 MiB on a core");
  const auto write = [&, path = absl::StrCat(scratch, "/.tactus-plan.tmp")](size_t bytes) -> absl::StatusOr<double> {
    const absl::StatusOr<double> took = SecondsOf([&]() -> absl::Status {
      ASSIGN_OR_RETURN(HashedFile file, HashedFile::Create(path));
      RETURN_IF_ERROR(file.Write({to.data(), bytes}));
      return file.Close().status();
    });
    RETURN_IF_ERROR(RemoveFile(path));
    return took;
  };
  ASSIGN_OR_RETURN(const double written, write(kWrittenBytes));
  inputs.disk = Measured(static_cast<double>(kWrittenBytes) / written,
                         absl::StrCat("here, 64 MiB hashed, written and synced in ", scratch));
  Mean synced;
  for (int i = 0; i < kSyncs; ++i) {
    ASSIGN_OR_RETURN(const double took, write(kSmallBytes));
    synced.Add(took);
  }
  inputs.sync_s = Measured(synced.value(), absl::StrCat("here, 4 KiB likewise, ", kSyncs, " times"));
  return absl::OkStatus();
}

// The data's own prompts, where they can be read.
absl::Status MeasurePrompts(const config::RunConfig& run, const ModelFolder& folder, PlanInputs& inputs) {
  if (config::EnvironmentJudges(run.task()) || !Exists(absl::StrCat(folder.path, "/tokenizer.json"))) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptSource> prompts, PromptSource::Create(run, folder.config.vocab_size));
  const int count = std::min(kFewPrompts, run.rollout().prompts_per_step());
  double tokens = 0;
  for (int i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const Prompt prompt, prompts->At(static_cast<uint64_t>(i)));
    tokens += static_cast<double>(prompt.token_ids.size());
  }
  inputs.prompt_tokens = Measured(tokens / count, absl::StrCat("the first ", count, " prompts"));
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureRates(const config::RunConfig& run, const ModelFolder& folder, const PlanSplit& split,
                          const std::string& scratch, PlanInputs& inputs) {
  if (inputs.prompt_tokens.known == Known::kAssumed) RETURN_IF_ERROR(MeasurePrompts(run, folder, inputs));
  RETURN_IF_ERROR(MeasureSampling(run, folder, split, inputs));
  RETURN_IF_ERROR(MeasureTraining(run, folder, split, inputs));
  return MeasureMachine(scratch, inputs);
}

}  // namespace tactus
