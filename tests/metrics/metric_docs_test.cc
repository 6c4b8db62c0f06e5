// The table's names, the documents made of it, and what a process exposes, held against each other.
#include "common/metrics/metric_docs.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/metrics/metric_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/metrics/exposition_check.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What a process exposes from its start, and all that a learner exposes after a step.
std::vector<MetricSpec> Table() { return {MetricTable().begin(), MetricTable().end()}; }

// Every number measured.
StepRecord FullRecord() {
  StepRecord record;
  double value = 0;
  for (const StepField& field : StepFields()) record.*field.member = value += 1;
  return record;
}

std::string FileText(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

TEST(MetricTableTest, FollowsTheRulesAndIsIndexedById) {
  EXPECT_THAT(TableProblems(EveryMetric()), IsEmpty());
  int position = 0;
  for (const MetricSpec& spec : MetricTable()) EXPECT_EQ(static_cast<int>(spec.id), position++) << spec.name;
}

TEST(MetricTableTest, EachRuleFindsItsViolation) {
  const auto problems_with = [](const std::function<void(MetricSpec&)>& change) {
    std::vector<MetricSpec> table = Table();
    change(table[static_cast<size_t>(Metric::kLearnerPhaseSeconds)]);
    return TableProblems(table);
  };
  static constexpr const char* kTwice[] = {"a", "a"};
  EXPECT_THAT(problems_with([](MetricSpec&) {}), IsEmpty());
  for (const char* name :
       {"tactus_learner_step", "learner_phase_seconds_total", "tactus_learner_phase_seconds",
        "tactus_phase_milliseconds_total", "tactus_phase_percent_seconds_total", "tactus_seconds_phase_total",
        "tactus:phase_seconds_total", "tactus_Phase_seconds_total", "tactus_phase_gib_total"}) {
    EXPECT_FALSE(problems_with([&](MetricSpec& spec) { spec.name = name; }).empty()) << name;
  }
  for (const char* label : {"le", "quantile", "job", "instance", "rank", "a-b", "Phase"}) {
    EXPECT_FALSE(problems_with([&](MetricSpec& spec) { spec.labels.name = label; }).empty()) << label;
  }
  for (const char* help : {"", "too short.", "A sentence that never ends", "One of | two sides."}) {
    EXPECT_FALSE(problems_with([&](MetricSpec& spec) { spec.help = help; }).empty()) << help;
  }
  EXPECT_FALSE(problems_with([](MetricSpec& spec) { spec.unit = "bytes"; }).empty());
  EXPECT_FALSE(problems_with([](MetricSpec& spec) { spec.unit = ""; }).empty());
  EXPECT_FALSE(problems_with([](MetricSpec& spec) { spec.labels.values = {}; }).empty());
  EXPECT_FALSE(problems_with([](MetricSpec& spec) { spec.labels.values = kTwice; }).empty());
  EXPECT_FALSE(problems_with([](MetricSpec& spec) { spec.type = MetricType::kHistogram; }).empty());
}

TEST(MetricDocsTest, TheCommittedDocumentsAreThoseOfTheTable) {
  const std::string docs = SourcePath("docs");
  EXPECT_EQ(FileText(docs + "/metrics.md"), MetricsMarkdown()) << "run: build/release/bin/metric_docs docs";
  EXPECT_EQ(FileText(docs + "/metrics.json"), MetricsJson()) << "run: build/release/bin/metric_docs docs";
}

TEST(MetricDocsTest, JsonTellsAMetricWhole) {
  const nlohmann::json all = nlohmann::json::parse(MetricsJson()).at("metrics");
  const auto named = [&](const std::string& name) {
    for (const nlohmann::json& metric : all) {
      if (metric.at("name") == name) return metric;
    }
    return nlohmann::json();
  };
  const nlohmann::json phase = named("tactus_learner_phase_seconds_total");
  EXPECT_EQ(phase.at("type"), "counter");
  EXPECT_EQ(phase.at("unit"), "seconds");
  EXPECT_EQ(phase.at("processes"), nlohmann::json({"learner", "follower"}));
  EXPECT_EQ(phase.at("labels")[0], nlohmann::json({{"name", "rank"}}));
  EXPECT_THAT(phase.at("labels")[1].at("values"), Contains("allreduce"));
  EXPECT_EQ(named("tactus_ingest_ack_duration_seconds").at("buckets")[0], 0.0005);
  EXPECT_EQ(named("process_start_time_seconds").at("processes").size(), 3u);
  const nlohmann::json kl = named("tactus_policy_kl_nats");
  EXPECT_EQ(kl.at("unit"), "nats");
  EXPECT_EQ(kl.at("title"), "KL");
  EXPECT_EQ(kl.at("step"), true);
  EXPECT_EQ(kl.at("processes"), nlohmann::json({"learner"}));
  EXPECT_EQ(kl.at("labels")[0].at("values"), nlohmann::json({"reference", "proximal"}));
  EXPECT_THAT(kl.at("help").get<std::string>(),
              HasSubstr("reference = KL to the starting policy, k3, nats per token (absent if no reference policy"));
  EXPECT_FALSE(phase.contains("step"));
}

class ExpositionTest : public ::testing::TestWithParam<ProcessRole> {};

TEST_P(ExpositionTest, HasWhatTheTableSaysAndNothingElse) {
  MetricSet metrics({.role = GetParam(), .rank = 3, .task = "countdown", .run_id = "r"});
  const std::string text = metrics.Text();
  EXPECT_THAT(ExpositionProblems(text, GetParam(), MetricTable()), IsEmpty());
  for (const auto& [name, family] : ParseExposition(text)) {
    if (name == "tactus_build_info" || name.starts_with("process_")) continue;
    EXPECT_THAT(family.values, ::testing::Each(0.0)) << name << " does not start at 0";
  }
}

TEST(ExpositionTest, AStepAddsExactlyWhatItMeasured) {
  MetricSet metrics({.role = ProcessRole::kLearner, .rank = 0, .task = "countdown", .run_id = "r"});
  StepRecord record = FullRecord();
  record.kl_k3 = kAbsent;
  metrics.SetStep(record);
  EXPECT_THAT(ExpositionProblems(metrics.Text(), ProcessRole::kLearner, EveryMetric()),
              ::testing::UnorderedElementsAre(HasSubstr("tactus_policy_kl_nats has other label values"),
                                              HasSubstr("tactus_policy_kl_nats has 1 series")));
  metrics.SetStep(FullRecord());
  EXPECT_THAT(ExpositionProblems(metrics.Text(), ProcessRole::kLearner, EveryMetric()), IsEmpty());
  const std::map<std::string, ExposedFamily> families = ParseExposition(metrics.Text());
  for (const StepField& field : StepFields()) {
    if (field.series.metric == nullptr) continue;
    const ExposedFamily& family = families.at(field.series.metric);
    double shown = -1;
    for (size_t i = 0; i < family.series.size(); ++i) {
      const auto& labels = family.series[i];
      if (field.series.label == nullptr || labels.at(field.series.label) == field.series.value)
        shown = family.values[i];
    }
    EXPECT_EQ(shown, FullRecord().*field.member) << field.key;
  }
}

INSTANTIATE_TEST_SUITE_P(EveryRole, ExpositionTest,
                         ::testing::Values(ProcessRole::kLearner, ProcessRole::kFollower, ProcessRole::kActor));

TEST(ExpositionTest, ARenamedMetricOrLabelIsFound) {
  MetricSet metrics({.role = ProcessRole::kLearner, .task = "countdown", .run_id = "r"});
  metrics.SetStep(FullRecord());
  for (const char* score : {"pass_1", "pass_k_high"}) metrics.SetOf(Metric::kEvalSetScore, "hard", 0.5, score);
  for (const char* part : {"total", "correct"}) metrics.SetOf(Metric::kSourceReward, "gsm8k", 0.5, part);
  for (const char* kind : {"informative", "all_pass"}) metrics.AddOf(Metric::kSourceGroups, "gsm8k", 1, kind);
  const std::string text = metrics.Text();
  EXPECT_THAT(ExpositionProblems(text, ProcessRole::kLearner, EveryMetric()), IsEmpty());
  static constexpr const char* kFewer[] = {"prompt"};
  const std::vector<MetricSpec> all = EveryMetric();
  for (size_t i = 0; i < all.size(); ++i) {
    if (!Exposes(ProcessRole::kLearner, all[i].scope)) continue;
    std::vector<MetricSpec> table = all;
    table[i].name = "tactus_renamed";
    EXPECT_THAT(ExpositionProblems(text, ProcessRole::kLearner, table),
                Contains(HasSubstr(all[i].labels.open == nullptr ? "tactus_renamed" : all[i].name)));
    table = all;
    table[i].help = "Another help.";
    EXPECT_EQ(ExpositionProblems(text, ProcessRole::kLearner, table).size(), 1u) << all[i].name;
    table = all;
    if (table[i].labels.name == nullptr) continue;
    table[i].labels.name = "renamed";
    EXPECT_FALSE(ExpositionProblems(text, ProcessRole::kLearner, table).empty()) << all[i].name;
    table[i].labels = all[i].labels;
    table[i].labels.values = kFewer;
    EXPECT_FALSE(ExpositionProblems(text, ProcessRole::kLearner, table).empty() && table[i].labels.values.size() > 1)
        << all[i].name;
  }
}

}  // namespace
}  // namespace tactus
