#include "common/model/memory_need.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/dtype.h"
#include "common/base/status_macros.h"
#include "common/config/storage_dtype.h"
#include "common/device/host_limits.h"
#include "common/model/trainable_options.h"
#include "common/ops/step_sizes.h"
#include "common/ops/token_types.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

constexpr int64_t kFloat = sizeof(float), kMiB = int64_t{1} << 20;

constexpr int64_t kLogitRows = 128;  // model_runner_cpu.cc
constexpr size_t kNamedParts = 4;    // in a refusal

// The model's shape in the letters of the headers.
struct Shape {
  explicit Shape(const ModelConfig& m)
      : H(m.hidden_size),
        I(m.intermediate_size),
        L(m.num_layers),
        V(m.vocab_size),
        heads(m.num_heads),
        q(m.num_heads * m.head_dim),
        kv(m.num_kv_heads * m.head_dim),
        qkv(q + 2 * kv),
        parameters(MakeParameterLayout(m).total_numel),
        // Laid out for the products: every matrix, the head once more even where it is the embedding.
        matrices(L * (H * qkv + q * H + 3 * H * I) + H * V),
        raw(m.qk_norm ? qkv : 0),
        qk_norms(!m.qk_norm        ? 0
                 : m.qk_norm_whole ? 2
                                   : m.num_heads + m.num_kv_heads),
        out(m.norms_after ? H : 0),
        head_dim(m.head_dim) {}
  int64_t H, I, L, V, heads, q, kv, qkv, parameters, matrices;
  int64_t embedding() const { return V * H; }
  int64_t layer_matrices() const { return (matrices - embedding()) / L; }
  int64_t raw;       // the qkv product, kept apart where queries and keys are normed
  int64_t qk_norms;  // of a row
  int64_t out;       // a branch's output under a norm
  int64_t head_dim;
};

struct Weights {
  Shape shape;
  int64_t element;  // bytes
  bool gpu;
  bool flash;  // rows of prompts go to FlashAttention
};

MemoryNeed WithoutZeros(MemoryNeed need) {
  std::erase_if(need.items, [](const MemoryItem& item) { return item.bytes == 0; });
  return need;
}

MemoryItem Base(bool gpu) {
  return gpu ? MemoryItem{"context", kGpuContextBytes} : MemoryItem{"process", kHostProcessBytes};
}

// Tokens of the longest sequence.
int64_t LongestSequence(const config::RunConfig& run) {
  return int64_t{run.rollout().max_prompt_tokens()} + run.rollout().max_completion_tokens();
}

// What the products read. On a GPU float32 products read the master weights.
int64_t ProductWeights(const Weights& w) {
  if (!w.gpu) return w.shape.matrices * w.element;
  return w.element == kFloat ? 0 : w.shape.parameters * w.element;
}

// The names below are those of LayerBuffers, DecoderLayer, DecoderPass and TrainableDecoder::Impl.

// Floats a row takes in a step on the CPU that keeps nothing.
int64_t HostStepRow(const Shape& s) {
  const int64_t buffers = s.qkv + s.qk_norms + s.q + 2 * s.I;
  const int64_t layer = s.H + s.I + 2 * s.out;  // normed, activated; product, delta
  return s.H + buffers + layer;                 // the stream
}

// Bytes a row takes in training on the CPU, where every activation is float32.
int64_t HostTrainingRow(const Weights& w, int64_t kept_layers) {
  const Shape& s = w.shape;
  // qkv, raw, qk_inverse_rms, attention and its log_sum_exp, mid, gate_up.
  const int64_t kept = s.qkv + s.raw + s.qk_norms + s.q + s.heads + s.H + 2 * s.I;
  const int64_t inputs = s.L * s.H, stream = s.H;
  const int64_t forward = s.H + s.I + 2 * s.out;  // normed, activated; product, delta
  // din, inverse_rms, dnarrow, dgate_up, dqkv, dproduct.
  const int64_t backward = s.H + 1 + std::max(s.I, s.q) + 2 * s.I + s.qkv + s.out;
  const int64_t head = 4 * s.H + 1;  // chosen, normed, dnormed, dfinal; inverse
  const int64_t floats = inputs + kept_layers * kept + stream + forward + backward + head;
  const int64_t right = std::max({s.I, s.q, s.H}) * w.element;  // a layer's inputs for its weight's gradient
  const int64_t pages = 2 * s.kv * w.element;                   // one layer's keys and values
  return floats * kFloat + right + pages;
}

