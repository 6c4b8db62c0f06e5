#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rhythm/credit_assigner.h"
#include "tools/batch/generate.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/local_model.h"
#include "tools/batch/prompt_jsonl.h"
#include "tools/batch/response_jsonl.h"
#include "tools/batch/rhythm_jsonl.h"
#include "tools/command.h"
#include "tools/study/study_perturb.h"
#include "tools/study/study_report.h"
#include "tools/study/study_runs.h"

namespace tactus {
namespace {

constexpr size_t kMaxResponses = 1 << 16;

struct StudyFlags : ModelFlags {
  std::string study;
  std::optional<std::string> prompts, input;
  int max_tokens = 220, peaks = 2, continue_tokens = 64;
  std::optional<double> temperature;
  std::string peak_quantile = "0.8";
  int64_t lag_tokens = 1;
  DrawFlags draw;

  void Declare(CLI::App& app) {
    AddArgument(app, study, "a study, couplings or perturb,");
    AddFlag(app, "--prompts FILE", prompts, "JSONL of prompts to answer, as `tactus generate` reads them");
    AddFlag(app, "--input FILE", input,
            "JSONL of given responses instead, as `tactus rhythm` reads them; - is standard input");
    AddFlag(app, "--max-tokens N", max_tokens, "of each answer", 1, 1 << 20);
    AddFlag(app, "--temperature X", temperature,
            "of the answers; the paper's if not given: 0.7 for couplings, 0 (greedy) for perturb", 0, 100);
    AddFlag(app, "--peak-quantile Q", peak_quantile,
            "a peak stands above this quantile of its response; 0: every local maximum");
    AddFlag(app, "--lag-tokens N", lag_tokens, "couplings: how soon after a WAAD peak a FAI peak follows it", 0, 1000);
    AddFlag(app, "--peaks K", peaks, "perturb: FAI peaks of each response", 1, 1000);
    AddFlag(app, "--continue-tokens N", continue_tokens, "perturb: of each continuation", 1, 1 << 20);
    draw.Declare(app);
    ModelFlags::Declare(app);
  }
};

struct Study {
  const StudyFlags& flags;
  const LocalModel& model;
  const Tokenizer& tokenizer;
  const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template;
  Decimal peak_quantile;
  uint64_t seed = 0;
  GenerateOptions generate;
};

absl::StatusOr<Decimal> CheckFlags(const StudyFlags& flags) {
  const std::string& name = flags.study;
  if (name != "couplings" && name != "perturb") {
    return absl::InvalidArgumentError(absl::StrCat("there is no study \"", name, "\": expected couplings or perturb."));
  }
  if (flags.prompts.has_value() == flags.input.has_value()) {
    return absl::InvalidArgumentError("expected either --prompts FILE or --input FILE.");
  }
  if (flags.input.has_value() && flags.temperature.has_value()) {
    return absl::InvalidArgumentError("--temperature does not go with --input: the responses are there already.");
  }
  return Decimal::ParseShare(flags.peak_quantile, "--peak-quantile");
}

// The paper's, where none is given.
double Temperature(const StudyFlags& flags) { return flags.temperature.value_or(flags.study == "couplings" ? 0.7 : 0); }

GenerateOptions GenerateOptionsOf(const StudyFlags& flags, std::vector<TokenId> stop_ids) {
  GenerateOptions options;
  options.max_tokens = flags.max_tokens;
  options.samples = flags.draw.samples;
  options.seed = flags.draw.seed;
  options.sampling.temperature = static_cast<float>(Temperature(flags));
  options.stop_ids = std::move(stop_ids);
  return options;
}

absl::Status TooMany(absl::string_view name) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": expected at most ", kMaxResponses, " responses."));
}

