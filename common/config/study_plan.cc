#include "common/config/study_plan.h"

#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/config/field_rules.h"
#include "common/config/textproto.h"
#include "proto/study.pb.h"

namespace tactus::config {
namespace {

using MaybeProblem = std::optional<Problem>;

MaybeProblem CheckOverrides(const google::protobuf::RepeatedPtrField<std::string>& overrides,
                            const std::string& prefix) {
  for (int i = 0; i < overrides.size(); ++i) {
    if (!absl::StartsWith(overrides[i], "seed=")) continue;
    return Problem{
        absl::StrCat(prefix, "set[", i, "]"),
        absl::StrCat("is \"", overrides[i], "\": expected seeds in the field seed, which every variant has")};
  }
  return std::nullopt;
}

MaybeProblem CheckPlan(const StudyPlan& plan) {
  if (MaybeProblem problem = CheckRules(plan, "")) return problem;
  if (plan.variant().empty()) return Problem{"variant", "is missing: expected at least one"};
  if (plan.seed().empty()) return Problem{"seed", "is missing: expected at least one"};
  if (int64_t{plan.variant_size()} * plan.seed_size() > kMaxStudyRuns) {
    return Problem{"seed", absl::StrCat("makes ", int64_t{plan.variant_size()} * plan.seed_size(),
                                        " runs of all variants: expected at most ", kMaxStudyRuns)};
  }
  std::set<uint64_t> seeds;
  for (int i = 0; i < plan.seed_size(); ++i) {
    if (seeds.insert(plan.seed(i)).second) continue;
    return Problem{absl::StrCat("seed[", i, "]"), absl::StrCat("is ", plan.seed(i), " again: expected another")};
  }
  if (MaybeProblem problem = CheckOverrides(plan.set(), "")) return problem;
  std::set<std::string> names;
  for (int i = 0; i < plan.variant_size(); ++i) {
    const std::string prefix = absl::StrCat("variant[", i, "].");
    if (!names.insert(plan.variant(i).name()).second) {
      return Problem{prefix + "name", absl::StrCat("is \"", plan.variant(i).name(), "\" again: expected another")};
    }
    if (MaybeProblem problem = CheckOverrides(plan.variant(i).set(), prefix)) return problem;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<StudyPlan> ParseStudyPlan(absl::string_view text, absl::string_view source) {
  StudyPlan plan;
  Locations locations;
  RETURN_IF_ERROR(ParseTextproto(text, source, &plan, &locations));
  if (const MaybeProblem problem = CheckPlan(plan)) {
    return absl::InvalidArgumentError(absl::StrCat(PlaceOf(problem->path, source, *StudyPlan::descriptor(), locations),
                                                   ": ", problem->path, " ", problem->text, "."));
  }
  return plan;
}

absl::StatusOr<StudyPlan> LoadStudyPlan(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxPlanBytes));
  return ParseStudyPlan(WithoutByteOrderMark(text), path);
}

std::string StudyPlanText(const StudyPlan& plan) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(plan, &text);
  return text;
}

}  // namespace tactus::config
