// `tactus loss`: the trainer's advantages and losses on given numbers, one JSON object per line, in float64.
//
// The fields are CLI.md's. A field that has no effect may be left out: gamma with sign "none", logp_behav without
// tis_cap and KL in the reward, logp_ref with kl_beta 0, fixed_length with another agg. Besides, all optional, as in
// algorithm of a run's configuration: clip_dual; tis_level "token", "sequence", "geometric"; tis_rule "truncate",
// "mask"; tis_floor; kl_estimator "k1", "k2", "k3"; kl_place "loss", "reward"; overlong_buffer with overlong_max and
// overlong_penalty (an answer is as long as its mask has ones); truncated, one 0 or 1 per completion: those are not
// trained on, as with mask_overlong; turn_rewards, of each completion the rewards of its turns, which add up to its one
// of rewards, with turns [B][T], the turn of each token from 0: advantages by turn, of which each completion then has a
// list; entropy_coefficient with entropy [B][T], the policy's at each token, of whose bonus "grad_entropy" is the
// derivative. Where mask is 0 anything may stand, also null and the NaN and Infinity that Python's json module writes.
// Input is not trusted: its size and depth are bounded.
#pragma once

#include <istream>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr size_t kMaxLossLineBytes = size_t{64} << 20;

// One line to one line, without the newline. InvalidArgument is one sentence that starts with `where`.
absl::StatusOr<std::string> LossLine(absl::string_view line, absl::string_view where);

// Every line of `in` (blank ones skipped), each result written to `out` before the next is read. Stops at the first
// error: InvalidArgument names source_name and the line's number; Unavailable: the input or the output failed.
absl::Status LossJsonl(std::istream& in, std::ostream& out, absl::string_view source_name);

}  // namespace tactus