// Whether a GPU rounds layers' inputs and makes an MLP for some rows at a time, and for how many.
bool WorksInParts(const Weights& w, bool checkpointing) { return checkpointing && w.element < kFloat; }
int64_t MlpRows(bool in_parts, int64_t rows) { return in_parts ? std::min(rows, TrainableOptions().mlp_rows) : rows; }

// Bytes of training on a GPU, where the residual stream is float32, and activations and their gradients are of the
// weights' type. Room for `rows` rows is made at once, but for attention's own, which grows by a quarter at least.
// Under activation checkpointing layers' inputs are of the weights' type, too, and an MLP works on some rows at a time.
int64_t GpuTrainingBytes(const Weights& w, int64_t kept_layers, bool checkpointing, int64_t rows) {
  const Shape& s = w.shape;
  const bool in_parts = WorksInParts(w, checkpointing);
  const int64_t mlp_rows = MlpRows(in_parts, rows);
  const int64_t inputs = s.L * s.H;
  // qkv and raw of kept layers; normed, delta, product, rounded, din, dqkv; of the head normed and dnormed.
  const int64_t elements = (in_parts ? inputs : 0) + kept_layers * (s.qkv + s.raw) + 4 * s.H + s.out + s.qkv + 2 * s.H;
  // Layer inputs, or one of them; mid and norms of kept layers; stream, chosen, dfinal; inverse norms; wide, dproduct.
  const int64_t floats = (in_parts ? s.H : inputs) + kept_layers * (s.H + s.qk_norms) + 3 * s.H + 2 + 2 * s.out;
  // gate_up of kept layers; activated, dgate_up; dnarrow, which attention takes turns with.
  const int64_t mlp = mlp_rows * (kept_layers * 2 * s.I + 3 * s.I) + std::max(mlp_rows * s.I, rows * s.q);
  // Outputs and statistics of kept layers; keys and values of sequences that share tokens, end to end; in the backward
  // pass dq in float32, dk and dv for each query head.
  const int64_t attention =
      (kept_layers * s.q + 2 * s.kv + 2 * s.q) * w.element + (kept_layers * s.heads + s.q) * kFloat;
  return rows * (floats * kFloat + elements * w.element) + mlp * w.element + rows * attention * 5 / 4;
}

int64_t ActivationBytes(const Weights& w, const config::RunConfig& run) {
  const bool checkpointing = run.learner().activation_checkpointing();
  const int64_t layers = checkpointing ? 1 : w.shape.L, rows = MicroBatchRows(run);
  return w.gpu ? GpuTrainingBytes(w, layers, checkpointing, rows) : rows * HostTrainingRow(w, layers);
}

// How the ranks divide a model: numbers of parameters.
struct Division {
  Division(const Shape& s, const Sharding& sharding)
      : shard(sharding.world > 1 ? sharding.shard : Shard::kNone),
        share((s.parameters + sharding.world - 1) / sharding.world),
        optimizer(shard == Shard::kNone ? s.parameters : share),
        gradients(shard < Shard::kGradients ? s.parameters : share),
        bucket(std::min(s.parameters, sharding.bucket_bytes / kFloat)),
        gradient_window(shard < Shard::kGradients ? 0 : s.embedding() + 2 * s.layer_matrices()) {}
  bool by_parts() const { return shard == Shard::kParameters; }
  // Two layers that a backward pass has written and not handed in, and the embedding, complete last; on the CPU beside
  // a bucket that two of them share, on a GPU each among whole buckets.
  int64_t window(bool gpu) const { return gradient_window == 0 ? 0 : gradient_window + (gpu ? 6 : 1) * bucket; }

  Shard shard;
  int64_t share, optimizer, gradients, bucket, gradient_window;
};

// Of what is computed with when weights are divided and come part by part. On the CPU a layer and the head are laid out
// in one direction.
int64_t PartWeights(const Weights& w) { return (w.shape.layer_matrices() + w.shape.embedding()) * w.element; }

