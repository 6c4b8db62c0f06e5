// A study's plan. What is accepted prints as text that is read as the same plan, and its runs have folders of their
// own.
#include <set>
#include <string>

#include "common/config/study_plan.h"
#include "proto/study.pb.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {

void FuzzStudyPlan(absl::string_view input) {
  const absl::StatusOr<config::StudyPlan> plan = config::ParseStudyPlan(input, "study.textproto");
  if (!plan.ok()) {
    Require(!plan.status().message().empty(), "a refusal says why");
    return;
  }
  const absl::StatusOr<config::StudyPlan> again = config::ParseStudyPlan(config::StudyPlanText(*plan), "again");
  Require(again.ok() && again->SerializeAsString() == plan->SerializeAsString(), "the plan's text is the same plan");
  std::set<std::string> names;
  for (const config::StudyVariant& variant : plan->variant()) {
    Require(!variant.name().empty() && variant.name().find('/') == std::string::npos, "a name is a name of a folder");
    Require(names.insert(variant.name()).second, "names differ");
  }
}

}  // namespace tactus::fuzz
