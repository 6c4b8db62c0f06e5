// Where the time of a decode step and of an update goes on this CPU, part by part, beside the roof of each part.
//
//   build/release/bin/cpu_profile_bench [--threads 2] [--dtype float32] [--parts products,decode,update] [--rounds 9]
//
// With --threads 1 times are those in which the thread had a core, so that a machine that others use too tells what the
// kernels take; with more they are by the clock, with all waiting.
// Prints JSON lines, seconds as medians with their range over the rounds; bench/profile/tables.py calls it and makes
// the tables of docs/PERFORMANCE.md. Models have random weights of two published shapes:
//   products   every product of SmolLM2-135M and Qwen3-0.6B alone, weights from memory and from the cache
//   decode     steps of SmolLM2-135M's shape (--shape quickstart: of models/quickstart), --batches sequences at
//              --contexts tokens
//   update     one GRPO micro-batch of that shape, up to the new weights
// The roofs (read rate of memory and cache, multiply-adds) are measured before every round; the line "roofs" is of all.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/profile/passes.h"
#include "bench/profile/products.h"
#include "common/base/status_macros.h"
#include "common/config/flags.h"
#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

struct ProfileFlags {
  int threads = 2, rounds = 9;
  int64_t cache_mib = 7168;
  std::string dtype = "float32", parts = "products,decode,update", shape = "smollm2";
  std::string batches = "1,8,32,64", contexts = "64,512,4096";

  void Declare(CLI::App& app) {
    AddFlag(app, "--threads N", threads, "CPU threads", 1, 64);
    AddFlag(app, "--rounds N", rounds, "of each figure; the median is told", 1, 1000);
    AddFlag(app, "--cache-mib N", cache_mib, "steps whose keys and values take more are left out", 1, 1 << 20);
    AddFlag(app, "--parts LIST", parts, "products, decode, update, separated by commas");
    AddFlag(app, "--batches LIST", batches, "sequences of a decode step, separated by commas");
    AddFlag(app, "--contexts LIST", contexts, "tokens each of them has, separated by commas");
    AddChoice(app, "--shape SHAPE", shape, "of steps and updates", {"smollm2", "quickstart"});
    AddChoice(app, "--dtype DTYPE", dtype, "of the weights", {"float32", "bfloat16"});
  }
};

absl::StatusOr<std::vector<int64_t>> NumbersOf(absl::string_view flag, const std::string& list) {
  std::vector<int64_t> numbers;
  for (const absl::string_view text : absl::StrSplit(list, ',')) {
    if (!absl::SimpleAtoi(text, &numbers.emplace_back()) || numbers.back() < 1 || numbers.back() > 1 << 20) {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": expected numbers above 0, separated by commas."));
    }
  }
  return numbers;
}

absl::StatusOr<std::unique_ptr<DecoderWeightsCpu>> RandomWeights(const ModelConfig& config, StorageDType dtype) {
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> weights, DecoderWeightsCpu::Create(config, dtype));
  FillUniform(weights->flat(), 0.035f, 11);
  for (const ParameterSpec& spec : weights->layout().specs) {
    if (spec.shape.size() > 1) continue;  // norms
    for (float& value : weights->flat().subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel)))
      value = 1;
  }
  weights->Pack();
  return weights;
}

absl::Status Passes(const ProfileFlags& flags, StorageDType dtype, bool decode, bool update, RoofSamples& roofs) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> batches, NumbersOf("--batches", flags.batches));
  ASSIGN_OR_RETURN(const std::vector<int64_t> contexts, NumbersOf("--contexts", flags.contexts));
  const ModelConfig config = flags.shape == "smollm2" ? SmolLm2Shape() : QuickStartShape();
  if (*std::max_element(contexts.begin(), contexts.end()) >= config.max_position) {
    return absl::InvalidArgumentError(absl::StrCat("--contexts: expected numbers below ", config.max_position, "."));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<DecoderWeightsCpu> weights, RandomWeights(config, dtype));
  const nlohmann::json about = {{"shape", flags.shape}, {"dtype", flags.dtype}, {"threads", ops::Threads()}};
  for (const int64_t batch : batches) {
    for (const int64_t context : contexts) {
      const int64_t pages = batch * ((context + kPageTokens) / kPageTokens);
      const int64_t mib = ops::KvPageBytes(AttentionShapeOf(config), dtype, config.num_layers) * pages >> 20;
      if (decode && mib <= flags.cache_mib) ProfileDecode(*weights, batch, context, about, flags.rounds, roofs);
    }
  }
  if (update) ProfileUpdate(*weights, about, flags.rounds, roofs);
  return absl::OkStatus();
}

absl::Status RunMain(const std::vector<std::string>& args) {
  ProfileFlags flags;
  RETURN_IF_ERROR(ParseFlags([&flags](CLI::App& app) { flags.Declare(app); }, args));
  bool products = false, decode = false, update = false;
  for (const absl::string_view part : absl::StrSplit(flags.parts, ',')) {
    products |= part == "products";
    decode |= part == "decode";
    update |= part == "update";
    if (part != "products" && part != "decode" && part != "update") {
      return absl::InvalidArgumentError("--parts: expected products, decode, update, separated by commas.");
    }
  }
  ops::SetThreads(flags.threads);
  ops::MeasureParallel();
  const StorageDType dtype = flags.dtype == "bfloat16" ? StorageDType::kBFloat16 : StorageDType::kFloat32;
  Print({{"part", "about"},
         {"kernels", ops::ActiveKernels().name},
         {"dtype", flags.dtype},
         {"threads", ops::Threads()},
         {"rounds", flags.rounds}});
  RoofSamples roofs(dtype);
  roofs.Measure();
  if (products) {
    ProfileProducts("SmolLM2-135M", SmolLm2Shape(), dtype, flags.rounds, roofs);
    ProfileProducts("Qwen3-0.6B", Qwen3Shape(), dtype, flags.rounds, roofs);
  }
  if (decode || update) RETURN_IF_ERROR(Passes(flags, dtype, decode, update, roofs));
  Print(roofs.Line());
  return absl::OkStatus();
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::RunMain(std::vector<std::string>(argv + 1, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "cpu_profile_bench: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
