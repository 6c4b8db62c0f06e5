// A study's plan (proto/study.proto): read once and checked once. Thread-safe; only LoadStudyPlan does I/O. Callers
// that read fields include proto/study.pb.h.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus::config {

class StudyPlan;

inline constexpr int kMaxStudyRuns = 10000;
// Larger files are refused unread.
inline constexpr size_t kMaxPlanBytes = size_t{1} << 20;

// Reads a textproto and checks it: that every field is in its range, at least one variant and one seed are there, names
// and seeds stand once each, and no override sets the seed. What the overrides say of a configuration is not looked
// at. NotFound: no such file. InvalidArgument: one sentence that names the file, with line and column where it has
// them, and what was expected.
absl::StatusOr<StudyPlan> LoadStudyPlan(const std::string& path);

// The same for text in memory; `source` stands for the file's name in errors.
absl::StatusOr<StudyPlan> ParseStudyPlan(absl::string_view text, absl::string_view source);

// As a textproto with every field that was given. Parsing it gives the same plan.
std::string StudyPlanText(const StudyPlan& plan);

}  // namespace tactus::config
