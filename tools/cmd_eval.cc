#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "actor/conversations.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "common/data/turns.h"
#include "common/environment/open_task.h"
#include "common/metrics/eval_stats.h"
#include "common/tasks/held_out_prompts.h"
#include "common/tasks/judge.h"
#include "common/tasks/prompt_encoder.h"
#include "common/tasks/task.h"
#include "common/tasks/turn_encoder.h"
#include "proto/config.pb.h"
#include "tools/batch/local_model.h"
#include "tools/batch/run_requests.h"
#include "tools/command.h"

namespace tactus {
namespace {

struct EvalFlags : ModelFlags {
  std::optional<std::string> task, config, data;
  std::vector<std::string> set;
  int prompts = 0;
  std::optional<double> temperature;
  DrawFlags draw{.batch = 64};

  void Declare(CLI::App& app) {
    AddFlag(app, "--task NAME", task, TaskNames() + "; needed without --config");
    AddFlag(app, "--config FILE", config, "take task and rollout options from a run's configuration");
    AddFlag(app, "--set FIELD=VALUE", set, "override one configuration field");
    AddFlag(app, "--data FILE", data, "qa, countdown: the test set, as task.test_path");
    AddFlag(app, "--prompts N", prompts, "of the test set; 0 = all", 0, 1e8);
    AddFlag(app, "--temperature X", temperature, "0 = greedy [rollout.temperature]", 0, 100);
    draw.Declare(app);
    ModelFlags::Declare(app);
  }
};

absl::StatusOr<config::RunConfig> EvalConfig(const EvalFlags& flags) {
  std::vector<std::string> overrides = flags.set;
  overrides.push_back(absl::StrCat("model.path=", flags.model));
  if (flags.task.has_value()) overrides.push_back(absl::StrCat("task.name=", *flags.task));
  if (flags.data.has_value()) {
    overrides.push_back(absl::StrCat("task.test_path=", *flags.data));
    overrides.push_back(absl::StrCat("task.train_path=", *flags.data));  // not read, but must be named
  }
  if (!flags.config.has_value() && !flags.task.has_value()) {
    return absl::InvalidArgumentError("expected --task NAME or --config FILE.");
  }
  ASSIGN_OR_RETURN(config::RunConfig run,
                   flags.config.has_value()
                       ? config::LoadRunConfig(*flags.config, overrides)
                       : config::ParseRunConfig("service { plaintext: true }", "tactus eval", overrides));
  if (flags.data.has_value() && run.task().name() != "qa" && run.task().name() != "countdown") {
    return absl::InvalidArgumentError(
        absl::StrCat("--data goes with task qa or countdown: ", run.task().name(), " reads no questions."));
  }
  return run;
}

// What the answers add up to.
struct Tally {
  std::vector<int> correct;  // per prompt
  std::map<std::string, int64_t> reasons;
  int64_t answers = 0, tokens = 0, turns = 0, truncated = 0;
  double reward = 0;
};

struct EvalQuestion {
  Prompt prompt;
  std::vector<Completion> answers{};  // so far; none once they are judged
};

struct Evaluation {
  const config::RunConfig& run;
  const Task& task;
  Judge* judge = nullptr;                  // null: answers are conversations, whose server tells the rewards
  Conversations* conversations = nullptr;  // null: they are not
  const PromptEncoder& encoder;
  const std::vector<TokenId>& stop_ids;
  std::vector<EvalQuestion> questions{};
  int left_out = 0;  // questions of the set that cannot be asked
  int samples = 1;
  uint64_t seed = 1;
  SamplingOptions sampling{};
  bool terminal = false;
};

absl::Status ReadQuestions(size_t count, int64_t vocab_size, Evaluation& eval) {
  const PromptBounds bounds = {.max_tokens = eval.run.rollout().max_prompt_tokens(), .vocab_size = vocab_size};
  ASSIGN_OR_RETURN(std::vector<Prompt> prompts, HeldOutPrompts(eval.run.task(), eval.task, eval.encoder, bounds,
                                                               HeldOutRows(eval.task, std::nullopt, count)));
  eval.left_out = static_cast<int>(count - prompts.size());
  for (Prompt& prompt : prompts) eval.questions.push_back({.prompt = std::move(prompt)});
  return absl::OkStatus();
}

EngineRequest MakeRequest(const Evaluation& eval, size_t index) {
  const Prompt& prompt = eval.questions[index].prompt;
  EngineRequest request;
  request.request_id = index;
  request.prompt_id = prompt.id;
  request.seed = eval.seed;
  request.prompt_ids = prompt.token_ids;
  request.num_completions = eval.samples;
  request.max_tokens = eval.run.rollout().max_completion_tokens();
  request.sampling = eval.sampling;
  request.stop_ids = eval.stop_ids;
  if (eval.conversations != nullptr) {
    request.max_turn_tokens = eval.conversations->max_turn_tokens();
    eval.conversations->Begin({.lease_id = index,
                               .prompt = prompt,
                               .completions_wanted = eval.samples,
                               .seed = eval.seed,
                               .timeout_s = eval.run.rollout().lease_timeout_s(),
                               .version = {},
                               .evaluation = std::nullopt},
                              request.max_tokens);
  }
  return request;
}

absl::StatusOr<std::vector<Reward>> RewardsOf(const Evaluation& eval, const EvalQuestion& question) {
  if (eval.judge == nullptr) {
    std::vector<Reward> told;
    for (const Completion& completion : question.answers) told.push_back(completion.reward);
    return told;
  }
  return ScoreCompletions(*eval.judge, eval.encoder.tokenizer(), question.prompt, question.answers,
                          MonotonicNow() + absl::Seconds(eval.run.rollout().lease_timeout_s()));
}

// All answers to a question at once, as in training.
absl::Status JudgeAnswers(Evaluation& eval, size_t index, Tally* tally) {
  EvalQuestion& question = eval.questions[index];
  ASSIGN_OR_RETURN(const std::vector<Reward> rewards, RewardsOf(eval, question));
  for (const Reward& reward : rewards) {
    tally->correct[index] += reward.correct > 0 ? 1 : 0;
    ++tally->reasons[reward.reason];
    tally->reward += reward.total;
  }
  question.answers.clear();
  return absl::OkStatus();
}

absl::Status Collect(Evaluation& eval, FinishedCompletion done, Tally* tally) {
  ++tally->answers;
  tally->tokens += SampledTokens(done.completion);
  tally->turns += static_cast<int64_t>(done.completion.turns.size());
  tally->truncated += done.completion.finish_reason == FinishReason::kLength ? 1 : 0;
  std::vector<Completion>& answers = eval.questions[done.request_id].answers;
  answers.push_back(std::move(done.completion));
  if (static_cast<int>(answers.size()) == eval.samples) RETURN_IF_ERROR(JudgeAnswers(eval, done.request_id, tally));
  if (eval.terminal) {
    std::fprintf(stderr, "\r%lld of %lld answers\033[K", static_cast<long long>(tally->answers),
                 static_cast<long long>(eval.questions.size()) * eval.samples);
  }
  return StopSignalCount() > 0 ? absl::CancelledError("stopped by Ctrl-C.") : absl::OkStatus();
}

// What has been said on either side is handed on.
absl::Status Converse(const Evaluation& eval, FinishAnswer finish) {
  if (eval.conversations == nullptr) return absl::OkStatus();
  Conversations::Outcome outcome = eval.conversations->Exchange();
  if (!outcome.failed.empty()) {
    const auto& [index, status] = outcome.failed.front();
    return absl::Status(status.code(), absl::StrCat("a conversation about held-out prompt ",
                                                    eval.questions[index].prompt.id, ": ", status.message()));
  }
  for (FinishedCompletion& one : outcome.finished) RETURN_IF_ERROR(finish(std::move(one)));
  return StopSignalCount() > 0 ? absl::CancelledError("stopped by Ctrl-C.") : absl::OkStatus();
}

absl::StatusOr<Tally> Evaluate(Evaluation& eval, Engine& engine) {
  Tally tally;
  tally.correct.resize(eval.questions.size());
  size_t next = 0;
  const auto next_request = [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
    if (next == eval.questions.size()) return std::nullopt;
    return MakeRequest(eval, next++);
  };
  const absl::Status status = RunConversations(
      engine, next_request, [&](FinishedCompletion done) { return Collect(eval, std::move(done), &tally); },
      [&](FinishAnswer finish) { return Converse(eval, finish); });
  if (eval.terminal) std::fputc('\n', stderr);
  RETURN_IF_ERROR(status);
  return tally;
}

nlohmann::ordered_json Json(const Interval& interval, const char* method) {
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}, {"interval", method}};
}

