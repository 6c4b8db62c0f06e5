#include "tools/top/panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/metrics/metric_table.h"
#include "common/metrics/step_record.h"

namespace tactus::top {
namespace {

const MetricSpec* SpecOf(absl::string_view name) {
  static const std::vector<MetricSpec> all = EveryMetric();
  for (const char* suffix : {"", "_count", "_sum"}) {  // a histogram's own counters
    for (const MetricSpec& spec : all) {
      if (name == absl::StrCat(spec.name, suffix)) return &spec;
    }
  }
  return nullptr;
}

void CheckTerm(const Panel& panel, const Term& term) {
  if (term.kind == Term::Kind::kNone) return;
  const MetricSpec* spec = SpecOf(term.metric);
  ASSERT_NE(spec, nullptr) << panel.id << " asks for " << term.metric << ", which no process exposes";
  const MetricType wanted = term.kind == Term::Kind::kRate       ? MetricType::kCounter
                            : term.kind == Term::Kind::kQuantile ? MetricType::kHistogram
                                                                 : spec->type;
  EXPECT_EQ(spec->type, wanted) << panel.id;
  if (term.label.empty() || term.label == "rank") return;
  ASSERT_NE(spec->labels.name, nullptr) << panel.id;
  EXPECT_EQ(term.label, spec->labels.name) << panel.id;
  EXPECT_NE(std::ranges::find(spec->labels.values, term.value), spec->labels.values.end()) << panel.id;
}

TEST(PanelsTest, EveryPanelAsksForMetricsThatExist) {
  std::set<absl::string_view> ids;
  for (const Panel& panel : Panels()) {
    EXPECT_TRUE(ids.insert(panel.id).second) << panel.id;
    EXPECT_EQ(FindPanel(panel.id), &panel);
    CheckTerm(panel, panel.over);
    CheckTerm(panel, panel.under);
  }
  EXPECT_EQ(FindPanel("nonsense"), nullptr);
}

TEST(PanelsTest, PromQlSaysWhatIsComputedHere) {
  EXPECT_EQ(PromQl(*FindPanel("generated"), "", 60), "sum(rate(tactus_actor_tokens_total{kind=\"completion\"}[60s]))");
  EXPECT_EQ(PromQl(*FindPanel("correct"), "night", 30),
            "sum(rate(tactus_trajectory_verdicts_total{verdict=\"pass\",run=\"night\"}[30s])) / "
            "sum(rate(tactus_trajectory_verdicts_total{run=\"night\"}[30s]))");
  EXPECT_EQ(PromQl(*FindPanel("learner_phases"), "", 60),
            "sum by (phase)(rate(tactus_learner_phase_seconds_total{rank=\"0\"}[60s]))");
  EXPECT_EQ(PromQl(*FindPanel("checkpoint_age"), "", 60),
            "time() - max(tactus_checkpoint_last_success_timestamp_seconds{} > 0)");
  EXPECT_EQ(PromQl(*FindPanel("length_p95"), "", 60),
            "histogram_quantile(0.95, sum by (le)(rate(tactus_completion_tokens_bucket{}[60s])))");
  EXPECT_EQ(PromQl(*FindPanel("kl"), "", 60), "avg(tactus_policy_kl_nats{against=\"reference\"})");
  EXPECT_EQ(
      PromQl(*FindPanel("steps_per_hour"), "", 60),
      "sum(tactus_learner_step_duration_seconds_count{}) / sum(tactus_learner_step_duration_seconds_sum{}) * 3600");
}

TEST(PanelsTest, AStepsNumberSaysWhyItMayBeAbsent) {
  EXPECT_EQ(FindPanel("kl")->absent, FindStepField("kl_k3")->absent);
  EXPECT_EQ(FindPanel("held_out")->absent, FindStepField("eval_pass1")->absent);
  EXPECT_EQ(FindPanel("entropy")->unit, Unit::kNats);
  EXPECT_EQ(FindPanel("entropy")->absent, "");
}

TEST(PanelsTest, ValuesAreWrittenForPeople) {
  EXPECT_EQ(ValueText(Unit::kRatio, 0.4123), "41.2 %");
  EXPECT_EQ(ValueText(Unit::kPerSecond, 12345.6), "12,346/s");
  EXPECT_EQ(ValueText(Unit::kPerSecond, 0), "0/s");
  EXPECT_EQ(ValueText(Unit::kPerHour, 1200), "1,200/h");
  EXPECT_EQ(ValueText(Unit::kSeconds, 61), "61 s");
  EXPECT_EQ(ValueText(Unit::kSeconds, 600), "10 min");
  EXPECT_EQ(ValueText(Unit::kNumber, -1234567), "-1,234,567");
  EXPECT_EQ(ValueText(Unit::kNats, 0.000012), "1.2e-05");
  EXPECT_EQ(ValueText(Unit::kNats, std::nan("")), "—");
}

}  // namespace
}  // namespace tactus::top
