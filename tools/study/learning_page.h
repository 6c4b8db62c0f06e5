// What `tactus study` writes of its runs: raw lines, figures as JSON, a table for the terminal, one page. Pure
// functions, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "tools/study/learning_study.h"

namespace tactus {

// What a study's files say beside its figures.
struct LearningStudyText {
  std::string title = {};
  std::string plan = {};  // the textproto
  size_t planned_runs = 0;
  double smallest_effect = 0;
  int reward_steps = 0;
  std::vector<std::string> overrides = {};  // [variants] in words
};

// One line: everything that the figures are made from.
std::string LineOf(const LearningRun& run, const std::string& variant, const std::vector<std::string>& overrides);

std::string LearningJson(const LearningStudyText& text, const LearningSummary& summary);
std::string LearningTable(const LearningStudyText& text, const LearningSummary& summary);
// Every text is escaped.
std::string LearningPageHtml(const LearningStudyText& text, const LearningSummary& summary);

}  // namespace tactus
