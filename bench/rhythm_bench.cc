// What measuring the attention rhythm costs: the same binary and process, metrics on and off in turn.
//
//   build/release/bin/rhythm_bench MODEL [--contexts 256,1024,4096] [--rounds 15] [--threads 2] [--dtype float32]
//                                  [--parts attention,step,generate]
//
// Prints one JSON line per figure, medians with their range over the rounds; "added" is on / off - 1, per round.
//   attention   one layer's attention op, layers in turn, 32 sequences of one query row each at the context
//   step        one whole decode step of the model's runner at the context: forward, logits, draws
//   flow        (with step) the same step measured, without and with rows kept for the flow (credit.strategy FLOW)
//
//   recompute   (with step) the same step followed by a second attention pass over the sampled layers that does nothing
//               but measure
//
//   generate    32 answers of 64 + 128 tokens through the engine; off to on adds the final rows and the credit too
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "actor/engine/load_engine.h"
#include "bench/step_case.h"
#include "common/base/status_macros.h"
#include "common/config/flags.h"
#include "common/ops/cpu/attention.h"
#include "common/ops/cpu/buffer.h"
#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"
#include "common/rhythm/credit.h"
#include "common/rhythm/rhythm_meter.h"
#include "tools/batch/run_requests.h"

namespace tactus {
namespace {

constexpr int64_t kSequences = 32, kPrompt = kBenchPrompt;
constexpr double kRoundSeconds = 0.15;  // short calls are repeated to fill it

struct BenchFlags {
  std::string model, contexts = "256,1024,4096", parts = "attention,step,generate", dtype = "float32";
  int rounds = 15, threads = 2;

