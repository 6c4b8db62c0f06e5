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
std::string FirstAndLast(const std::string& label, const std::vector<double>& y) {
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

std::string FigureHtml(const DrawnChart& chart) {
  std::string series, rows;
  for (const DrawnSeries& one : chart.series) {
    absl::StrAppend(&series, series.empty() ? "" : ",", "{\"label\":", JsonText(one.label),
                    ",\"absent\":", JsonText(one.absent), ",\"y\":", JsonNumbers(one.y, kDigits));
    if (!one.low.empty()) {
      absl::StrAppend(&series, ",\"low\":", JsonNumbers(one.low, kDigits),
                      ",\"high\":", JsonNumbers(one.high, kDigits));
    }
    series += "}";
    rows += FirstAndLast(one.label, one.y);
  }
  return absl::StrCat("<figure class=\"chart\"><figcaption><b>", EscapeHtml(chart.title), "</b> <small>",
                      EscapeHtml(chart.help), "</small></figcaption><noscript><table><thead><tr><th scope=\"col\">",
                      EscapeHtml(chart.unit),
                      "</th><th scope=\"col\">first</th><th scope=\"col\">last</th></tr></thead>", "<tbody>", rows,
                      "</tbody></table></noscript><script type=\"application/json\">{\"axis\":", JsonText(chart.axis),
                      ",\"unit\":", JsonText(chart.unit), ",\"trend\":", chart.trend ? "true" : "false",
                      ",\"sparse\":", chart.sparse ? "true" : "false", ",\"x\":", JsonNumbers(chart.x, 8),
                      ",\"series\":[", series, "]}</script></figure>\n");
}

std::string ChartHtml(const ChartSpec& spec, const std::vector<StepRecord>& steps) {
  DrawnChart chart{.title = spec.title,
                   .help = spec.help,
                   .unit = spec.unit,
                   .x = Gather(steps, &StepRecord::step),
                   .trend = spec.trend,
                   .sparse = spec.sparse};
  for (const ChartSeries& one : spec.series) {
    chart.series.push_back({.label = one.label, .absent = one.absent, .y = Gather(steps, one.member)});
  }
  return FigureHtml(chart);
}

}  // namespace tactus
