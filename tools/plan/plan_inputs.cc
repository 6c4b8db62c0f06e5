#include "tools/plan/plan_inputs.h"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/dtype.h"
#include "common/config/storage_dtype.h"
#include "learner/train/trainer_options.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

using I = PlanInputs;

constexpr PlanInputField kFields[] = {
    {"prompts", "prompts a step", "", &I::prompts, kSampling | kPasses | kAnswers | kRounds},
    {"completions", "answers a prompt", "", &I::completions, kSampling | kPasses | kAnswers | kRounds},
    {"staleness", "staleness, steps", "", &I::staleness, kOverlap},
    {"updates", "updates a step", "", &I::updates, kExchange | kOptimizer | kRounds},
    {"prompt_tokens", "prompt, mean", "tokens", &I::prompt_tokens, kSampling | kPasses | kRounds},
    {"answer_tokens", "answer, mean", "tokens", &I::answer_tokens, kSampling | kPasses | kAnswers | kRounds},
    {"longest_tokens", "answer, longest", "tokens", &I::longest_tokens, kSampling},
    {"trained_share", "answers with a signal", "ratio", &I::trained_share, kPasses | kRounds},
    {"places", "places gone on from, an answer", "", &I::places, kSampling},
    {"continuations", "continuations of each", "", &I::continuations, kSampling},
    {"slots", "sequences at once, an actor", "", &I::slots, kSampling},
    {"micro_batch_tokens", "micro-batch", "tokens", &I::micro_batch_tokens, kRounds},
    {"checkpoint_steps", "steps between checkpoints", "", &I::checkpoint_steps, kEvery},
    {"streams", "groups trained on as they come", "", &I::streams, kOverlap},
    {"parameters", "parameters", "", &I::parameters, kSet},
    {"element_bytes", "bytes a weight", "bytes", &I::element_bytes, kSet},
    {"step_s", "engine step", "s", &I::step_s, kSampling},
    {"row_s", "and each sequence in it", "s", &I::row_s, kSampling},
    {"prefill_s", "a prompt's token", "s", &I::prefill_s, kSampling},
    {"train_s", "training, a token", "s", &I::train_s, kPasses},
    {"optimizer_s", "optimizer, all parameters", "s", &I::optimizer_s, kOptimizer},
    {"link", "link between processes", "bytes/s", &I::link, kLink},
    {"hash", "hashing", "bytes/s", &I::hash, kHash},
    {"copy", "copying aside", "bytes/s", &I::copy, kCopy},
    {"disk", "writing a checkpoint", "bytes/s", &I::disk, kDisk},
    {"sync_s", "a sync of the disk", "s", &I::sync_s, kCopy},
    {"delta_share", "a delta, of all weights", "ratio", &I::delta_share, kDelta},
};
static_assert(sizeof(PlanInputs) == sizeof(Given) * std::size(kFields), "each number of PlanInputs has one row");

Given Assumed(double value, std::string why) { return {value, Known::kAssumed, std::move(why)}; }

Given Field(double value, const char* field) { return {value, Known::kConfigured, field}; }

// As certain as the least certain of what it is computed from.
Given Computed(double value, std::initializer_list<const Given*> from, std::string how) {
  Known known = Known::kConfigured;
  for (const Given* given : from) known = std::max(known, given->known);
  return {value, known, std::move(how)};
}

double AttentionWidth(const ModelConfig& model) {
  return static_cast<double>(model.num_layers * model.num_heads * model.head_dim);
}

}  // namespace

const char* KnownName(Known known) {
  switch (known) {
    case Known::kConfigured:
      return "configured";
    case Known::kMeasured:
      return "measured";
    case Known::kAssumed:
      return "assumed";
  }
  std::abort();
}

std::span<const PlanInputField> PlanInputFields() { return kFields; }

// NVIDIA's data sheet of the H100 SXM: dense bfloat16, HBM3. TorchTitan reports 33 to 39 % of it for Llama 3.1 8B on 8
// of them (benchmarks/llama3_h100_202412_torchtitan.md).
DeviceFacts DeviceFacts::OfGpu() {
  return {.flops = Assumed(989e12, "an H100's data sheet; --peak-tflops"),
          .memory = Assumed(3.35e12, "an H100's data sheet; --memory-gbs"),
          .flops_share = Assumed(0.35, "what TorchTitan reports; --mfu"),
          .memory_share = Assumed(0.6, "no measurement"),
          .link = Assumed(50e9, "400 Gbit/s a GPU; --link"),
          .hash = Assumed(1.5e9, "a core with SHA instructions"),
          .copy = Assumed(20e9, "PCIe"),
          .disk = Assumed(1e9, "--disk"),
          .sync_s = Assumed(0.005, "a disk on a network")};
}

DeviceFacts DeviceFacts::OfCore() {
  return {.flops = Assumed(100e9, "a server's core, float32; --peak-tflops or --measure"),
          .memory = Assumed(10e9, "a server's core; --memory-gbs or --measure"),
          .flops_share = Assumed(0.6, "no measurement; --mfu or --measure"),
          .memory_share = Assumed(0.6, "no measurement; --measure"),
          .link = Assumed(1e9, "loopback; --link or --measure"),
          .hash = Assumed(0.5e9, "a core; --measure"),
          .copy = Assumed(5e9, "a core; --measure"),
          .disk = Assumed(0.3e9, "--disk or --measure"),
          .sync_s = Assumed(0.005, "--measure")};
}