  void Declare(CLI::App& app) {
    AddArgument(app, model, "MODEL");
    AddFlag(app, "--contexts LIST", contexts, "tokens in the cache");
    AddFlag(app, "--rounds N", rounds, "of each", 3, 999);
    AddFlag(app, "--threads N", threads, "CPU threads", 1, 64);
    AddFlag(app, "--parts LIST", parts, "of these");
    AddChoice(app, "--dtype TYPE", dtype, "of the weights", {"float32", "bfloat16"});
  }
};

// Off and on in turn, the order turning about.
void Compare(const std::string& what, int64_t context, int rounds, const Run& off, const Run& on) {
  const int repeats =
      std::max(1, static_cast<int>(kRoundSeconds / std::max(1e-6, std::min(SecondsOf(off, 1), SecondsOf(on, 1)))));
  std::vector<double> off_s, on_s, added;
  for (int round = 0; round < rounds; ++round) {
    const bool off_first = round % 2 == 0;
    const double first = SecondsOf(off_first ? off : on, repeats), second = SecondsOf(off_first ? on : off, repeats);
    off_s.push_back(off_first ? first : second);
    on_s.push_back(off_first ? second : first);
    added.push_back(on_s.back() / off_s.back() - 1);
  }
  const nlohmann::json line = {
      {"what", what},           {"context", context},   {"rounds", rounds},      {"isa", ops::ActiveKernels().name},
      {"off_s", Spread(off_s)}, {"on_s", Spread(on_s)}, {"added", Spread(added)}};
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

void FillRandom(std::span<float> values, uint32_t seed) {
  std::minstd_rand random(seed);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
}

// One layer's op. Layers take turns, as in a step, until their keys and values are more than any cache holds.
struct AttentionCase {
  AttentionCase(const ModelConfig& config, const RhythmOptions& options, int64_t context)
      : shape{config.num_heads, config.num_kv_heads, config.head_dim},
        probe(ProbeOf(options, {0})),
        tables(PageTables(kSequences, context + 1)),
        meters(MetersAt(kSequences, context, config.num_heads)),
        row((config.num_heads + 2 * config.num_kv_heads) * config.head_dim),
        q(static_cast<size_t>(kSequences * row)),
        out(static_cast<size_t>(kSequences * config.num_heads * config.head_dim)) {
    floats = kSequences * static_cast<int64_t>(tables[0].size()) * config.num_kv_heads * config.head_dim * kPageTokens;
    layers = std::max<int64_t>(1, (int64_t{1} << 27) / (floats * static_cast<int64_t>(sizeof(float))));
    for (ops::Buffer<float>* buffer : {&keys, &values}) {
      buffer->Reserve(layers * floats);
      FillRandom({buffer->data(), static_cast<size_t>(layers * floats)}, 1);
    }
    FillRandom(q, 3);
    for (int64_t i = 0; i < kSequences; ++i) {
      runs.push_back({i, 1, context, tables[static_cast<size_t>(i)]});
      taps.push_back(meters[static_cast<size_t>(i)].Tap());
    }
  }

  void Attend(bool measure) {
    const ops::LayerTaps layer{.probe = &probe, .taps = taps, .first_head = 0};
    const int64_t offset = (turn++ % layers) * floats;
    ops::PagedAttention(shape, runs, q.data(), row, {keys.data() + offset, values.data() + offset}, out.data(),
                        shape.num_heads * shape.head_dim, nullptr, measure ? &layer : nullptr);
  }

  ops::AttentionShape shape;
  ops::AttentionProbe probe;
  std::vector<std::vector<int32_t>> tables;
  std::vector<RhythmMeter> meters;
  std::vector<SequenceRun> runs;
  std::vector<ops::AttentionTap> taps;
  int64_t row, floats = 0, layers = 1, turn = 0;
  ops::Buffer<float> keys, values;
  std::vector<float> q, out;
};

// 32 answers; measured ones get their credit, as an actor's submit thread gives it.
absl::Status Answer(Engine& engine, const RhythmOptions& options, bool measure) {
  size_t next = 0;
  return RunRequests(
      engine,
      [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
        if (next == kSequences) return std::optional<EngineRequest>();
        EngineRequest request;
        request.request_id = request.prompt_id = next;
        std::mt19937 random(static_cast<uint32_t>(next++));
        request.prompt_ids.resize(kPrompt);
        for (TokenId& id : request.prompt_ids)
          id = static_cast<TokenId>(random() % static_cast<uint32_t>(engine.config().vocab_size));
        request.max_tokens = 128;
        request.measure_rhythm = measure;
        return std::optional<EngineRequest>(std::move(request));
      },
      [&](FinishedCompletion done) {
        if (done.rhythm == nullptr) return absl::OkStatus();
        const Rhythm rhythm = ComputeRhythm(done.rhythm->Finish(), options);
        CreditWeights(CreditKind::kCoupled, {}, {.entropy = done.completion.entropy, .rhythm = &rhythm});
        return absl::OkStatus();
      });
}

absl::Status CompareSteps(const ModelFolder& folder, StorageDType dtype, const RhythmOptions& options, int64_t context,
                          int rounds) {
  AttentionCase again(folder.config, options, context);
  const int64_t pages = kSequences * (context / kPageTokens + 1);
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelRunner> runner,
                   CreateModelRunner(folder, {.weights_dtype = dtype, .kv_cache_mib = 1 << 20, .max_pages = pages}));
  StepCase step(*runner, options, context, kSequences);
  RETURN_IF_ERROR(step.Prefill(context));
  Compare(
      "step", context, rounds, [&] { step.Step(false); }, [&] { step.Step(true); });
  StepCase flow(*runner, options, context, kSequences, FlowOptions().row_entries);
  Compare(
      "flow", context, rounds, [&] { step.Step(true); }, [&] { flow.Step(true); });
  Compare(
      "recompute", context, rounds, [&] { step.Step(false); },
      [&] {
        step.Step(false);
        for (size_t i = 0; i < step.num_layers(); ++i) again.Attend(true);
      });
  return absl::OkStatus();
}

absl::Status RunMain(const std::vector<std::string>& args) {
  BenchFlags flags;
  RETURN_IF_ERROR(ParseFlags([&flags](CLI::App& app) { flags.Declare(app); }, args));
  ops::SetThreads(flags.threads);
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(flags.model));
  const int rounds = flags.rounds;
  const RhythmOptions options;
  EngineSetup setup;
  setup.weights_dtype = flags.dtype == "bfloat16" ? StorageDType::kBFloat16 : StorageDType::kFloat32;
  const std::vector<std::string> parts = absl::StrSplit(flags.parts, ',');
  const auto wanted = [&](const char* part) { return std::find(parts.begin(), parts.end(), part) != parts.end(); };
  for (const auto text : absl::StrSplit(flags.contexts, ',')) {
    int64_t context = 0;
    if (!absl::SimpleAtoi(text, &context) || context <= kPrompt) {
      return absl::InvalidArgumentError("--contexts: expected numbers above 64, separated by commas.");
    }
    if (wanted("attention")) {
      AttentionCase one(folder.config, options, context);
      Compare(
          "attention", context, rounds, [&] { one.Attend(false); }, [&] { one.Attend(true); });
    }
    if (wanted("step")) {
      RETURN_IF_ERROR(CompareSteps(folder, setup.weights_dtype, options, context, rounds));
    }
  }
  if (!wanted("generate")) return absl::OkStatus();
  setup.engine = {.max_sequences = kSequences, .max_waiting_groups = kSequences};
  setup.engine.probe = ProbeOf(options, DefaultRhythmLayers(folder.config.num_layers));
  setup.max_sequence_tokens = 256;
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, LoadEngine(folder, setup));
  Compare(
      "generate", 192, std::min(rounds, 7), [&] { Answer(*engine, options, false).IgnoreError(); },
      [&] { Answer(*engine, options, true).IgnoreError(); });
  return absl::OkStatus();
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::RunMain(std::vector<std::string>(argv + 1, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "rhythm_bench: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
