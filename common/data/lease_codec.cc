// Leases, between their plain form and the wire's.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "proto/trajectory.pb.h"

namespace tactus {
namespace {

constexpr double kMaxLeaseTimeoutS = 1e7;

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::StatusOr<EvaluationSampling> SamplingFromWire(const wire::EvaluationSampling& in) {
  const bool sane =
      in.temperature() >= 0 && std::isfinite(in.temperature()) && in.top_p() > 0 && in.top_p() <= 1 && in.top_k() >= 0;
  if (!sane) return Invalid("lease.evaluation must have temperature >= 0, top_p in (0, 1] and top_k >= 0");
  return EvaluationSampling{.temperature = in.temperature(), .top_p = in.top_p(), .top_k = in.top_k()};
}

}  // namespace

wire::PromptLease ToWire(const PromptLease& lease) {
  wire::PromptLease out;
  out.set_lease_id(lease.lease_id);
  out.mutable_prompt()->set_id(lease.prompt.id);
  out.mutable_prompt()->mutable_token_ids()->Add(lease.prompt.token_ids.begin(), lease.prompt.token_ids.end());
  out.mutable_prompt()->set_answer_key_json(lease.prompt.answer_key_json);
  out.mutable_prompt()->set_source(lease.prompt.source);
  out.set_completions_wanted(static_cast<uint32_t>(lease.completions_wanted));
  out.set_seed(lease.seed);
  out.set_timeout_s(lease.timeout_s);
  *out.mutable_version() = ToWire(lease.version);
  if (lease.evaluation.has_value()) {
    out.mutable_evaluation()->set_temperature(lease.evaluation->temperature);
    out.mutable_evaluation()->set_top_p(lease.evaluation->top_p);
    out.mutable_evaluation()->set_top_k(lease.evaluation->top_k);
  }
  return out;
}

absl::StatusOr<PromptLease> FromWire(const wire::PromptLease& lease, const TrajectoryLimits& limits) {
  PromptLease out;
  out.lease_id = lease.lease_id();
  out.prompt.id = lease.prompt().id();
  out.prompt.token_ids = {lease.prompt().token_ids().begin(), lease.prompt().token_ids().end()};
  out.prompt.answer_key_json = lease.prompt().answer_key_json();
  out.prompt.source = lease.prompt().source();
  RETURN_IF_ERROR(ValidatePrompt(out.prompt, limits));
  if (IsEvaluation(out.lease_id) != lease.has_evaluation()) {
    return Invalid("lease.evaluation must be given where the lease id has its top bit set, and nowhere else");
  }
  const bool evaluation = lease.has_evaluation();
  const uint32_t least = evaluation ? 1 : limits.completions_per_prompt;
  const uint32_t most = evaluation ? kMaxEvaluationSamples : limits.completions_per_prompt;
  if (lease.completions_wanted() < least || lease.completions_wanted() > most) {
    return Invalid("lease.completions_wanted is ", lease.completions_wanted(), "; expected ", least,
                   evaluation ? absl::StrCat(" to ", most) : "");
  }
  if (evaluation) {
    ASSIGN_OR_RETURN(out.evaluation, SamplingFromWire(lease.evaluation()));
  }
  if (!(lease.timeout_s() > 0 && lease.timeout_s() <= kMaxLeaseTimeoutS)) {
    return Invalid("lease.timeout_s is ", lease.timeout_s(), "; expected seconds in (0, ", kMaxLeaseTimeoutS, "]");
  }
  out.completions_wanted = static_cast<int>(lease.completions_wanted());
  out.seed = lease.seed();
  out.timeout_s = lease.timeout_s();
  out.version = FromWire(lease.version());
  return out;
}

}  // namespace tactus