// What else is there then: on the CPU a part's masters, and the next part as it arrives; on a GPU another layer, and
// what the buckets of each of the three have of others.
int64_t ArrivingWeights(const Weights& w, const Division& division) {
  if (w.gpu) return (w.shape.layer_matrices() + 6 * division.bucket) * w.element;
  return (std::max(w.shape.embedding(), w.shape.layer_matrices()) + division.bucket) * (kFloat + w.element);
}

// What a reference policy takes: a model of its own, on a GPU in the storage dtype alone, and the buffers of a forward
// pass that keeps nothing.
int64_t ReferenceBytes(const Weights& w, const config::RunConfig& run, const Division& division) {
  const Shape& s = w.shape;
  const int64_t held = (division.by_parts() ? division.share : s.parameters) * (w.gpu ? w.element : kFloat);
  const int64_t whole = w.gpu ? 0 : ProductWeights(w);
  const int64_t weights = held + (division.by_parts() ? PartWeights(w) + ArrivingWeights(w, division) : whole);
  const int64_t rows = MicroBatchRows(run);
  // Beside a step's, chosen and normed states, and attention's log_sum_exp.
  const int64_t host_row = (HostStepRow(s) + 2 * s.H + s.heads) * kFloat + 2 * s.kv * w.element;
  if (!w.gpu) return weights + rows * host_row;
  const int64_t mlp_rows = MlpRows(WorksInParts(w, run.learner().activation_checkpointing()), rows);
  // Stream and chosen states; qkv; normed and delta, normed states of the head; under a norm its product.
  const int64_t row = (2 * s.H + s.qk_norms + s.out) * kFloat + (s.qkv + 3 * s.H + s.out) * w.element;
  const int64_t attention = s.q * w.element + s.heads * kFloat;
  return weights + rows * row + mlp_rows * 3 * s.I * w.element + rows * attention * 5 / 4;
}

// Bytes a row of an engine step takes.
int64_t StepRow(const Weights& w) {
  const Shape& s = w.shape;
  if (!w.gpu) return HostStepRow(s) * kFloat;
  // x; normed, delta, qkv, attention, gate_up, activated; FlashAttention's output and statistics.
  const int64_t flash = w.flash ? s.q * w.element + s.heads * kFloat : 0;
  return (s.H + s.qk_norms + s.out) * kFloat + (s.H + s.H + s.qkv + s.q + 2 * s.I + s.I + s.out) * w.element + flash;
}

// The names of a GPU's step are those of StepIo, StepShape and CudaBackend.
class GpuStep {
 public:
  GpuStep(const Weights& w, const ModelConfig& model, const config::RunConfig& run, const ops::AttentionProbe& probe)
      : w_(w),
        attention_{.num_heads = model.num_heads, .num_kv_heads = model.num_kv_heads, .head_dim = model.head_dim},
        rows_(run.actor().max_step_tokens()),
        sequences_(run.actor().max_sequences()),
        longest_(std::min<int64_t>(LongestSequence(run), model.max_position)),
        table_pages_(ops::TablePages(longest_)),
        heads_(static_cast<int64_t>(probe.layers.size()) * model.num_heads),
        fai_tokens_(heads_ > 0 ? ops::FaiTokens(probe, longest_) : 0) {}

  // Of an attention that is cut over keys.
  int64_t SplitBytes() const {
    const int64_t rows = std::max(sequences_, w_.flash ? 0 : std::min(rows_, ops::kRunRows));
    return ops::DecodeWorkspaceFloats(attention_, rows, table_pages_ * kPageTokens) * kFloat;
  }
  // Keys and values of prompts end to end, as FlashAttention reads them: a step's rows, and what one of their sequences
  // has in its pages already.
  int64_t PrefixBytes() const { return w_.flash ? 2 * (rows_ + longest_) * w_.shape.kv * w_.element : 0; }
  // What goes to the GPU before a step and comes back after it, but for what is measured.
  int64_t BlockBytes() const {
    const int64_t in = 5 * rows_ + 2 * sequences_ * table_pages_ + 3 * sequences_;
    const auto draw = static_cast<int64_t>(sizeof(ops::SamplingParams) + sizeof(ops::SampledToken) +
                                           sizeof(ops::TokenLogProb) + 2 * sizeof(int32_t));
    return in * static_cast<int64_t>(sizeof(int32_t)) + rows_ * draw;
  }
  int64_t MeasuredBytes() const { return sequences_ * heads_ * (2 + fai_tokens_) * kFloat; }
  // Every shape that a step which only decodes can have, for each set of weights; twelve kernels a layer and eight
  // more.
  int64_t GraphBytes() const {
    int64_t buckets = 0, page_buckets = 0;
    for (int64_t rows = 1; rows <= sequences_; rows = ops::RowBucket(rows, sequences_) + 1) ++buckets;
    for (int64_t pages = 1; pages <= table_pages_; pages = ops::PageBucket(pages) + 1) ++page_buckets;
    return 2 * buckets * page_buckets * (12 * w_.shape.L + 8) * kGraphNodeBytes;
  }