nlohmann::ordered_json Pass1(const PassEstimate& pass) {
  return Json(pass.pass1, pass.pass1_by_prompt ? "bootstrap over prompts" : "wilson");
}

// pass@1 of each of task.sources that has questions here.
nlohmann::ordered_json Sources(const Evaluation& eval, const Tally& tally) {
  const std::vector<std::string> names = config::SourceNames(eval.run.task());
  nlohmann::ordered_json json;
  for (size_t i = 0; i < names.size(); ++i) {
    std::vector<int> correct;
    for (size_t q = 0; q < eval.questions.size(); ++q) {
      if (eval.questions[q].prompt.source == i) correct.push_back(tally.correct[q]);
    }
    if (correct.empty()) continue;
    json[names[i]] = {{"prompts", correct.size()}, {"pass@1", Pass1(EstimatePass(eval.samples, correct, eval.seed))}};
  }
  return json;
}

nlohmann::ordered_json Summary(const Evaluation& eval, const Tally& tally, double seconds) {
  nlohmann::ordered_json json;
  json["model"] = eval.run.model().path();
  json["task"] = eval.run.task().name();
  json["prompts"] = eval.questions.size();
  if (eval.left_out > 0) json["prompts_left_out"] = eval.left_out;
  json["samples_per_prompt"] = eval.samples;
  json["seed"] = eval.seed;
  json["temperature"] = eval.sampling.temperature;
  const PassEstimate pass = EstimatePass(eval.samples, tally.correct, eval.seed);
  json["pass@1"] = Pass1(pass);
  if (pass.pass_k.has_value()) json[absl::StrCat("pass@", eval.samples)] = Json(*pass.pass_k, "wilson");
  if (!eval.run.task().sources().empty()) json["sources"] = Sources(eval, tally);
  const double answers = static_cast<double>(tally.answers);
  json["reward_mean"] = tally.reward / answers;
  json["completion_tokens_mean"] = static_cast<double>(tally.tokens) / answers;
  if (eval.conversations != nullptr) json["turns_mean"] = static_cast<double>(tally.turns) / answers;
  json["truncated_share"] = static_cast<double>(tally.truncated) / answers;
  json["reasons"] = tally.reasons;
  json["time_s"] = seconds;
  json["tokens_per_s"] = static_cast<double>(tally.tokens) / seconds;
  return json;
}

