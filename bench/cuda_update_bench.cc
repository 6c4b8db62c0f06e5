// How fast a learner's update is on a GPU: forward, backward and optimizer step of a policy with random weights, in
// tokens a second and as a share of what this GPU reaches in a large bfloat16 product in the same run (MFU).
//
//   cuda_update_bench [--layers 28 --hidden 1536 ...]   one JSON line a repetition, then their median
//
// Operations of a token, as usual: 6 per parameter of a matrix (forward 2, backward 4), and 12 L Hq D t / 2 of causal
// attention over t tokens on average; recomputation by activation checkpointing is not counted.
// Without a GPU it says so in one sentence and ends with 0.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/flags.h"
#include "common/device/devices.h"
#include "common/device/runtime_cuda.h"
#include "common/model/folder/hf_folder.h"
#include "common/ops/cuda/gemm_cuda.h"
#include "learner/train/lm_policy_cuda.h"

namespace tactus {
namespace {

struct BenchFlags {
  int64_t layers = 28, hidden = 1536, intermediate = 8960, heads = 12, kv_heads = 2, vocab = 151936;
  int64_t sequences = 8, tokens = 2048, micro_batches = 4, repeat = 5;
  int chunk = 2048;
  bool checkpointing = false;

  void Declare(CLI::App& app) {
    AddFlag(app, "--layers L", layers, "decoder layers", 1, 200);
    AddFlag(app, "--hidden H", hidden, "hidden size", 64, 16384);
    AddFlag(app, "--intermediate I", intermediate, "size inside the MLP", 64, 65536);
    AddFlag(app, "--heads N", heads, "query heads of 128", 1, 256);
    AddFlag(app, "--kv-heads N", kv_heads, "key/value heads", 1, 256);
    AddFlag(app, "--vocab V", vocab, "vocabulary", 64, 1000000);
    AddFlag(app, "--sequences N", sequences, "sequences of a micro-batch", 1, 4096);
    AddFlag(app, "--tokens T", tokens, "tokens of a sequence", 2, 131072);
    AddFlag(app, "--micro-batches N", micro_batches, "micro-batches of an update", 1, 1024);
    AddFlag(app, "--chunk C", chunk, "rows of logits at once", 1, 65536);
    AddFlag(app, "--repeat N", repeat, "updates timed, after one that is not", 1, 100);
    AddSwitch(app, "--checkpointing", checkpointing, "recompute activations");
  }
};

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Operations a second of an 8192^3 product, the best of five.
double PeakFlops() {
  constexpr int64_t kSize = 8192;
  constexpr int kProducts = 10;
  const device::QueueGuard guard(0);
  const at::Tensor a = device::DeviceEmpty(0, {kSize, kSize}, at::kBFloat16);
  const at::Tensor b = device::DeviceEmpty(0, {kSize, kSize}, at::kBFloat16);
  const at::Tensor c = device::DeviceEmpty(0, {kSize, kSize}, at::kBFloat16);
  for (const at::Tensor& factor : {a, b}) device::ZeroAsync(factor.data_ptr(), static_cast<size_t>(factor.nbytes()));
  double best = 0;
  for (int run = 0; run < 6; ++run) {  // the first makes the library's workspace
    const double seconds = Seconds([&] {
      for (int i = 0; i < kProducts; ++i) {
        ops::cuda::Linear(a.const_data_ptr(), kSize, b.const_data_ptr(), kSize, kSize, at::kBFloat16, c.data_ptr(),
                          at::kBFloat16);
      }
      device::Synchronize();
    });
    if (run > 0) best = std::max(best, 2.0 * kProducts * kSize * kSize * kSize / seconds);
  }
  return best;
}

ModelConfig ConfigOf(const BenchFlags& flags) {
  ModelConfig config;
  config.qkv_bias = true;
  config.tie_word_embeddings = true;
  config.num_layers = flags.layers;
  config.hidden_size = flags.hidden;
  config.intermediate_size = flags.intermediate;
  config.num_heads = flags.heads;
  config.num_kv_heads = flags.kv_heads;
  config.head_dim = 128;
  config.vocab_size = flags.vocab;
  config.max_position = flags.tokens;
  return config;
}

TrainSequences RandomBatch(const ModelConfig& config, int64_t sequences, int64_t tokens, std::mt19937& random) {
  TrainSequences batch;
  batch.sequence_starts = {0};
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t t = 0; t < tokens; ++t) {
      batch.token_ids.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(config.vocab_size)));
      batch.target_rows.push_back(static_cast<int32_t>(s * tokens + t));
      batch.targets.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(config.vocab_size)));
    }
    batch.sequence_starts.push_back(batch.sequence_starts.back() + tokens);
  }
  return batch;
}

