// The sources of a run's prompts: those of task.sources, or the task itself where it has none, so that one and many are
// read alike. Thread-safe, no I/O. Callers include proto/config.pb.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/config_fwd.h"

namespace tactus::config {

inline constexpr int kMaxSources = 64;

// Each source as the options of a task that has no sources; at least one.
std::vector<TaskOptions> SourcesOf(const TaskOptions& task);
// Their names; "" is the one of a task without sources.
std::vector<std::string> SourceNames(const TaskOptions& task);
// How often each one's turn comes, in relation to the others.
std::vector<double> SourceWeights(const TaskOptions& task);

// The place of the source of that name; nullopt: there is none.
std::optional<size_t> SourceIndex(const TaskOptions& task, absl::string_view name);

// Whether the server at environment.address says what answers are worth, to prompts of at least one source.
bool EnvironmentJudges(const TaskOptions& task);

// Gives each source what it takes from the task. Idempotent.
void ResolveSources(TaskOptions* task);

}  // namespace tactus::config