absl::Status Run(const EvalFlags& flags) {
  ASSIGN_OR_RETURN(const config::RunConfig run, EvalConfig(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<Task> task, OpenTestSet(run));
  ASSIGN_OR_RETURN(const RewardSource rewards, OpenRewards(run, kEnvironmentWait, /*metrics=*/nullptr));
  ASSIGN_OR_RETURN(const LocalModel model, OpenLocalModel(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptEncoder> encoder, PromptEncoder::Create(run.model()));
  ASSIGN_OR_RETURN(std::vector<TokenId> stop_ids, StopTokens(model.folder, encoder->tokenizer(), &encoder->chat()));
  stop_ids.insert(stop_ids.end(), run.rollout().stop_token_ids().begin(), run.rollout().stop_token_ids().end());
  const int size = static_cast<int>(task->Size(Split::kTest));
  if (size == 0) return absl::InvalidArgumentError("the test set is empty: nothing to evaluate on.");
  Evaluation eval{.run = run, .task = *task, .judge = rewards.judge.get(), .encoder = *encoder, .stop_ids = stop_ids};
  RETURN_IF_ERROR(ReadQuestions(static_cast<size_t>(flags.prompts == 0 ? size : std::min(flags.prompts, size)),
                                model.folder.config.vocab_size, eval));
  eval.samples = flags.draw.samples;
  eval.seed = flags.draw.seed;
  const double temperature = flags.temperature.value_or(run.rollout().temperature());
  eval.sampling = {.temperature = static_cast<float>(temperature),
                   .top_p = static_cast<float>(run.rollout().top_p()),
                   .top_k = run.rollout().top_k()};
  eval.terminal = isatty(STDERR_FILENO) == 1;
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   OpenLocalEngine(flags, model, flags.draw.batch,
                                   int64_t{run.rollout().max_prompt_tokens()} + run.rollout().max_completion_tokens()));
  const TurnEncoder turns(&encoder->tokenizer(), &encoder->chat(), model.folder.config.vocab_size);
  std::optional<Conversations> conversations;
  if (rewards.episodes != nullptr) {
    conversations.emplace(
        ConversationParts::FromProto(run.rollout(), rewards.episodes.get(), &turns, &encoder->tokenizer()),
        engine.get());
    eval.conversations = &*conversations;
  }
  CatchStopSignals();
  const absl::Time start = MonotonicNow();
  ASSIGN_OR_RETURN(const Tally tally, Evaluate(eval, *engine));
  const double seconds = SecondsSince(start);
  std::printf("%s\n", Summary(eval, tally, seconds).dump(2).c_str());
  return absl::OkStatus();
}

}  // namespace

constinit const Command kEvalCommand = {
    .name = "eval",
    .summary = "Measures pass@1 and pass@K on held-out prompts, with 95 % intervals",
    .synopsis = "--model DIR (--task NAME | --config FILE) [--data FILE] [--samples K] [--seed S]",
    .example = "tactus eval --model models/quickstart --config configs/quickstart.textproto --samples 8",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