absl::StatusOr<std::vector<ScoreItem>> Answers(const Study& study, Engine& engine, std::istream& in,
                                               absl::string_view name) {
  PromptReader reader(study.tokenizer, study.chat_template,
                      {.max_tokens = study.generate.max_tokens,
                       .max_position = engine.config().max_position,
                       .vocab_size = engine.config().vocab_size},
                      in, name);
  std::vector<std::vector<TokenId>> prompts;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<PromptLine> line, reader.Next());
    if (!line.has_value()) break;
    prompts.push_back(std::move(line->prompt_ids));
    if (prompts.size() * static_cast<size_t>(study.generate.samples) > kMaxResponses) return TooMany(name);
  }
  return SampleResponses(engine, prompts, study.generate);
}

absl::StatusOr<std::vector<ScoreItem>> GivenResponses(const ModelConfig& model, std::istream& in,
                                                      absl::string_view name) {
  const ResponseLimits limits = {.max_position = model.max_position, .vocab_size = model.vocab_size};
  std::vector<ScoreItem> items;
  RETURN_IF_ERROR(ForEachResponses(in, name, limits, /*lines_at_once=*/1, [&](std::span<const ResponseLine> lines) {
    for (const ResponseLine& line : lines) items.push_back(line.item);
    return items.size() > kMaxResponses ? TooMany(name) : absl::OkStatus();
  }));
  return items;
}

nlohmann::ordered_json Head(const Study& study, std::span<const MeasuredResponse> responses) {
  double tokens = 0;
  for (const MeasuredResponse& one : responses) tokens += static_cast<double>(one.item.response_ids.size());
  nlohmann::ordered_json json;
  json["study"] = study.flags.study;
  json["model"] = study.flags.model;
  json["responses"] = responses.size();
  json["response_tokens_mean"] = tokens / static_cast<double>(responses.size());
  if (study.flags.prompts.has_value()) {
    json["samples_per_prompt"] = study.generate.samples;
    json["max_tokens"] = study.generate.max_tokens;
    json["temperature"] = Temperature(study.flags);
  }
  json["seed"] = study.seed;
  json["peak_quantile"] = study.flags.peak_quantile;
  return json;
}

// FAI of the global heads that are no receiver heads; empty when there are none.
std::vector<double> OtherFai(const MeasuredResponse& response, const RhythmOptions& options) {
  const HeadClasses others = {response.rhythm.heads.local, GlobalWithoutReceivers(response.rhythm)};
  if (others.global.empty()) return {};
  return ComputeRhythm(response.meter->Finish(), options, &others).fai;
}

void Couplings(const Study& study, const RhythmOptions& options, std::span<const MeasuredResponse> responses,
               nlohmann::ordered_json& json) {
  const int64_t lag_tokens = study.flags.lag_tokens;
  std::vector<Coupling> entropy, receiver, other, follows;
  double receivers = 0, receivers_global = 0;
  for (const MeasuredResponse& one : responses) {
    const std::vector<double> other_fai = OtherFai(one, options);
    ResponseCouplings couplings =
        CouplingsOf(one.rhythm, other_fai, one.completion.entropy, study.peak_quantile, lag_tokens);
    entropy.push_back(std::move(couplings.entropy_at_waad_peaks));
    receiver.push_back(std::move(couplings.receiver_peak_is_fai_peak));
    other.push_back(std::move(couplings.receiver_peak_is_other_peak));
    follows.push_back(std::move(couplings.fai_peak_follows_waad));
    receivers += static_cast<double>(one.rhythm.receiver_heads.size());
    receivers_global += static_cast<double>(one.rhythm.heads.global.size() - GlobalWithoutReceivers(one.rhythm).size());
  }
  const CouplingResults results = {
      .entropy_at_waad_peaks = MeasureCoupling(entropy, study.seed),
      .receiver_peak_is_fai_peak = MeasureCoupling(receiver, study.seed),
      .receiver_peak_is_other_peak = MeasureCoupling(other, study.seed),
      .fai_peak_follows_waad = MeasureCoupling(follows, study.seed),
  };
  json["lag_tokens"] = lag_tokens;
  json["receiver_heads_global_share"] = receivers_global / std::max(1.0, receivers);
  json["couplings"] = CouplingsJson(results);
  std::fputs(CouplingsTable(results).c_str(), stderr);
}

