#include "common/config/validate.h"

#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/decimal.h"
#include "common/config/field_path.h"
#include "common/config/resolve.h"
#include "common/device/device_spec.h"
#include "google/protobuf/descriptor.h"

namespace tactus::config {
namespace {

using google::protobuf::FieldDescriptor;
using MaybeProblem = std::optional<Problem>;

std::string Number(double value) {
  return value == std::floor(value) && std::fabs(value) < 1e15 ? absl::StrCat(static_cast<int64_t>(value))
                                                               : absl::StrCat(value);
}

std::string RangeText(const FieldSpec& spec) {
  if (std::isinf(spec.max)) return absl::StrCat("at least ", Number(spec.min));
  return absl::StrCat("from ", Number(spec.min), " to ", Number(spec.max));
}

MaybeProblem CheckRanges(const RunConfig& config) {
  for (const FieldSpec& spec : FieldSpecs()) {
    const absl::string_view path = spec.path;
    if (std::isinf(spec.min) || path == "rollout.stop_token_ids" || path == "credit.layers") continue;
    const double value = NumericField(config, spec.path);
    if (!(value >= spec.min && value <= spec.max)) {
      return Problem{spec.path, absl::StrCat("is ", Number(value), ": expected a value ", RangeText(spec))};
    }
  }
  for (const int32_t id : config.rollout().stop_token_ids()) {
    if (id < 0)
      return Problem{"rollout.stop_token_ids", absl::StrCat("holds ", id, ": expected token ids of at least 0")};
  }
  return std::nullopt;
}

// Enum values set to 0 by name ("DTYPE_UNSPECIFIED") survive Resolve.
MaybeProblem CheckEnums(const RunConfig& config) {
  MaybeProblem problem;
  const auto check = [&problem](const char* path, int value) {
    if (value == 0 && !problem) problem = Problem{path, "is UNSPECIFIED: expected a named value, or to leave it out"};
  };
  check("model.dtype", config.model().dtype());
  check("credit.strategy", config.credit().strategy());
  check("credit.sign_rule", config.credit().sign_rule());
  check("credit.paper", config.credit().paper());
  check("credit.head_mode", config.credit().head_mode());
  check("algorithm.estimator", config.algorithm().estimator());
  check("algorithm.loss", config.algorithm().loss());
  check("algorithm.aggregation", config.algorithm().aggregation());
  check("optimizer.schedule", config.optimizer().schedule());
  return problem;
}

MaybeProblem CheckModelAndTask(const RunConfig& config) {
  const ModelOptions& model = config.model();
  const TaskOptions& task = config.task();
  if (model.path().empty()) return Problem{"model.path", "is missing: expected a Hugging Face model folder"};
  if (!model.prompt_template().empty() && !absl::StrContains(model.prompt_template(), "{user}")) {
    return Problem{"model.prompt_template", "has no {user}: expected the place where the question goes"};
  }
  if (task.name() != "countdown" && task.name() != "arithmetic" && task.name() != "qa") {
    return Problem{"task.name",
                   absl::StrCat(task.name().empty() ? "is missing" : absl::StrCat("is \"", task.name(), "\""),
                                ": expected \"countdown\", \"arithmetic\" or \"qa\"")};
  }
  if (task.name() == "qa") {
    if (task.train_path().empty())
      return Problem{"task.train_path", "is missing: expected a JSONL file, as task.name is \"qa\""};
    if (task.test_path().empty())
      return Problem{"task.test_path", "is missing: expected a JSONL file, as task.name is \"qa\""};
  }
  if (task.prompt_style() != "chat" && task.prompt_style() != "compact") {
    return Problem{"task.prompt_style",
                   absl::StrCat("is \"", task.prompt_style(), "\": expected \"chat\" or \"compact\"")};
  }
  return std::nullopt;
}

// Rules between fields; every field is in its own range by now.
MaybeProblem CheckRelations(const RunConfig& config) {
  const TaskOptions& task = config.task();
  if (task.min_numbers() > task.max_numbers()) {
    return Problem{"task.min_numbers", absl::StrCat("is ", task.min_numbers(),
                                                    ": expected at most task.max_numbers = ", task.max_numbers())};
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

enum class Zero { kAllowed, kRefused };

MaybeProblem CheckShare(const char* path, const std::string& text, Zero zero) {
  const absl::StatusOr<Decimal> share = Decimal::ParseShare(text, path);
  if (share.ok() && (zero == Zero::kAllowed || share->numerator() > 0)) return std::nullopt;
  return Problem{path, absl::StrCat("is \"", text, "\": expected a decimal such as \"0.4\", ",
                                    zero == Zero::kAllowed ? "from 0 to 1" : "above 0 and at most 1", ", with at most ",
                                    Decimal::kMaxDigits, " digits after the point")};
}

MaybeProblem CheckCredit(const CreditOptions& credit) {
  const MaybeProblem shares[] = {
      CheckShare("credit.q", credit.q(), Zero::kRefused),
      CheckShare("credit.waad_quantile", credit.waad_quantile(), Zero::kAllowed),
      CheckShare("credit.delta_quantile", credit.delta_quantile(), Zero::kAllowed),
      CheckShare("credit.head_share", credit.head_share(), Zero::kRefused),
      CheckShare("credit.receiver_share", credit.receiver_share(), Zero::kRefused),
      CheckShare("credit.audit_share", credit.audit_share(), Zero::kAllowed),
  };
  for (const MaybeProblem& problem : shares) {
    if (problem) return problem;
  }
  if (credit.horizon_max_tokens() != 0 && credit.horizon_min_tokens() > credit.horizon_max_tokens()) {
    return Problem{"credit.horizon_min_tokens",
                   absl::StrCat("is ", credit.horizon_min_tokens(), ": expected at most credit.horizon_max_tokens = ",
                                credit.horizon_max_tokens(), ", or 0 there for no limit")};
  }
  int32_t previous = -1;
  for (const int32_t layer : credit.layers()) {
    if (layer <= previous) {
      return Problem{"credit.layers",
                     absl::StrCat("holds ", layer, previous < 0 ? "" : absl::StrCat(" after ", previous),
                                  ": expected layers counted from 0, increasing, each once")};
    }
    previous = layer;
  }
  return std::nullopt;
}

MaybeProblem CheckDevices(const RunConfig& config) {
  const std::pair<const char*, std::string> fields[] = {{"learner.device", config.learner().device()},
                                                        {"actor.device", config.actor().device()}};
  for (const auto& [path, text] : fields) {
    const absl::Status status = ParseDeviceSpec(text).status();
    if (!status.ok()) return Problem{path, std::string(status.message())};
  }
  return std::nullopt;
}

// host:port, or [v6]:port; the port may be 0 (any free one).
bool IsAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0 || text.size() > 300) return false;
  const absl::string_view host = text.substr(0, colon);
  const bool bracketed = host.front() == '[' && host.back() == ']';
  if (!bracketed && absl::StrContains(host, ":")) return false;
  const absl::string_view digits = text.substr(colon + 1);
  for (const char c : digits) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
  }
  return absl::SimpleAtoi(digits, &port) && port >= 0 && port <= 65535;
}

bool IsRunId(absl::string_view text) {
  if (text.empty() || text.size() > 63) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') return false;
  }
  return true;
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
  if (!IsAddress(service.listen())) {
    return Problem{"service.listen", absl::StrCat("is \"", service.listen(), "\": expected host:port")};
  }
  if (!IsAddress(service.metrics_listen())) {
    return Problem{"service.metrics_listen", absl::StrCat("is \"", service.metrics_listen(), "\": expected host:port")};
  }
  if (!IsRunId(service.run_id())) {
    return Problem{"service.run_id",
                   absl::StrCat("is \"", service.run_id(), "\": expected 1 to 63 letters, digits, '-', '_' or '.'")};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Problem> Validate(const RunConfig& config) {
  if (MaybeProblem problem = CheckModelAndTask(config)) return problem;
  if (MaybeProblem problem = CheckEnums(config)) return problem;
  if (MaybeProblem problem = CheckRanges(config)) return problem;
  if (MaybeProblem problem = CheckRelations(config)) return problem;
  if (MaybeProblem problem = CheckCredit(config.credit())) return problem;
  if (MaybeProblem problem = CheckDevices(config)) return problem;
  return CheckService(config.service());
}

}  // namespace tactus::config
