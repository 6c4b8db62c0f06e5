#include "tools/report/rhythm_view.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/load_engine.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/storage_dtype.h"
#include "common/data/turns.h"
#include "learner/checkpoint/checkpointer.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

std::vector<double> Widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

// The mean of `heads`' distributions as one [N, P + N] matrix.
std::vector<float> MeanAttention(const RhythmMeter& meter, int64_t prompt_tokens, std::span<const int32_t> heads) {
  const int64_t tokens = meter.rows(), keys = prompt_tokens + tokens;
  std::vector<float> mean(static_cast<size_t>(tokens * keys));
  for (int64_t t = 0; t < tokens; ++t) {
    const std::vector<float>& row = meter.attention()[static_cast<size_t>(t)];
    const int64_t row_keys = ((prompt_tokens + t) / kPageTokens + 1) * kPageTokens;
    float* out = mean.data() + t * keys;
    for (const int32_t head : heads) {
      const float* from = row.data() + head * row_keys;
      for (int64_t j = 0; j <= prompt_tokens + t; ++j) out[j] += from[j] / static_cast<float>(heads.size());
    }
  }
  return mean;
}

void Draw(const MeasuredResponse& response, const CreditAssigner& credit, const SampledHeads& heads,
          RhythmAnswer& answer) {
  const Rhythm& rhythm = response.rhythm;
  const int64_t prompt = static_cast<int64_t>(response.item.prompt_ids.size()), tokens = response.meter->rows();
  answer.lookers = TopLookers(MeanAttention(*response.meter, prompt, rhythm.heads.global), tokens, prompt,
                              credit.rhythm_options().horizon_min_tokens);
  const auto by_span = [&](int32_t a, int32_t b) { return rhythm.span[a] < rhythm.span[b]; };
  const auto image = [&](const char* kind, int32_t head, AttentionCrop crop) {
    const std::string name = absl::StrCat(kind, " head: layer ", heads.layers[head / heads.heads_per_layer], ", head ",
                                          head % heads.heads_per_layer);
    answer.images.push_back(
        MakeAttentionImage(name, MeanAttention(*response.meter, prompt, std::span(&head, 1)), tokens, prompt, crop));
  };
  image("Local", *std::min_element(rhythm.heads.local.begin(), rhythm.heads.local.end(), by_span),
        AttentionCrop::kDiagonal);
  image("Global", *std::max_element(rhythm.heads.global.begin(), rhythm.heads.global.end(), by_span),
        AttentionCrop::kWhole);
}

// Throughputs, and the largest steps of the flow.
void AddFlow(const MeasuredResponse& response, RhythmAnswer& answer) {
  constexpr size_t kArcs = 60;
  const FlowRows& rows = response.meter->flow_rows();
  if (rows.tokens() == 0) return;
  const auto prompt = static_cast<int32_t>(rows.prompt_tokens);
  answer.flow.assign(response.flow.throughput.begin() + prompt, response.flow.throughput.end());
  for (const FlowEdge& edge : FlowBackbone(rows, response.flow, kArcs)) {
    answer.arcs.push_back({std::max(-1, edge.from - prompt), edge.to - prompt, edge.flow});
  }
}

// What AddAttention takes from the run and its newest checkpoint.
struct RunModel {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<CreditAssigner> credit;
  std::optional<HeadClasses> head_classes;
  SampledHeads heads;
};

absl::StatusOr<RunModel> OpenRunModel(const RunFolder& folder, const std::string& model_path) {
  RunModel run;
  ASSIGN_OR_RETURN(const config::RunConfig config, config::LoadRunConfig(folder.config(), {}));
  ASSIGN_OR_RETURN(run.credit, CreditAssigner::FromProto(config.credit()));
  ASSIGN_OR_RETURN(const ModelFolder model, OpenModelFolder(model_path));
  ASSIGN_OR_RETURN(run.tokenizer, Tokenizer::FromFile(model_path + "/tokenizer.json"));
  EngineSetup setup;
  setup.weights_dtype = StorageDTypeOf(config.model().dtype());
  setup.engine.max_sequences = 4;
  ASSIGN_OR_RETURN(setup.engine.probe, run.credit->Probe(model.config.num_layers, model.config.num_heads));
  setup.engine.probe.flow_row_entries = run.credit->flow_options().row_entries;
  setup.kv_cache_mib = config.actor().kv_cache_mib();
  setup.max_sequence_tokens = int64_t{config.rollout().max_prompt_tokens()} + config.rollout().max_completion_tokens();
  ASSIGN_OR_RETURN(run.head_classes, HeadClassesFor(model_path, model.config, *run.credit));
  run.heads = {setup.engine.probe.layers, model.config.num_heads};
  ASSIGN_OR_RETURN(run.engine, LoadEngine(model, setup));
  return run;
}