 private:
  const Weights& w_;
  const ops::AttentionShape attention_;
  const int64_t rows_, sequences_, longest_, table_pages_, heads_, fai_tokens_;
};

int64_t KvCacheBytes(const Weights& w, const config::RunConfig& run) {
  const int64_t page = 2 * w.shape.L * w.shape.kv * kPageTokens * w.element;
  // As LoadRunner: no more pages than the sequences can use, running and waiting.
  const int64_t useful = 2 * int64_t{run.actor().max_sequences()} * (LongestSequence(run) / kPageTokens + 2);
  return std::min(int64_t{run.actor().kv_cache_mib()} * kMiB / page, useful) * page;
}

// Of a parameter of the last set: of bfloat16 for a delta, with relays for other actors.
int64_t KeptWireBytes(const Weights& w, const config::RunConfig& run) {
  const bool for_nobody = w.element == kFloat && run.service().relay_fan_out() == 0;
  return for_nobody ? 0 : w.element;
}

Weights WeightsOf(const ModelConfig& model, const config::RunConfig& run, const Device& device) {
  const StorageDType dtype = StorageDTypeOf(run.model().dtype());
  return {.shape = Shape(model),
          .element = BytesPerElement(dtype),
          .gpu = device.is_gpu(),
          .flash = device.is_gpu() && dtype != StorageDType::kFloat32 && run.gpu().flash_attention()};
}

}  // namespace

int64_t MicroBatchRows(const config::RunConfig& run) {
  const config::RolloutOptions& rollout = run.rollout();
  const int64_t groups = int64_t{rollout.prompts_per_step()} / run.algorithm().updates_per_batch();
  const int64_t longest_group =
      rollout.max_prompt_tokens() + int64_t{rollout.completions_per_prompt()} * rollout.max_completion_tokens();
  return std::min<int64_t>(run.learner().micro_batch_tokens(), groups * longest_group);
}

int64_t MemoryNeed::total() const {
  int64_t sum = 0;
  for (const MemoryItem& item : items) sum += item.bytes;
  return sum;
}

MemoryNeed LearnerMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run,
                         const Device& device, const Sharding& sharding) {
  const Weights w = WeightsOf(model, run, device);
  const Shape& s = w.shape;
  const int64_t logit_rows = std::min<int64_t>(run.learner().logprob_chunk_tokens(), MicroBatchRows(run));
  const int64_t logit = w.gpu ? kFloat + w.element : kFloat;  // on a GPU their gradients lie beside them
  const Division division(s, sharding);
  const bool whole_masters = division.shard == Shard::kNone || (!w.gpu && !division.by_parts());
  // On the CPU the matrices are laid out from a float32 buffer of all parameters, the masters among them, unless these
  // are divided. On a GPU with whole masters in float32 the products read them; a share lies beside what they read.
  const int64_t master = (whole_masters ? s.parameters : division.share) * kFloat;
  int64_t weights = w.gpu && division.shard != Shard::kNone ? s.parameters * w.element : ProductWeights(w);
  if (division.by_parts()) weights = PartWeights(w) + (w.gpu ? division.share * w.element : 0);
  // On the CPU the backward pass reads a second layout of the matrices.
  const int64_t backward = division.by_parts() ? PartWeights(w) : ProductWeights(w);
  // Rank 0 keeps the published weights, with the next ones beside them while it makes them. Of divided ones no other
  // rank ever has all.
  const bool publishes = !w.gpu && (!division.by_parts() || sharding.rank == 0);
  const char* const by_ranks = "learner.shard, the number of ranks";
  return WithoutZeros(
      {.process = process,
       .items = {
           {"weights", weights, "model.dtype"},
           {"weights, backward", w.gpu ? 0 : backward, "model.dtype"},
           {"weights, arriving", division.by_parts() ? ArrivingWeights(w, division) : 0, "model.dtype"},
           {"master weights", master, w.gpu || division.by_parts() ? by_ranks : ""},
           {"gradients", division.gradients * kFloat, by_ranks},
           {"gradients, under way", division.window(w.gpu) * kFloat},
           {"moments", 2 * division.optimizer * kFloat, by_ranks},
           // Masters and moments of a moment, on the host, until they are on the disk.
           {"checkpoint", w.gpu ? 0 : 3 * division.optimizer * kFloat, by_ranks},
           {"reference policy", run.algorithm().kl_beta() > 0 ? ReferenceBytes(w, run, division) : 0,
            "algorithm.kl_beta"},
           {"published copies", publishes ? 2 * s.parameters * w.element : 0, "model.dtype"},
           {"activations", ActivationBytes(w, run), "learner.micro_batch_tokens, learner.activation_checkpointing"},
           {"logits", logit_rows * s.V * logit, "learner.logprob_chunk_tokens"},
           Base(w.gpu)}});
}

