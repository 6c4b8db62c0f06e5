#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actor/engine/load_engine.h"
#include "common/base/file.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/rhythm/credit_assigner.h"
#include "proto/config.pb.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/local_model.h"
#include "tools/batch/response_jsonl.h"
#include "tools/batch/rhythm_jsonl.h"
#include "tools/command.h"
#include "tools/report/rhythm_view.h"

namespace tactus {
namespace {

constexpr size_t kMostDrawn = 64;

struct RhythmFlags : ModelFlags {
  JsonlFlags jsonl;
  std::optional<std::string> html, paper, config;
  DrawFlags draw;

  void Declare(CLI::App& app) {
    jsonl.Declare(app);
    AddFlag(app, "--html FILE", html, "also draw the first 64 responses as a page");
    AddFlag(app, "--paper VERSION", paper, "v1 or v2: the paper's defaults [v2]");
    AddFlag(app, "--config FILE", config,
            "take the credit options of this run instead of the defaults; calibrated head classes then come from the "
            "checkpoint that --model is in");
    draw.DeclareBatch(app);
    ModelFlags::Declare(app);
  }
};

absl::StatusOr<CreditAssigner> CreditOf(const RhythmFlags& flags) {
  if (flags.config.has_value()) {
    ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(*flags.config, {}));
    return CreditAssigner::FromProto(run.credit());
  }
  const std::string paper = flags.paper.value_or("v2");
  if (paper != "v1" && paper != "v2") {
    return absl::InvalidArgumentError(absl::StrCat("--paper cannot be \"", paper, "\": expected v1 or v2."));
  }
  return CreditAssigner::FromOverrides({paper == "v1" ? "credit.paper=PAPER_V1" : "credit.paper=PAPER_V2"});
}

absl::Status Run(const RhythmFlags& flags) {
  if (flags.config.has_value() && flags.paper.has_value()) {
    return absl::InvalidArgumentError("expected --paper or --config, not both: the configuration names its paper.");
  }
  if (flags.html.has_value()) {
    RETURN_IF_ERROR(CheckDistinct("--html", *flags.html, "--input", flags.jsonl.input));
    RETURN_IF_ERROR(CheckDistinct("--html", *flags.html, "--output", flags.jsonl.output));
  }
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditOf(flags));
  ASSIGN_OR_RETURN(const LocalModel model, OpenLocalModel(flags));
  const int batch = flags.draw.batch;
  const ModelConfig& shape = model.folder.config;
  ASSIGN_OR_RETURN(ops::AttentionProbe probe, credit.Probe(shape.num_layers, shape.num_heads));
  probe.flow_row_entries = credit.flow_options().row_entries;
  const SampledHeads heads{probe.layers, shape.num_heads};
  RhythmJsonlOptions options{.lines_at_once = static_cast<size_t>(batch), .layers = probe.layers};
  ASSIGN_OR_RETURN(options.head_classes, HeadClassesFor(model.folder.path, shape, credit));
  if (flags.html.has_value()) {
    options.lines_at_once = kDrawnAtOnce;
    options.keep_attention_bytes = kKeptAttentionBytes;
  }
  // Without one the numbers can be had, and the answer, where flow ends, is taken to be the last tokens.
  std::unique_ptr<Tokenizer> tokenizer;
  std::error_code ignored;
  const std::string tokenizer_path = model.folder.path + "/tokenizer.json";
  if (flags.html.has_value() || std::filesystem::exists(tokenizer_path, ignored)) {
    ASSIGN_OR_RETURN(tokenizer, Tokenizer::FromFile(tokenizer_path));
  }
  options.tokenizer = tokenizer.get();
  std::vector<RhythmAnswer> answers;
  const auto seen = [&](const std::string& id_json, MeasuredResponse& response) {
    if (!flags.html.has_value() || answers.size() == kMostDrawn) return;
    answers.push_back(AnswerOf(response, credit, heads, *tokenizer));
    answers.back().title = absl::StrCat("response ", id_json);
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   OpenLocalEngine(flags, model, batch, /*max_sequence_tokens=*/0, std::move(probe)));
  const ResponseLimits limits = {.max_position = shape.max_position, .vocab_size = shape.vocab_size};
  RETURN_IF_ERROR(WithJsonl(
      flags.jsonl,
      [&](std::istream& in, std::ostream&, absl::string_view name) { return CheckResponses(in, name, limits); },
      [&](std::istream& in, std::ostream& out, absl::string_view name) {
        return RhythmJsonl(*engine, credit, options, in, name, out, seen);
      }));
  if (!flags.html.has_value()) return absl::OkStatus();
  return WriteFileAtomic(*flags.html,
                         RhythmPageHtml(absl::StrCat("Attention rhythm of ", NameOf(flags.model)), answers));
}

}  // namespace

constinit const Command kRhythmCommand = {
    .name = "rhythm",
    .summary = "Measures the attention rhythm of given responses, or of a run's samples",
    .synopsis = "--model DIR --input FILE [--output FILE] [--html FILE] [--paper v1|v2 | --config FILE]",
    .example =
        "tactus rhythm --model models/quickstart --input responses.jsonl --output rhythm.jsonl --html rhythm.html\n"
        "  tactus rhythm --model runs/a/checkpoints/step-000150/model --input runs/a/samples.jsonl --html rhythm.html",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
