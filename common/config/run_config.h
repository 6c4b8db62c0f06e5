// A run's configuration: read once, resolved and checked once, never changed afterwards.
//
//   ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig("configs/quickstart.textproto", {"seed=2"}));
//
// After loading every field of proto/config.proto reads as its default where it is not given, so readers never ask
// has_x(). Callers that read fields include proto/config.pb.h.
// All functions are thread-safe and hold no state. Only LoadRunConfig does I/O.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/config_fwd.h"

namespace tactus::config {

// What the held-out set of eval's own fields is called where each has a name.
inline constexpr char kFirstEvalSet[] = "test";
inline std::string EvalSetName(const std::string& name) { return name.empty() ? kFirstEvalSet : name; }

// Larger files are refused unread: a configuration is a page of text.
inline constexpr size_t kMaxConfigBytes = size_t{1} << 20;

// Reads a textproto, applies the environment's TACTUS_GPU_GRAPHS, TACTUS_GPU_FLASH_ATTENTION and
// TACTUS_GPU_SHARED_WEIGHTS (1, true, 0 or false), then `overrides` ("path.to.field=value", in order; a repeated field
// takes "1,2,3" and is replaced whole), fills in the defaults and checks every field. NotFound: no such file.
// InvalidArgument: one sentence that names the file with line and column, the variable, or the --set, and says what was
// expected.
absl::StatusOr<RunConfig> LoadRunConfig(const std::string& path, const std::vector<std::string>& overrides);

// The same for text in memory; `source` stands for the file's name in errors.
absl::StatusOr<RunConfig> ParseRunConfig(absl::string_view text, absl::string_view source,
                                         const std::vector<std::string>& overrides);

// The rules of a task's options alone, for callers that make them without a file. InvalidArgument: as LoadRunConfig.
absl::Status CheckTaskOptions(const TaskOptions& options);

// Tokens that are sampled for the credit of each of an answer's, if every continuation gets as long as the answer is:
// with credit.strategy: VINE; 0 with others.
double ContinuationsPerToken(const RunConfig& config);

// Things that are allowed and seldom meant, one sentence each: truncated sampling in training, ...
std::vector<std::string> Warnings(const RunConfig& config);

// The complete configuration as a textproto with every field in declaration order. Loading it gives the same
// configuration, and the same text again.
std::string ResolvedText(const RunConfig& config);

// Names what two processes of one run must agree on, as 64 hex digits: the SHA-256 of the resolved text without
// what proto/config.proto marks not_in_fingerprint: it may differ between machines or between parts of a run.
std::string Fingerprint(const RunConfig& config);

// Every leaf field as "path.to.field", in declaration order.
std::vector<std::string> FieldPaths();

}  // namespace tactus::config