Shard ChooseShard(const ModelConfig& model, const config::RunConfig& run, const Device& device, int world,
                  int64_t available_bytes) {
  if (world == 1) return Shard::kNone;
  for (const Shard shard : {Shard::kNone, Shard::kOptimizer, Shard::kGradients, Shard::kParameters}) {
    if (config::LearnerOptions::Shard_Name(run.learner().shard()) == ShardName(shard)) return shard;
  }
  for (const Shard shard : {Shard::kNone, Shard::kOptimizer, Shard::kGradients}) {
    const Sharding sharding{.shard = shard, .rank = 0, .world = world};
    if (LearnerMemory("", model, run, device, sharding).total() <= available_bytes) return shard;
  }
  return Shard::kParameters;
}

MemoryNeed ActorMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run,
                       const Device& device, const ops::AttentionProbe& probe) {
  const Weights w = WeightsOf(model, run, device);
  const Shape& s = w.shape;
  // While a version arrives at a CPU, two more float32 sets were seen (peaks of resident size), and the bytes of the
  // last set are kept. A GPU's actor has those in host memory.
  const int64_t arriving = s.parameters * (w.gpu ? w.element : 2 * kFloat + KeptWireBytes(w, run));
  const GpuStep step(w, model, run, probe);
  // On the CPU with copies of a prompt's row; on a GPU beside chosen and normed states and their inverse norms.
  const int64_t logit_rows = w.gpu ? run.actor().max_sequences() : 2 * kLogitRows;
  const int64_t logit = s.V * kFloat + (w.gpu ? s.H * (kFloat + w.element) + kFloat : 0);
  const int64_t rotary = w.gpu ? model.max_position * s.head_dim * kFloat : 0;
  const int64_t block = w.gpu ? step.BlockBytes() : 0;
  return WithoutZeros(
      {.process = process,
       .items = {
           {"weights", w.gpu ? s.parameters * w.element : ProductWeights(w), "model.dtype"},
           {"master weights", w.gpu ? 0 : s.parameters * kFloat},
           {"weights, next version", arriving, "model.dtype"},
           {"key/value cache", KvCacheBytes(w, run), "actor.kv_cache_mib, actor.max_sequences"},
           {"activations", int64_t{run.actor().max_step_tokens()} * StepRow(w) + rotary + block,
            "actor.max_step_tokens"},
           {"attention, splits", w.gpu ? step.SplitBytes() : 0, "actor.max_sequences, rollout.max_completion_tokens"},
           {"attention, prompts", step.PrefixBytes(), "rollout.max_completion_tokens, actor.max_step_tokens"},
           {"attention, measured", w.gpu ? step.MeasuredBytes() : 0, "credit.horizon_max_tokens, actor.max_sequences"},
           {"logits", logit_rows * logit, w.gpu ? "actor.max_sequences" : ""},
           {"graphs", w.gpu && run.gpu().graphs() ? step.GraphBytes() : 0, "gpu.graphs"},
           Base(w.gpu)}});
}