double OperationsPerToken(const ModelConfig& config, const ParameterLayout& layout, int64_t tokens) {
  double matrices = 0;
  for (const ParameterSpec& spec : layout.specs) {
    if (spec.shape.size() >= 2) matrices += static_cast<double>(spec.numel);
  }
  const double attention = 12.0 * static_cast<double>(config.num_layers * config.num_heads * config.head_dim) *
                           static_cast<double>(tokens) / 2;
  return 6 * matrices + attention;  // a tied embedding counts once: as the head
}

absl::Status Update(TrainablePolicy& policy, Collective& alone, const std::vector<TrainSequences>& batches, int64_t t) {
  RETURN_IF_ERROR(policy.state().ZeroGradients());
  for (const TrainSequences& batch : batches) {
    std::vector<float> logprobs(batch.targets.size());
    RETURN_IF_ERROR(policy.Forward(batch, logprobs, {}));
    RETURN_IF_ERROR(policy.Backward({.logprobs = std::vector<float>(logprobs.size(), -1e-4f)}, nullptr));
  }
  // Waits for the norm, so for the backward pass. The optimizer's last kernel runs into the next repetition, as the one
  // before has run into this.
  return policy.state().Step({}, {.t = t, .lr = 1e-6}, alone).status();
}

absl::Status Run(const BenchFlags& flags, const GpuInfo& gpu) {
  const ModelConfig config = ConfigOf(flags);
  const ParameterLayout layout = MakeParameterLayout(config);
  std::vector<float> parameters(static_cast<size_t>(layout.total_numel));
  InitialiseParameters(config, layout, /*seed=*/1, parameters);
  const TrainableOptions options{.activation_checkpointing = flags.checkpointing, .logprob_chunk_tokens = flags.chunk};
  const double peak = PeakFlops();
  ASSIGN_OR_RETURN(const std::unique_ptr<TrainablePolicy> policy,
                   MakeLmPolicyCuda(config, StorageDType::kBFloat16, parameters, options, 0));
  ASSIGN_OR_RETURN(const std::unique_ptr<Collective> alone, CreateCollective({}));
  std::mt19937 random(1);
  std::vector<TrainSequences> batches;
  for (int64_t b = 0; b < flags.micro_batches; ++b) {
    batches.push_back(RandomBatch(config, flags.sequences, flags.tokens, random));
  }
  const double tokens = static_cast<double>(flags.micro_batches * flags.sequences * flags.tokens);
  const double operations = OperationsPerToken(config, layout, flags.tokens) * tokens;
  std::vector<double> seconds;
  for (int64_t repetition = 0; repetition <= flags.repeat; ++repetition) {
    absl::Status status;
    const double took = Seconds([&] { status = Update(*policy, *alone, batches, repetition + 1); });
    RETURN_IF_ERROR(status);
    if (repetition > 0) seconds.push_back(took);
  }
  const auto report = [&](const char* what, double took) {
    const nlohmann::json line = {{"what", what},
                                 {"gpu", gpu.name},
                                 {"parameters", layout.total_numel},
                                 {"seconds", took},
                                 {"tokens_per_s", tokens / took},
                                 {"peak_tflops", peak / 1e12},
                                 {"mfu", operations / took / peak}};
    std::printf("%s\n", line.dump().c_str());
  };
  for (const double took : seconds) report("update", took);
  std::ranges::sort(seconds);
  report("median", seconds[seconds.size() / 2]);
  return absl::OkStatus();
}

absl::Status Main(const std::vector<std::string>& args) {
  BenchFlags flags;
  RETURN_IF_ERROR(ParseFlags([&flags](CLI::App& app) { flags.Declare(app); }, args));
  const GpuList list = ListGpus();
  if (list.gpus.empty()) {
    std::printf("cuda_update_bench needs a GPU: %s.\n", list.why_none.c_str());
    return absl::OkStatus();
  }
  return Run(flags, list.gpus[0]);
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::Main({argv + 1, argv + argc});
  if (status.ok()) return 0;
  std::fprintf(stderr, "cuda_update_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}
