#include "common/config/validate.h"

#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "proto/config.pb.h"

namespace tactus::config {
namespace {

using MaybeProblem = std::optional<Problem>;

constexpr double kLeastSourceShare = 1e-6;
constexpr int64_t kMaxContinuations = 65536;  // an actor holds those of its groups until they are judged

// `where` is "task." or a source's "task.sources[0].", and `kind` its field that says "qa".
MaybeProblem CheckSource(const TaskOptions& task, const std::string& where, absl::string_view kind) {
  for (const auto& [field, path] : {std::pair("train_path", &task.train_path()), {"test_path", &task.test_path()}}) {
    if (task.name() != "qa" || !path->empty()) continue;
    return Problem{where + field,
                   absl::StrCat("is missing: expected a JSONL or Parquet file, as ", where, kind, " is \"qa\"")};
  }
  if (task.name() == "countdown" && task.train_path().empty() != task.test_path().empty()) {
    return Problem{where + (task.train_path().empty() ? "train_path" : "test_path"),
                   "is missing: expected puzzles to train on and held-out ones, both read or both made"};
  }
  if (task.min_numbers() > task.max_numbers()) {
    return Problem{where + "min_numbers", absl::StrCat("is ", task.min_numbers(), ": expected at most ", where,
                                                       "max_numbers = ", task.max_numbers())};
  }
  return std::nullopt;
}

MaybeProblem CheckSources(const TaskOptions& task) {
  const std::vector<TaskOptions> options = SourcesOf(task);
  const std::vector<double> weights = SourceWeights(task);
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::set<std::string> names;
  for (size_t i = 0; i < options.size(); ++i) {
    const std::string path = absl::StrCat("task.sources[", i, "].");
    const std::string& name = task.sources(static_cast<int>(i)).name();
    if (!names.insert(name).second) {
      return Problem{path + "name", absl::StrCat("is \"", name, "\": expected a name that no other source has")};
    }
    if (weights[i] < kLeastSourceShare * all) {
      return Problem{path + "weight",
                     absl::StrCat("is ", weights[i], ": expected at least a millionth of all sources' together")};
    }
    if (MaybeProblem problem = CheckSource(options[i], path, "task")) return problem;
  }
  return std::nullopt;
}

MaybeProblem CheckTaskRelations(const TaskOptions& task) {
  if (task.sources().empty()) return CheckSource(task, "task.", "name");
  if (task.sources_size() > kMaxSources) {
    return Problem{"task.sources", absl::StrCat("are ", task.sources_size(), ": expected at most ", kMaxSources)};
  }
  if (task.name() == "environment") {
    return Problem{"task.name",
                   "is \"environment\" beside task.sources: expected one of the other tasks; a source's rewards: "
                   "ENVIRONMENT asks your server for rewards"};
  }
  for (const auto& [field, path] : {std::pair("train_path", &task.train_path()), {"test_path", &task.test_path()}}) {
    if (path->empty()) continue;
    return Problem{absl::StrCat("task.", field),
                   "is given beside task.sources: expected none, as each source names its own files"};
  }
  return CheckSources(task);
}

// Rules between fields; every field is in its own range by now.
MaybeProblem CheckRelations(const RunConfig& config) {
  const ModelOptions& model = config.model();
  if (!model.prompt_template().empty() && !absl::StrContains(model.prompt_template(), "{user}")) {
    return Problem{"model.prompt_template", "has no {user}: expected the place where the question goes"};
  }
  const RolloutOptions& rollout = config.rollout();
  const int64_t sequence = int64_t{rollout.max_prompt_tokens()} + rollout.max_completion_tokens();
  if (config.learner().micro_batch_tokens() < sequence) {
    return Problem{"learner.micro_batch_tokens",
                   absl::StrCat("is ", config.learner().micro_batch_tokens(), ": expected at least ", sequence,
                                ", the longest sequence (rollout.max_prompt_tokens + rollout.max_completion_tokens)")};
  }
  if (config.actor().max_step_tokens() < config.actor().max_sequences()) {
    return Problem{"actor.max_step_tokens",
                   absl::StrCat("is ", config.actor().max_step_tokens(), ": expected at least actor.max_sequences = ",
                                config.actor().max_sequences(), ", one token for each sequence")};
  }
  if (config.optimizer().schedule() == OptimizerOptions::WSD && config.optimizer().decay_steps() == 0) {
    return Problem{"optimizer.decay_steps",
                   "is 0: expected the updates in which the learning rate falls, as "
                   "optimizer.schedule is WSD"};
  }
  const int updates = config.algorithm().updates_per_batch();
  if (rollout.prompts_per_step() % updates != 0) {
    return Problem{"algorithm.updates_per_batch",
                   absl::StrCat("is ", updates,
                                ": expected a divisor of rollout.prompts_per_step = ", rollout.prompts_per_step())};
  }
  return std::nullopt;
}

MaybeProblem CheckAlgorithm(const RunConfig& config) {
  const AlgorithmOptions& algorithm = config.algorithm();
  if (algorithm.clip_dual() != 0 && algorithm.clip_dual() <= 1 + algorithm.clip_high()) {
    return Problem{"algorithm.clip_dual",
                   absl::StrCat("is ", algorithm.clip_dual(),
                                ": expected 0, or more than 1 + algorithm.clip_high = ", 1 + algorithm.clip_high())};
  }
  if (algorithm.clip_dual() != 0 && algorithm.loss() == AlgorithmOptions::CISPO) {
    return Problem{"algorithm.clip_dual", "is given with loss: CISPO: expected CLIP or GSPO, whose ratio it bounds"};
  }
  const bool mask = algorithm.tis_rule() == AlgorithmOptions::MASK;
  if (mask && algorithm.tis_floor() > algorithm.tis_cap()) {
    return Problem{"algorithm.tis_floor", absl::StrCat("is ", algorithm.tis_floor(),
                                                       ": expected at most algorithm.tis_cap = ", algorithm.tis_cap())};
  }
  if (!mask && algorithm.tis_floor() != 0) {
    return Problem{"algorithm.tis_floor", "is given with tis_rule: TRUNCATE: expected MASK, whose lower bound it is"};
  }
  if (algorithm.entropy_coefficient() != 0 && config.rollout().temperature() != 1) {
    return Problem{"algorithm.entropy_coefficient",
                   absl::StrCat("is given with rollout.temperature = ", config.rollout().temperature(),
                                ": expected temperature 1, at which the entropy is taken")};
  }
  const int longest = config.rollout().max_completion_tokens();
  if (algorithm.overlong_buffer_tokens() > longest) {
    return Problem{"algorithm.overlong_buffer_tokens",
                   absl::StrCat("is ", algorithm.overlong_buffer_tokens(),
                                ": expected at most rollout.max_completion_tokens = ", longest)};
  }
  return std::nullopt;
}

MaybeProblem CheckCredit(const CreditOptions& credit) {
  if (credit.horizon_max_tokens() != 0 && credit.horizon_min_tokens() > credit.horizon_max_tokens()) {
    return Problem{"credit.horizon_min_tokens",
                   absl::StrCat("is ", credit.horizon_min_tokens(), ": expected at most credit.horizon_max_tokens = ",
                                credit.horizon_max_tokens(), ", or 0 there for no limit")};
  }
  // The least weight there can be is 1 + this: a token of COUPLED may be an anchor and introduce another one.
  const bool coupled = credit.strategy() == CreditOptions::COUPLED;
  const double bonus = (credit.amplification() - 1) * (coupled ? 1 + credit.alpha() : 1);
  if (bonus <= -1 && (credit.normalize() || coupled)) {
    return Problem{"credit.amplification", absl::StrCat("is ", credit.amplification(), ": expected more with ",
                                                        credit.normalize() ? "credit.normalize" : "strategy: COUPLED",
                                                        ", so that every token's weight is above 0")};
  }
  if (credit.strategy() == CreditOptions::FLOW && credit.head_mode() != CreditOptions::CALIBRATED) {
    return Problem{
        "credit.head_mode",
        "is PER_RESPONSE with strategy: FLOW: expected CALIBRATED, so that the heads whose attention is kept "
        "are known while an answer is sampled"};
  }
  int32_t previous = -1;
  for (const int32_t layer : credit.layers()) {
    if (layer <= previous) {
      return Problem{"credit.layers", absl::StrCat("holds ", layer, " after ", previous,
                                                   ": expected layers counted from 0, increasing, each once")};
    }
    previous = layer;
  }
  return std::nullopt;
}

MaybeProblem CheckVine(const RunConfig& config) {
  const CreditOptions& credit = config.credit();
  const RolloutOptions& rollout = config.rollout();
  if (credit.strategy() != CreditOptions::VINE) return std::nullopt;
  if (EnvironmentJudges(config.task())) {
    return Problem{"credit.strategy",
                   "is VINE with rewards of an environment: expected a task with a verifier, by which the actor judges "
                   "continuations of its answers"};
  }
  if (rollout.max_staleness_steps() != 0) {
    return Problem{"rollout.max_staleness_steps",
                   absl::StrCat("is ", rollout.max_staleness_steps(),
                                " with credit.strategy: VINE: expected 0, so that an answer and its continuations are "
                                "sampled by the same weights")};
  }
  const int64_t continuations =
      int64_t{rollout.completions_per_prompt()} * credit.vine_positions() * credit.vine_samples();
  if (continuations > kMaxContinuations) {
    return Problem{"credit.vine_samples",
                   absl::StrCat("is ", credit.vine_samples(), ", which makes ", continuations,
                                " continuations a group (rollout.completions_per_prompt x credit.vine_positions x "
                                "credit.vine_samples): expected at most ",
                                kMaxContinuations)};
  }
  return std::nullopt;
}

MaybeProblem CheckService(const ServiceOptions& service) {
  const int given = !service.tls_cert_path().empty() + !service.tls_key_path().empty() + !service.tls_ca_path().empty();
  if (given != 0 && given != 3) {
    const char* missing = service.tls_cert_path().empty()  ? "service.tls_cert_path"
                          : service.tls_key_path().empty() ? "service.tls_key_path"
                                                           : "service.tls_ca_path";
    return Problem{missing, "is missing: expected certificate, key and CA together, or none of them"};
  }
  if (given == 0 && !service.plaintext()) {
    return Problem{"service.plaintext",
                   "is false and no certificate is given: expected the three service.tls_* paths, or "
                   "plaintext: true on a network you trust"};
  }
  if (given == 3 && service.plaintext()) {
    return Problem{"service.plaintext", "is true although certificates are given: expected one of the two"};
  }
  return std::nullopt;
}

MaybeProblem CheckEnvironment(const RunConfig& config) {
  const bool judges = EnvironmentJudges(config.task());
  const bool given = !config.environment().address().empty();
  if (judges && !given) {
    return Problem{"environment.address",
                   absl::StrCat("is missing: expected host:port of your server, as ",
                                config.task().name() == "environment" ? "task.name is \"environment\""
                                : config.task().sources().empty()     ? "task.rewards is ENVIRONMENT"
                                                                      : "a source's rewards are ENVIRONMENT")};
  }
  if (judges && config.environment().timeout_s() > config.rollout().lease_timeout_s()) {
    return Problem{"environment.timeout_s",
                   absl::StrCat("is ", config.environment().timeout_s(),
                                ": expected at most rollout.lease_timeout_s = ", config.rollout().lease_timeout_s())};
  }
  if (given && !judges) {
    return Problem{"environment.address",
                   "is given although nothing is asked there: expected task.rewards: ENVIRONMENT, or task.name: "
                   "\"environment\" where the prompts are the server's, too"};
  }
  return std::nullopt;
}

MaybeProblem CheckSetSource(const TaskOptions& task, const EvalSet& set, const std::string& path) {
  const bool mixed = !task.sources().empty();
  const std::optional<size_t> source = SourceIndex(task, set.source());
  if (!set.source().empty() && !source.has_value()) {
    return Problem{path + "source",
                   absl::StrCat("is \"", set.source(), "\": expected ",
                                mixed ? absl::StrCat("one of task.sources, ", absl::StrJoin(SourceNames(task), ", "))
                                      : "none, as there are no task.sources")};
  }
  if (set.test_path().empty()) return std::nullopt;
  if (mixed && !source.has_value()) {
    return Problem{path + "source", "is missing: expected the source that the rows of test_path are read as"};
  }
  const std::string kind = SourcesOf(task)[source.value_or(0)].name();
  if (kind == "qa") return std::nullopt;
  return Problem{path + "test_path",
                 absl::StrCat("is given: expected none, as task ", kind, " has one test set; task qa reads others")};
}

MaybeProblem CheckEval(const RunConfig& config) {
  const EvalOptions& eval = config.eval();
  std::set<std::string> names = {kFirstEvalSet};
  for (int i = 0; i < eval.sets_size(); ++i) {
    const EvalSet& set = eval.sets(i);
    const std::string path = absl::StrCat("eval.sets[", i, "].");
    if (!names.insert(set.name()).second) {
      return Problem{path + "name",
                     absl::StrCat("is \"", set.name(), "\": expected a name that no other set has, and not \"",
                                  kFirstEvalSet, "\"")};
    }
    if (MaybeProblem problem = CheckSetSource(config.task(), set, path)) return problem;
    if (eval.by() == EvalOptions::LAUNCHER && !set.source().empty()) {
      return Problem{path + "source", absl::StrCat("is \"", set.source(),
                                                   "\", with eval.by: LAUNCHER: expected eval.by: ACTORS, who measure "
                                                   "sources apart")};
    }
    if (eval.by() == EvalOptions::LAUNCHER && eval.max_prompts() == 0) {
      return Problem{path + "name", absl::StrCat("is \"", set.name(),
                                                 "\", with eval.max_prompts: 0, with which the launcher measures "
                                                 "nothing: expected 1 or more")};
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<Problem> ValidateTask(const TaskOptions& task) {
  if (MaybeProblem problem = CheckRules(task, "task.")) return problem;
  return CheckTaskRelations(task);
}

std::optional<Problem> Validate(const RunConfig& config) {
  if (MaybeProblem problem = CheckRules(config, "")) return problem;
  if (MaybeProblem problem = CheckTaskRelations(config.task())) return problem;
  if (MaybeProblem problem = CheckRelations(config)) return problem;
  if (MaybeProblem problem = CheckAlgorithm(config)) return problem;
  if (MaybeProblem problem = CheckCredit(config.credit())) return problem;
  if (MaybeProblem problem = CheckVine(config)) return problem;
  if (MaybeProblem problem = CheckEnvironment(config)) return problem;
  if (MaybeProblem problem = CheckEval(config)) return problem;
  return CheckService(config.service());
}

}  // namespace tactus::config