double MatrixNumbers(const ModelConfig& model) {
  const auto h = static_cast<double>(model.hidden_size), i = static_cast<double>(model.intermediate_size);
  const auto q = static_cast<double>(model.num_heads * model.head_dim);
  const auto kv = static_cast<double>(model.num_kv_heads * model.head_dim);
  const double layer = h * (q + 2 * kv) + q * h + 3 * h * i;
  return static_cast<double>(model.num_layers) * layer + h * static_cast<double>(model.vocab_size);
}

PlanInputs InputsOf(const config::RunConfig& run, const ModelConfig& model) {
  const auto& rollout = run.rollout();
  const TrainerOptions trainer = TrainerOptions::FromProto(run);
  const double element = BytesPerElement(StorageDTypeOf(run.model().dtype()));
  const double leased = static_cast<double>(run.actor().max_leases()) * rollout.completions_per_prompt();
  PlanInputs inputs;
  inputs.prompts = Field(rollout.prompts_per_step(), "rollout.prompts_per_step");
  inputs.completions = Field(rollout.completions_per_prompt(), "rollout.completions_per_prompt");
  inputs.staleness = Field(rollout.max_staleness_steps(), "rollout.max_staleness_steps");
  inputs.updates = Field(run.algorithm().updates_per_batch(), "algorithm.updates_per_batch");
  inputs.prompt_tokens =
      Assumed(rollout.max_prompt_tokens(), "as rollout.max_prompt_tokens; --prompt-tokens, --measure or --run");
  inputs.answer_tokens =
      Assumed(rollout.max_completion_tokens(), "as rollout.max_completion_tokens; --completion-tokens or --run");
  inputs.longest_tokens = Field(rollout.max_completion_tokens(), "rollout.max_completion_tokens");
  inputs.trained_share = Assumed(1, "every group has a signal; --run");
  const bool continues = run.credit().strategy() == config::CreditOptions::VINE;
  inputs.places = Field(continues ? run.credit().vine_positions() : 0, "credit.vine_positions");
  inputs.continuations = Field(continues ? run.credit().vine_samples() : 0, "credit.vine_samples");
  inputs.slots = leased < run.actor().max_sequences()
                     ? Field(leased, "actor.max_leases, rollout.completions_per_prompt")
                     : Field(run.actor().max_sequences(), "actor.max_sequences");
  inputs.micro_batch_tokens = Field(run.learner().micro_batch_tokens(), "learner.micro_batch_tokens");
  inputs.checkpoint_steps = Field(run.checkpoint().every_steps(), "checkpoint.every_steps");
  inputs.streams = Field(trainer.streams() ? 1 : 0, "learner.stream");
  inputs.parameters = Field(static_cast<double>(MakeParameterLayout(model).total_numel), "config.json of the model");
  inputs.element_bytes = Field(element, "model.dtype");
  inputs.delta_share = element == sizeof(float) ? Field(0, "model.dtype: of float32 weights nearly all change")
                                                : Assumed(1.0 / 365, "SmolLM2-135M at a learning rate of 3e-6");
  return inputs;
}

void AssumeRates(const ModelConfig& model, const DeviceFacts& facts, int actor_devices, int learner_devices,
                 bool recompute, PlanInputs& inputs) {
  const double matrices = MatrixNumbers(model), width = AttentionWidth(model);
  const double prompt = inputs.prompt_tokens.value, answer = inputs.answer_tokens.value;
  const double element = inputs.element_bytes.value, parameters = inputs.parameters.value;
  const double flops = facts.flops.value * facts.flops_share.value;
  const double memory = facts.memory.value * facts.memory_share.value;
  const double context = prompt + answer / 2;  // of a row, in the mean
  const double kv_row = 2 * static_cast<double>(model.num_layers * model.num_kv_heads * model.head_dim) * element;
  const std::string compute =
      absl::StrFormat("%.3g of %.4g TFLOP/s (%s)", facts.flops_share.value, facts.flops.value / 1e12, facts.flops.from);
  const std::string read =
      absl::StrFormat("%.3g of %.4g GB/s (%s)", facts.memory_share.value, facts.memory.value / 1e9, facts.memory.from);
  const auto rate = [&](double value, const std::string& how) {
    return Computed(value, {&facts.flops, &facts.flops_share, &facts.memory, &facts.memory_share}, how);
  };
  inputs.step_s = rate(matrices * element / (memory * actor_devices), absl::StrCat("the weights read once at ", read));
  inputs.row_s =
      rate((2 * matrices + 4 * width * context) / (flops * actor_devices) + kv_row * context / (memory * actor_devices),
           absl::StrCat("keys and values read likewise, products at ", compute));
  inputs.prefill_s = rate((2 * matrices + 2 * width * prompt) / (flops * actor_devices), compute);
  // A forward pass, and a backward pass of twice as much; with checkpointing another forward pass. Of the keys before
  // it a row has half in the mean.
  const double passes = recompute ? 4 : 3;
  inputs.train_s = rate(passes * (2 * matrices + 2 * width * (prompt + answer)) / (flops * learner_devices), compute);
  // Masters, moments and gradients are read, masters, moments and weights written.
  inputs.optimizer_s = rate(parameters * (4 * 4 + 3 * 4 + element) / (memory * learner_devices),
                            absl::StrCat("28 bytes and a weight at ", read));
  inputs.link = facts.link;
  inputs.hash = facts.hash;
  inputs.copy = facts.copy;
  inputs.disk = facts.disk;
  inputs.sync_s = facts.sync_s;
}

}  // namespace tactus
