#include "common/config/run_config.h"

#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/config/field_path.h"
#include "common/config/resolve.h"
#include "common/config/textproto.h"
#include "common/config/validate.h"
#include "common/device/host_limits.h"
#include "proto/config.pb.h"

namespace tactus::config {
namespace {

absl::Status ApplyOverride(absl::string_view text, RunConfig* config) {
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--set ", text, ": expected path.to.field=value, such as --set rollout.temperature=0.8."));
  }
  const absl::Status status = SetField(config, text.substr(0, equals), text.substr(equals + 1));
  return status.ok() ? status : absl::Status(status.code(), absl::StrCat("--set ", text, ": ", status.message()));
}

// Where a field stands: "--set" if it came from there, "file:line:column" if the file has it, else the file.
std::string Where(absl::string_view path, absl::string_view source, const std::vector<std::string>& overrides,
                  const Locations& locations) {
  for (auto it = overrides.rbegin(); it != overrides.rend(); ++it) {
    if (absl::StartsWith(*it, absl::StrCat(path, "="))) return absl::StrCat("--set ", *it);
  }
  return PlaceOf(path, source, *RunConfig::descriptor(), locations);
}

// The switches of GpuOptions that the environment sets, as overrides.
absl::StatusOr<std::vector<std::string>> SwitchesOfEnvironment() {
  std::vector<std::string> overrides;
  for (const auto& [variable, field] :
       {std::pair("TACTUS_GPU_GRAPHS", "gpu.graphs"), std::pair("TACTUS_GPU_FLASH_ATTENTION", "gpu.flash_attention"),
        std::pair("TACTUS_GPU_SHARED_WEIGHTS", "gpu.shared_weights")}) {
    const char* const text = std::getenv(variable);
    if (text == nullptr || *text == '\0') continue;
    const absl::string_view value = text;
    const bool on = value == "1" || value == "true";
    if (!on && value != "0" && value != "false") {
      return absl::InvalidArgumentError(
          absl::StrCat(variable, " cannot be \"", value, "\": expected 1, true, 0 or false."));
    }
    overrides.push_back(absl::StrCat(field, "=", on ? "true" : "false"));
  }
  return overrides;
}

}  // namespace

absl::StatusOr<RunConfig> ParseRunConfig(absl::string_view text, absl::string_view source,
                                         const std::vector<std::string>& overrides) {
  Locations locations;
  RunConfig config;
  RETURN_IF_ERROR(ParseTextproto(text, source, &config, &locations));
  for (const std::string& item : overrides) RETURN_IF_ERROR(ApplyOverride(item, &config));
  Resolve(&config);
  if (const std::optional<Problem> problem = Validate(config)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(problem->path, source, overrides, locations), ": ", problem->path, " ", problem->text, "."));
  }
  return config;
}

absl::StatusOr<RunConfig> LoadRunConfig(const std::string& path, const std::vector<std::string>& overrides) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(std::vector<std::string> all, SwitchesOfEnvironment());
  all.insert(all.end(), overrides.begin(), overrides.end());
  return ParseRunConfig(WithoutByteOrderMark(text), path, all);
}

absl::Status CheckTaskOptions(const TaskOptions& options) {
  const std::optional<Problem> problem = ValidateTask(options);
  if (!problem) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(problem->path, " ", problem->text, "."));
}

double ContinuationsPerToken(const RunConfig& config) {
  const CreditOptions& credit = config.credit();
  if (credit.strategy() != CreditOptions::VINE) return 0;
  // From the prompt once for all answers of a group; then (M - 1) / M of the answer, ..., 1 / M.
  const double from_prompt = 1.0 / config.rollout().completions_per_prompt();
  return credit.vine_samples() * (from_prompt + (credit.vine_positions() - 1) / 2.0);
}

std::vector<std::string> Warnings(const RunConfig& config) {
  std::vector<std::string> warnings;
  const RolloutOptions& rollout = config.rollout();
  if (rollout.top_p() < 1.0 || rollout.top_k() > 0) {
    warnings.push_back(
        "rollout.top_p and rollout.top_k change the distribution that is sampled: the recorded log-probs are those of "
        "the "
        "truncated one, which training does not follow; prefer 1.0 and 0.");
  }
  if (rollout.completions_per_prompt() == 1) {
    warnings.push_back("rollout.completions_per_prompt is 1: a group of one has no advantage, so nothing is learned.");
  }
  if (config.optimizer().warmup_steps() >= config.learner().steps()) {
    warnings.push_back(
        "optimizer.warmup_steps is not below learner.steps: the learning rate never reaches optimizer.lr.");
  }
  if (const double factor = ContinuationsPerToken(config); factor > 0) {
    warnings.push_back(absl::StrCat("credit.strategy is VINE: about ", factor,
                                    " tokens are sampled for the credit of each token of an answer."));
  }
  const int cpus = OwnHostLimits().cpus;
  for (const auto& [field, threads] : {std::pair("learner.threads", config.learner().threads()),
                                       std::pair("actor.threads", config.actor().threads())}) {
    if (threads <= cpus) continue;
    warnings.push_back(absl::StrCat(field, " is ", threads, ", and a process may use ", cpus,
                                    " CPUs here (by its affinity and the quotas of its control groups): more threads "
                                    "than that wait for each other."));
  }
  const absl::StatusOr<HostPort> listen = HostPort::Parse(config.service().listen(), "service.listen");
  if (config.service().plaintext() && !(listen.ok() && listen->IsLoopback())) {
    warnings.push_back(
        "service.plaintext is true and service.listen is not loopback: the streams between learner and actors are not "
        "encrypted.");
  }
  return warnings;
}

}  // namespace tactus::config