absl::Status Perturbations(const Study& study, Engine& engine, std::span<const MeasuredResponse> responses,
                           nlohmann::ordered_json& json) {
  const PerturbOptions options = {.peaks_per_response = static_cast<size_t>(study.flags.peaks),
                                  .continue_tokens = study.flags.continue_tokens,
                                  .peak_quantile = study.peak_quantile,
                                  .seed = study.seed,
                                  .stop_ids = study.generate.stop_ids};
  ASSIGN_OR_RETURN(const PerturbResult result, Perturb(engine, study.tokenizer, responses, options));
  json["peaks_per_response"] = options.peaks_per_response;
  json["continue_tokens"] = options.continue_tokens;
  json["perturbation"] = PerturbJson(result);
  std::fputs(PerturbTable(result).c_str(), stderr);
  return absl::OkStatus();
}

absl::Status RunStudy(const Study& study, std::istream& in, std::ostream& out, absl::string_view in_name) {
  // The paper's analysis measures FAI to the end of the response.
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromOverrides({"credit.horizon_max_tokens=0"}));
  ASSIGN_OR_RETURN(ops::AttentionProbe probe,
                   credit.Probe(study.model.folder.config.num_layers, study.model.folder.config.num_heads));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   OpenLocalEngine(study.flags, study.model, study.flags.draw.batch,
                                   /*max_sequence_tokens=*/0, std::move(probe)));
  ASSIGN_OR_RETURN(std::vector<ScoreItem> items, study.flags.prompts.has_value()
                                                     ? Answers(study, *engine, in, in_name)
                                                     : GivenResponses(engine->config(), in, in_name));
  if (items.empty()) return absl::InvalidArgumentError(absl::StrCat(in_name, ": expected at least one line."));
  ASSIGN_OR_RETURN(const std::vector<MeasuredResponse> responses,
                   MeasureResponses(*engine, credit, std::move(items), /*head_classes=*/nullptr,
                                    /*keep_attention_bytes=*/0));
  nlohmann::ordered_json json = Head(study, responses);
  if (study.flags.study == "couplings") {
    Couplings(study, credit.rhythm_options(), responses, json);
  } else {
    RETURN_IF_ERROR(Perturbations(study, *engine, responses, json));
  }
  out << json.dump(2) << '\n';
  return absl::OkStatus();
}

absl::Status Run(const StudyFlags& flags) {
  ASSIGN_OR_RETURN(const Decimal peak_quantile, CheckFlags(flags));
  ASSIGN_OR_RETURN(const LocalModel model, OpenLocalModel(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::FromFile(model.folder.path + "/tokenizer.json"));
  const auto chat_template = ChatTemplate::FromModelFolder(model.folder.path, "");
  ASSIGN_OR_RETURN(std::vector<TokenId> stop_ids,
                   StopTokens(model.folder, *tokenizer, chat_template.ok() ? chat_template->get() : nullptr));
  const Study study = {.flags = flags,
                       .model = model,
                       .tokenizer = *tokenizer,
                       .chat_template = chat_template,
                       .peak_quantile = peak_quantile,
                       .seed = flags.draw.seed,
                       .generate = GenerateOptionsOf(flags, std::move(stop_ids))};
  return WithJsonl(
      {.input = flags.prompts.has_value() ? *flags.prompts : *flags.input},
      [](std::istream&, std::ostream&, absl::string_view) { return absl::OkStatus(); },  // the study writes last
      [&](std::istream& in, std::ostream& out, absl::string_view name) { return RunStudy(study, in, out, name); });
}

}  // namespace

constinit const Command kRhythmStudyCommand = {
    .name = "rhythm-study",
    .summary = "Measures on a model what the paper of the attention rhythm reports, with intervals",
    .synopsis =
        "couplings|perturb --model DIR (--prompts FILE | --input FILE) [--samples K] [--max-tokens N] [--seed S]",
    .example =
        "tactus rhythm-study couplings --model models/smollm2-135m-instruct --prompts prompts.jsonl\n"
        "  tactus rhythm-study perturb --model models/smollm2-135m-instruct --prompts prompts.jsonl --peaks 2",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
