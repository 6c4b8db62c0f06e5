#include "absl/strings/str_cat.h"
#include "actor/engine/load_engine.h"
#include "common/base/status_macros.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/local_model.h"
#include "tools/batch/score_jsonl.h"
#include "tools/command.h"

namespace tactus {
namespace {

struct ScoreFlags : ModelFlags {
  JsonlFlags jsonl;
  std::string path;
  DrawFlags draw;

  void Declare(CLI::App& app) {
    jsonl.Declare(app);
    AddRequired(app, "--path PATH", path, "actor (token by token), actor-prefill (in pieces) or learner (packed)");
    draw.DeclareBatch(app);
    ModelFlags::Declare(app);
  }
};

absl::StatusOr<std::unique_ptr<ResponseScorer>> MakeScorer(const ScoreFlags& flags, const LocalModel& model) {
  const std::string& path = flags.path;
  const int batch = flags.draw.batch;
  if (path == "learner") return LearnerScorer(model.folder, model.dtype, batch);
  if (path == "actor") {
    ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, OpenLocalEngine(flags, model, batch, /*max_sequence_tokens=*/0));
    return DecodeScorer(std::move(engine));
  }
  if (path == "actor-prefill") {
    EngineSetup setup;
    setup.weights_dtype = model.dtype;
    setup.engine.max_sequences = 1;
    setup.kv_cache_mib = flags.kv_cache_mib;
    ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner, LoadRunner(model.folder, setup));
    return PrefillScorer(std::move(runner), setup.engine.max_step_tokens);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--path cannot be \"", path, "\": expected actor, actor-prefill or learner."));
}

absl::Status Run(const ScoreFlags& flags) {
  ASSIGN_OR_RETURN(const LocalModel model, OpenLocalModel(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<ResponseScorer> scorer, MakeScorer(flags, model));
  const ModelConfig& shape = model.folder.config;
  const ResponseLimits limits = {.max_position = shape.max_position, .vocab_size = shape.vocab_size};
  return WithJsonl(
      flags.jsonl,
      [&](std::istream& in, std::ostream&, absl::string_view name) { return CheckResponses(in, name, limits); },
      [&](std::istream& in, std::ostream& out, absl::string_view name) {
        return ScoreJsonl(*scorer, limits, flags.draw.batch, in, name, out);
      });
}

}  // namespace

constinit const Command kScoreCommand = {
    .name = "score",
    .summary = "Computes the log-probs of given responses, by the actor's path or the learner's",
    .synopsis = "--model DIR --input FILE [--output FILE] --path PATH [--batch B]",
    .example = "tactus score --model models/quickstart --input responses.jsonl --output scores.jsonl --path learner",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
