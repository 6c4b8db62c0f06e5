#include "tools/report/report_chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tools/report/html_page.h"

namespace tactus {
namespace {

constexpr size_t kMaxPoints = 400;
constexpr int kDigits = 5;

// The mean of what is finite in each of at most kMaxPoints runs of neighbours; NaN where nothing is.
template <typename Value>
std::vector<double> Gather(const std::vector<StepRecord>& steps, Value StepRecord::*member) {
  std::vector<double> points;
  const size_t count = std::min(kMaxPoints, steps.size());
  for (size_t i = 0; i < count; ++i) {
    double sum = 0;
    int finite = 0;
    for (size_t j = i * steps.size() / count; j < (i + 1) * steps.size() / count; ++j) {
      const auto value = static_cast<double>(steps[j].*member);
      if (std::isfinite(value)) sum += value, ++finite;
    }
    points.push_back(finite > 0 ? sum / finite : std::nan(""));
  }
  return points;
}

bool IsFinite(double value) { return std::isfinite(value); }

// A row of the table that stands in for the chart.
std::string FirstAndLast(const char* label, const std::vector<double>& y) {
  const auto first = std::find_if(y.begin(), y.end(), IsFinite);
  const auto last = std::find_if(y.rbegin(), y.rend(), IsFinite);
  const auto cell = [](bool any, auto at) { return any ? NumberText(*at, kDigits) : std::string("–"); };
  return absl::StrCat("<tr><th scope=\"row\">", EscapeHtml(label), "</th><td>", cell(first != y.end(), first),
                      "</td><td>", cell(last != y.rend(), last), "</td></tr>");
}

}  // namespace

bool HasValues(const ChartSpec& spec, const std::vector<StepRecord>& steps) {
  return std::any_of(spec.series.begin(), spec.series.end(), [&steps](const ChartSeries& series) {
    return std::any_of(steps.begin(), steps.end(),
                       [&series](const StepRecord& step) { return std::isfinite(step.*series.member); });
  });
}

std::string ChartHtml(const ChartSpec& spec, const std::vector<StepRecord>& steps) {
  std::string series, rows;
  for (const ChartSeries& one : spec.series) {
    const std::vector<double> y = Gather(steps, one.member);
    absl::StrAppend(&series, series.empty() ? "" : ",", "{\"label\":", JsonText(one.label),
                    ",\"absent\":", JsonText(one.absent), ",\"y\":", JsonNumbers(y, kDigits), "}");
    rows += FirstAndLast(one.label, y);
  }
  return absl::StrCat(
      "<figure class=\"chart\"><figcaption><b>", EscapeHtml(spec.title), "</b> <small>", EscapeHtml(spec.help),
      "</small></figcaption><noscript><table><thead><tr><th scope=\"col\">", EscapeHtml(spec.unit),
      "</th><th scope=\"col\">first</th><th scope=\"col\">last</th></tr></thead>", "<tbody>", rows,
      "</tbody></table></noscript><script type=\"application/json\">{\"axis\":\"step\"",
      ",\"unit\":", JsonText(spec.unit), ",\"trend\":", spec.trend ? "true" : "false",
      ",\"sparse\":", spec.sparse ? "true" : "false", ",\"x\":", JsonNumbers(Gather(steps, &StepRecord::step), 8),
      ",\"series\":[", series, "]}</script></figure>\n");
}

}  // namespace tactus
