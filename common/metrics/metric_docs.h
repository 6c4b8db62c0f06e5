// The table of metrics as documents: docs/metrics.md for people, docs/metrics.json for whatever makes or checks
// dashboards and rules. Both are committed; a test fails when they are not what these functions give.
// Pure functions, thread-safe.
#pragma once

#include <string>

namespace tactus {

std::string MetricsMarkdown();

// {"metrics": [{"name", "type": "counter"|"gauge"|"histogram", "unit", "processes": ["learner", "follower", "actor"],
//   "labels": [{"name", "values": [...]}], "buckets": [...], "help", "title", "step": true}]}
// "values" is missing on a label whose value is known only when a process starts; "buckets" on all but histograms;
// "step" on all but the gauges of a learner step; "title" where no chart has been named.
std::string MetricsJson();

}  // namespace tactus