// Adds to a sample's answer what `drawn`, measured by `weights`, has and it lacks.
void Complement(RhythmAnswer drawn, const std::string& weights, RhythmAnswer& answer) {
  answer.lookers = std::move(drawn.lookers);
  answer.images = std::move(drawn.images);
  answer.waad_window = drawn.waad_window;
  answer.flow = std::move(drawn.flow);
  answer.arcs = std::move(drawn.arcs);
  const bool audited = !answer.waad.empty();
  if (!audited) {
    answer.waad = std::move(drawn.waad);
    answer.delta = std::move(drawn.delta);
    answer.fai = std::move(drawn.fai);
    answer.heads = std::move(drawn.heads);
  }
  absl::StrAppend(&answer.title, " · attention ", audited ? "images" : "measured again", " by the weights of ",
                  weights);
}

}  // namespace

absl::StatusOr<std::optional<HeadClasses>> HeadClassesFor(const std::string& path, const ModelConfig& shape,
                                                          const CreditAssigner& credit) {
  ASSIGN_OR_RETURN(const int heads, credit.CalibratedHeads(shape.num_layers, shape.num_heads));
  if (heads == 0) return std::nullopt;
  absl::StatusOr<std::optional<HeadClasses>> classes = ReadHeadClasses(path + "/..", heads);
  if (classes.ok()) return classes;
  return absl::InvalidArgumentError(
      absl::StrCat("credit.head_mode is CALIBRATED and the classes are in the run's checkpoints: expected the model "
                   "folder of one of them, not ",
                   path, " (", classes.status().message(), ")."));
}

RhythmAnswer AnswerOf(const MeasuredResponse& response, const CreditAssigner& credit, const SampledHeads& heads,
                      const Tokenizer& tokenizer) {
  const Rhythm& rhythm = response.rhythm;
  RhythmAnswer answer;
  answer.prompt = DecodeLossy(tokenizer, response.item.prompt_ids, /*skip_special_tokens=*/false);
  for (const TokenId& id : response.item.response_ids) {
    answer.tokens.push_back(DecodeLossy(tokenizer, std::span(&id, 1), /*skip_special_tokens=*/false));
  }
  if (response.meter == nullptr) return answer;
  for (const NamedWeights& one : AllWeights(credit.params(), response)) {
    answer.credits.push_back({one.strategy, Widen(one.weights)});
  }
  // The page shows the first one; the reader may choose another.
  std::stable_partition(answer.credits.begin(), answer.credits.end(),
                        [](const TokenCredit& one) { return one.strategy == "COUPLED"; });
  const auto among = [&](const std::vector<double>& values) {
    const Completion& completion = response.completion;
    return AmongTokens(completion.turns, std::span<const double>(values), completion.token_ids.size());
  };
  answer.waad = among(rhythm.waad);
  answer.delta = among(rhythm.delta);
  answer.fai = among(rhythm.fai);
  AddFlow(response, answer);
  answer.entropy = Widen(response.completion.entropy);
  answer.logprobs = Widen(response.completion.logprobs);
  answer.waad_window = static_cast<double>(credit.rhythm_options().window_tokens);
  answer.heads = {heads.layers, rhythm.span, rhythm.heads.local, rhythm.heads.global};
  if (!response.meter->attention().empty()) Draw(response, credit, heads, answer);
  return answer;
}

absl::Status AddAttention(const RunFolder& folder, const std::vector<SampleRecord>& samples,
                          std::vector<RhythmAnswer>& answers) {
  const std::string checkpoint = NewestCheckpoint(folder);
  const bool has_ids = std::any_of(samples.begin(), samples.end(),
                                   [](const SampleRecord& s) { return !s.prompt_ids.empty() && !s.token_ids.empty(); });
  if (checkpoint.empty() || !has_ids) return absl::OkStatus();
  ASSIGN_OR_RETURN(const RunModel run, OpenRunModel(folder, checkpoint + "/model"));
  const std::string weights = std::filesystem::path(checkpoint).filename().string();
  for (size_t first = 0; first < samples.size(); first += kDrawnAtOnce) {
    const size_t count = std::min(kDrawnAtOnce, samples.size() - first);
    std::vector<ScoreItem> items(count);  // one of an older file stays empty, and its answer as it is
    for (size_t i = 0; i < count; ++i) {
      const SampleRecord& sample = samples[first + i];
      if (sample.prompt_ids.empty()) continue;
      items[i] = {sample.prompt_ids, sample.token_ids,
                  TurnsAt(sample.sampled, sample.token_ids.size()).value_or(std::vector<Turn>())};
    }
    ASSIGN_OR_RETURN(const std::vector<MeasuredResponse> measured,
                     MeasureResponses(*run.engine, *run.credit, std::move(items),
                                      run.head_classes.has_value() ? &*run.head_classes : nullptr, kKeptAttentionBytes,
                                      run.tokenizer.get()));
    for (size_t i = 0; i < count; ++i) {
      if (measured[i].meter == nullptr) continue;
      Complement(AnswerOf(measured[i], *run.credit, run.heads, *run.tokenizer), weights, answers[first + i]);
    }
  }
  return absl::OkStatus();
}

}  // namespace tactus