MemoryNeed LearnerHostMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run,
                             const Sharding& sharding) {
  const Weights w = WeightsOf(model, run, Device{0});
  const Division division(w.shape, sharding);
  const int64_t parameters = w.shape.parameters, share = division.optimizer;
  // Before the first step the folder's weights in float32, later a checkpoint's copy: never both. Of divided weights
  // what is another rank's goes again, tensor by tensor.
  const int64_t loaded = division.by_parts() ? division.share + w.shape.embedding() : parameters;
  const bool publishes = sharding.rank == 0;
  return WithoutZeros({.process = process,
                       .items = {{"weights as loaded, or checkpoint", std::max(loaded, 3 * share) * kFloat},
                                 {"published copies", publishes ? 2 * parameters * w.element : 0, "model.dtype"},
                                 {"process", kGpuHostBytes}}});
}

MemoryNeed ActorHostMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run) {
  const Weights w = WeightsOf(model, run, Device{0});
  return WithoutZeros({.process = process,
                       .items = {{"weights, next version", w.shape.parameters * kFloat},
                                 {"weights as they came", w.shape.parameters * KeptWireBytes(w, run), "model.dtype"},
                                 {"process", kGpuHostBytes}}});
}

int64_t SharedWeightsBytes(const ModelConfig& model, const config::RunConfig& run) {
  return 2 * MakeParameterLayout(model).total_numel * BytesPerElement(StorageDTypeOf(run.model().dtype()));
}

int64_t BudgetBytes(int32_t gpu_memory_mib, int64_t free_bytes) {
  return gpu_memory_mib == 0 ? free_bytes : std::min(free_bytes, gpu_memory_mib * kMiB);
}

absl::Status CheckMemory(const std::vector<MemoryNeed>& needs, const std::string& device, int64_t available_bytes) {
  int64_t total = 0;
  std::vector<std::string> names;
  std::vector<std::pair<std::string, MemoryItem>> parts;
  for (const MemoryNeed& need : needs) {
    total += need.total();
    names.push_back(need.process);
    for (const MemoryItem& item : need.items) parts.emplace_back(need.process, item);
  }
  if (total <= available_bytes) return absl::OkStatus();
  std::ranges::stable_sort(parts, [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  parts.resize(std::min(parts.size(), kNamedParts));
  const std::string largest = absl::StrJoin(parts, "; ", [](std::string* out, const auto& part) {
    const MemoryItem& item = part.second;
    absl::StrAppend(out, part.first, " ", item.name, " ", BytesText(item.bytes),
                    *item.fields == '\0' ? "" : absl::StrCat(" (", item.fields, ")"));
  });
  return absl::FailedPreconditionError(
      absl::StrCat(absl::StrJoin(names, ", "), names.size() == 1 ? " needs " : " need ", BytesText(total),
                   " of memory on ", device, ", where ", BytesText(available_bytes),
                   " can be had: expected a smaller model, or less of what takes most: ", largest, "."));
}

absl::Status CheckOwnMemory(const MemoryNeed& need, const MemoryNeed& host, const Device& device,
                            int32_t gpu_memory_mib, const GpuList& gpus) {
  if (!device.is_gpu()) return absl::OkStatus();
  if (const int64_t here = AvailableBytes(Device{}, gpus); here > 0) {  // 0: the system does not say
    RETURN_IF_ERROR(CheckMemory({host}, "the host", here));
  }
  const auto with = [&](int64_t bytes) {
    return CheckMemory({need}, device.Text(), BudgetBytes(gpu_memory_mib, bytes));
  };
  const absl::Status now = with(AvailableBytes(device, gpus));
  const GpuInfo* gpu = FindGpu(gpus, *device.gpu);
  const bool may_pass = !now.ok() && gpu != nullptr && with(gpu->total_bytes).ok();
  return may_pass ? absl::UnavailableError(now.message()) : now;
}

int64_t RankBudgetBytes(const config::RunConfig& run, const Device& device, int world, const GpuList& gpus) {
  const int64_t available = AvailableBytes(device, gpus);
  return device.is_gpu() ? BudgetBytes(run.learner().gpu_memory_mib(), available) : available / world;
}

int64_t AvailableBytes(const Device& device, const GpuList& gpus) {
  if (device.is_gpu()) {
    const GpuInfo* gpu = FindGpu(gpus, *device.gpu);
    return gpu == nullptr ? 0 : gpu->free_bytes.value_or(gpu->total_bytes);
  }
  return OwnHostLimits().available_memory_bytes;
}

}  // namespace tactus
