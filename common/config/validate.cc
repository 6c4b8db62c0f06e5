#include "common/config/validate.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/config.pb.h"

namespace tactus::config {
namespace {

using MaybeProblem = std::optional<Problem>;

MaybeProblem CheckTaskRelations(const TaskOptions& task) {
  if (task.name() == "qa" && task.train_path().empty()) {
    return Problem{"task.train_path", "is missing: expected a JSONL file, as task.name is \"qa\""};
  }
  if (task.name() == "qa" && task.test_path().empty()) {
    return Problem{"task.test_path", "is missing: expected a JSONL file, as task.name is \"qa\""};
  }
  if (task.min_numbers() > task.max_numbers()) {
    return Problem{"task.min_numbers", absl::StrCat("is ", task.min_numbers(),
                                                    ": expected at most task.max_numbers = ", task.max_numbers())};
  }
  return std::nullopt;
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
  const int updates = config.algorithm().updates_per_batch();
  if (rollout.prompts_per_step() % updates != 0) {
    return Problem{"algorithm.updates_per_batch",
                   absl::StrCat("is ", updates,
                                ": expected a divisor of rollout.prompts_per_step = ", rollout.prompts_per_step())};
  }
  return std::nullopt;
}

MaybeProblem CheckCredit(const CreditOptions& credit) {
  if (credit.horizon_max_tokens() != 0 && credit.horizon_min_tokens() > credit.horizon_max_tokens()) {
    return Problem{"credit.horizon_min_tokens",
                   absl::StrCat("is ", credit.horizon_min_tokens(), ": expected at most credit.horizon_max_tokens = ",
                                credit.horizon_max_tokens(), ", or 0 there for no limit")};
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

}  // namespace

std::optional<Problem> ValidateTask(const TaskOptions& task) {
  if (MaybeProblem problem = CheckRules(task, "task.")) return problem;
  return CheckTaskRelations(task);
}

std::optional<Problem> Validate(const RunConfig& config) {
  if (MaybeProblem problem = CheckRules(config, "")) return problem;
  if (MaybeProblem problem = CheckTaskRelations(config.task())) return problem;
  if (MaybeProblem problem = CheckRelations(config)) return problem;
  if (MaybeProblem problem = CheckCredit(config.credit())) return problem;
  return CheckService(config.service());
}

}  // namespace tactus::config
