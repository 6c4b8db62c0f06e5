// Names that dashboards, alerts and scripts outside hold on to: every metric of the last minor release, its type,
// labels and their values, and every key of metrics.jsonl with its tag and gauge are still there.
// tests/goldens/compat/metrics-0.2.md is that release's docs/metrics.md.
#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/metrics/metric_docs.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::IsSupersetOf;

using Cells = std::vector<std::string>;

// The rows of the page's two tables by their first cell, which is code.
std::map<std::string, Cells> Rows(const std::string& markdown) {
  std::map<std::string, Cells> rows;
  for (absl::string_view line : absl::StrSplit(markdown, '\n')) {
    if (!absl::ConsumePrefix(&line, "| `")) continue;
    Cells cells;
    for (const absl::string_view cell : absl::StrSplit(absl::StrReplaceAll(line, {{"\\|", ","}, {"`", ""}}), '|')) {
      cells.emplace_back(absl::StripAsciiWhitespace(cell));
    }
    rows.emplace(cells.front(), cells);  // the first table's: the buckets of a histogram may change
  }
  return rows;
}

// "env; kind = a , b": labels, and each with its values.
std::map<std::string, Cells> Labels(const std::string& cell) {
  std::map<std::string, Cells> labels;
  for (const absl::string_view label : absl::StrSplit(cell, "; ", absl::SkipEmpty())) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(label, absl::MaxSplits(" = ", 1));
    labels[parts.first] = absl::StrSplit(parts.second, " , ", absl::SkipEmpty());
  }
  return labels;
}

TEST(CompatMetrics, EveryNameOfTheLastReleaseIsThere) {
  const std::map<std::string, Cells> now = Rows(MetricsMarkdown());
  const std::map<std::string, Cells> released =
      Rows(ReadFile(SourcePath("tests/goldens/compat/metrics-0.2.md")).value());
  int metrics = 0, keys = 0;
  for (const auto& [name, was] : released) {
    const auto found = now.find(name);
    if (found == now.end()) {
      ADD_FAILURE() << name << " is gone";
      continue;
    }
    const Cells& is = found->second;
    EXPECT_EQ(is[1], was[1]) << name << ": a metric's type, or a key's tag";
    if (!absl::StartsWith(name, "tactus_") && !absl::StartsWith(name, "process_")) {
      ++keys;
      if (!was[2].empty()) {
        EXPECT_EQ(is[2], was[2]) << name << ": its gauge";  // a key that had none may get one
      }
      continue;
    }
    ++metrics;
    const std::map<std::string, Cells> labels = Labels(is[3]);
    for (const auto& [label, values] : Labels(was[3])) {
      const auto same = labels.find(label);
      EXPECT_TRUE(same != labels.end()) << name << " has no label " << label;
      EXPECT_THAT(same == labels.end() ? Cells() : same->second, IsSupersetOf(values)) << name << ": label " << label;
    }
    EXPECT_EQ(labels.size(), Labels(was[3]).size()) << name << ": another label splits its series";
  }
  EXPECT_GT(metrics, 60) << "the golden is not what it should be";
  EXPECT_GT(keys, 70) << "the golden is not what it should be";
}

}  // namespace
}  // namespace tactus
