// What measuring the attention rhythm costs: the same binary and process, metrics on and off in turn.
//
//   build/release/bin/rhythm_bench MODEL [--contexts 256,1024,4096] [--rounds 15] [--threads 2] [--dtype float32]
//                                  [--parts attention,step,generate]
//
// Prints one JSON line per figure, medians with their range over the rounds; "added" is on / off - 1, per round.
//   attention   one layer's attention op, layers in turn, 32 sequences of one query row each at the context
//   step        one whole decode step of the model's runner at the context: forward, logits, draws
//   recompute   (with step) the same step followed by a second attention pass over the sampled layers that does nothing
//   but measure generate    32 answers of 64 + 128 tokens through the engine; off to on adds the final rows and the
//   credit too
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "actor/engine/load_engine.h"
#include "actor/engine/run_requests.h"
#include "common/base/status_macros.h"
#include "common/config/flags.h"
#include "common/ops/buffer.h"
#include "common/ops/kernels.h"
#include "common/ops/parallel.h"
#include "common/rhythm/credit.h"
#include "common/rhythm/rhythm_meter.h"

namespace tactus {
namespace {

constexpr int64_t kSequences = 32, kPrompt = 64;
constexpr double kRoundSeconds = 0.15;  // short calls are repeated to fill it

constexpr FlagSpec kFlags[] = {
    {.name = "contexts", .value = "LIST", .help = "tokens in the cache", .fallback = "256,1024,4096"},
    {.name = "rounds", .type = FlagType::kInt, .value = "N", .help = "of each", .fallback = "15", .min = 3, .max = 999},
    {.name = "threads",
     .type = FlagType::kInt,
     .value = "N",
     .help = "CPU threads",
     .fallback = "2",
     .min = 1,
     .max = 64},
    {.name = "parts", .value = "LIST", .help = "of these", .fallback = "attention,step,generate"},
    {.name = "dtype", .value = "TYPE", .help = "of the weights", .fallback = "float32"},
};

using Run = std::function<void()>;

double SecondsOf(const Run& run, int repeats) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats;
}

nlohmann::json Spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {{"median", values[values.size() / 2]}, {"min", values.front()}, {"max", values.back()}};
}

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

// Page tables of kSequences sequences of `tokens` tokens each.
std::vector<std::vector<int32_t>> PageTables(int64_t tokens) {
  const int64_t pages = (tokens + kPageTokens - 1) / kPageTokens;
  std::vector<std::vector<int32_t>> tables(kSequences, std::vector<int32_t>(static_cast<size_t>(pages)));
  int32_t next = 0;
  for (auto& table : tables) {
    for (int32_t& page : table) page = next++;
  }
  return tables;
}

// Meters that stand before the row at position `context`.
std::vector<RhythmMeter> MetersAt(int64_t context, int64_t heads) {
  std::vector<RhythmMeter> meters(kSequences, RhythmMeter(kPrompt, heads));
  for (RhythmMeter& meter : meters) {
    for (int64_t t = 0; t < context - kPrompt; ++t) meter.Advance();
  }
  return meters;
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
        tables(PageTables(context + 1)),
        meters(MetersAt(context, config.num_heads)),
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

// A decode step of the real model, over a cache that holds one prefilled sequence in 32 copies.
class StepCase {
 public:
  StepCase(ModelRunner& runner, const RhythmOptions& options, int64_t context)
      : runner_(runner),
        probe_(ProbeOf(options, DefaultRhythmLayers(runner.config().num_layers))),
        tables_(PageTables(context + 1)),
        meters_(MetersAt(context, static_cast<int64_t>(probe_.layers.size()) * runner.config().num_heads)) {
    plan_.batch.probe = &probe_;
    std::mt19937 random(5);
    for (int64_t i = 0; i < kSequences; ++i) {
      plan_.batch.token_ids.push_back(
          static_cast<TokenId>(random() % static_cast<uint32_t>(runner.config().vocab_size)));
      plan_.batch.runs.push_back({i, 1, context, tables_[static_cast<size_t>(i)]});
      plan_.draws.push_back({.row = static_cast<int32_t>(i), .params = {.temperature = 1.0f, .uniform = 0.5}});
      taps_.push_back(meters_[static_cast<size_t>(i)].Tap());
    }
    sampled_.resize(kSequences);
  }

  absl::Status Prefill(int64_t context) {
    StepPlan prefill;
    std::mt19937 random(7);
    std::vector<ops::SampledToken> none;
    constexpr int64_t kPiece = 512;
    for (int64_t first = 0; first < context; first += kPiece) {
      prefill.Clear();
      const int64_t rows = std::min(kPiece, context - first);
      for (int64_t r = 0; r < rows; ++r) {
        prefill.batch.token_ids.push_back(
            static_cast<TokenId>(random() % static_cast<uint32_t>(runner_.config().vocab_size)));
      }
      prefill.batch.runs.push_back({0, rows, first, tables_[0]});
      RETURN_IF_ERROR(runner_.Execute(prefill, none));
    }
    for (int64_t i = 1; i < kSequences; ++i) {
      for (size_t page = 0; page < tables_[0].size(); ++page) {
        plan_.copies.push_back({tables_[0][page], tables_[static_cast<size_t>(i)][page]});
      }
    }
    plan_.batch.taps.resize(kSequences);
    RETURN_IF_ERROR(runner_.Execute(plan_, sampled_));
    plan_.copies.clear();
    return absl::OkStatus();
  }

  void Step(bool measure) {
    plan_.batch.taps = measure ? taps_ : std::vector<ops::AttentionTap>(kSequences);
    if (!runner_.Execute(plan_, sampled_).ok()) std::abort();
  }
  size_t num_layers() const { return probe_.layers.size(); }

 private:
  ModelRunner& runner_;
  ops::AttentionProbe probe_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<RhythmMeter> meters_;
  std::vector<ops::AttentionTap> taps_;
  StepPlan plan_;
  std::vector<ops::SampledToken> sampled_;
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
  StepCase step(*runner, options, context);
  RETURN_IF_ERROR(step.Prefill(context));
  Compare(
      "step", context, rounds, [&] { step.Step(false); }, [&] { step.Step(true); });
  Compare(
      "recompute", context, rounds, [&] { step.Step(false); },
      [&] {
        step.Step(false);
        for (size_t i = 0; i < step.num_layers(); ++i) again.Attend(true);
      });
  return absl::OkStatus();
}

absl::Status RunMain(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const Flags flags,
                   Flags::Parse(kFlags, args, {.min_positional = 1, .max_positional = 1, .positional = "MODEL"}));
  ops::SetThreads(static_cast<int>(flags.Int("threads")));
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(flags.positional()[0]));
  const int rounds = static_cast<int>(flags.Int("rounds"));
  const RhythmOptions options;
  EngineSetup setup;
  setup.weights_dtype = flags.Text("dtype") == "bfloat16" ? StorageDType::kBFloat16 : StorageDType::kFloat32;
  const std::vector<std::string> parts = absl::StrSplit(flags.Text("parts"), ',');
  const auto wanted = [&](const char* part) { return std::find(parts.begin(), parts.end(), part) != parts.end(); };
  for (const auto text : absl::StrSplit(flags.Text("contexts"), ',')) {
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
