#include "tools/report/report_chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "tools/report/html_page.h"

namespace tactus {
namespace {

constexpr double kWidth = 480, kHeight = 210, kLeft = 56, kRight = 10, kTop = 10, kBottom = 26;
constexpr size_t kMaxPoints = 400;

struct Points {
  std::vector<double> x, y;  // averaged, finite or NaN
};

// Averages neighbours until there are at most kMaxPoints.
Points Gather(const std::vector<StepRecord>& steps, double StepRecord::*member) {
  Points points;
  const size_t count = std::min(kMaxPoints, steps.size());
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * steps.size() / count, end = (i + 1) * steps.size() / count;
    double x = 0, y = 0;
    int finite = 0;
    for (size_t j = begin; j < end; ++j) {
      x += static_cast<double>(steps[j].step);
      if (std::isfinite(steps[j].*member)) y += steps[j].*member, ++finite;
    }
    points.x.push_back(x / static_cast<double>(end - begin));
    points.y.push_back(finite > 0 ? y / finite : std::nan(""));
  }
  return points;
}

// Centred running mean over about a tenth of the run.
std::vector<double> Trend(const std::vector<double>& y) {
  const auto half = static_cast<std::ptrdiff_t>(std::max<size_t>(1, y.size() / 20));
  const auto size = static_cast<std::ptrdiff_t>(y.size());
  std::vector<double> out;
  for (std::ptrdiff_t i = 0; i < size; ++i) {
    double sum = 0;
    int count = 0;
    for (std::ptrdiff_t j = std::max<std::ptrdiff_t>(0, i - half); j <= std::min(size - 1, i + half); ++j) {
      if (std::isfinite(y[static_cast<size_t>(j)])) sum += y[static_cast<size_t>(j)], ++count;
    }
    out.push_back(count > 0 ? sum / count : std::nan(""));
  }
  return out;
}

struct Axis {
  double low = 0, high = 1, tick = 0.25;
};

// Bounds on multiples of 1, 2 or 5 times a power of ten, four or five ticks.
Axis NiceAxis(double low, double high) {
  if (!(low <= high)) return {};
  if (high - low < 1e-12 * std::max(std::fabs(high), 1e-300)) {
    const double pad = high == 0 ? 1 : std::fabs(high) * 0.5;
    low -= high == 0 ? 0 : pad;
    high += pad;
  }
  const double raw = (high - low) / 4;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double lead = raw / power;
  const double tick = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
  return {std::floor(low / tick) * tick, std::ceil(high / tick) * tick, tick};
}

class Frame {
 public:
  Frame(double first, double last, Axis y) : first_(first), span_(std::max(1e-9, last - first)), y_(y) {}
  double X(double step) const { return kLeft + (step - first_) / span_ * (kWidth - kLeft - kRight); }
  double Y(double value) const { return kTop + (y_.high - value) / (y_.high - y_.low) * (kHeight - kTop - kBottom); }

  // Runs of finite values; a lone one becomes a dot.
  std::string Path(const std::vector<double>& x, const std::vector<double>& y, absl::string_view css) const {
    std::string d, dots;
    const auto finite = [&y](size_t i) { return i < y.size() && std::isfinite(y[i]); };
    for (size_t i = 0; i < x.size(); ++i) {
      if (!finite(i)) continue;
      const bool starts = i == 0 || !finite(i - 1);
      if (starts && !finite(i + 1)) {
        absl::StrAppendFormat(&dots, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", css, X(x[i]), Y(y[i]));
      } else {
        absl::StrAppendFormat(&d, "%c%.1f %.1f", starts ? 'M' : 'L', X(x[i]), Y(y[i]));
      }
    }
    return absl::StrCat(d.empty() ? "" : absl::StrCat("<path class=\"", css, "\" d=\"", d, "\"/>"), dots);
  }

  // Every finite value as a dot, joined by a line.
  std::string Joined(const std::vector<double>& x, const std::vector<double>& y, absl::string_view css) const {
    std::string d, dots;
    for (size_t i = 0; i < x.size(); ++i) {
      if (!std::isfinite(y[i])) continue;
      absl::StrAppendFormat(&d, "%c%.1f %.1f", d.empty() ? 'M' : 'L', X(x[i]), Y(y[i]));
      absl::StrAppendFormat(&dots, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", css, X(x[i]), Y(y[i]));
    }
    return absl::StrCat("<path class=\"", css, "\" d=\"", d, "\"/>", dots);
  }

  std::string Grid() const {
    std::string out;
    const int count = static_cast<int>(std::lround((y_.high - y_.low) / y_.tick));
    for (int i = 0; i <= count; ++i) {
      const double value = y_.low + i * y_.tick;
      absl::StrAppendFormat(&out,
                            "<line x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%.0f\" y=\"%.1f\" "
                            "text-anchor=\"end\">%s</text>",
                            kLeft, kWidth - kRight, Y(value), Y(value), kLeft - 6, Y(value) + 4,
                            NumberText(std::fabs(value) < 1e-9 * y_.tick ? 0 : value, 4));
    }
    absl::StrAppendFormat(
        &out, "<text x=\"%.0f\" y=\"%.0f\">%s</text><text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">step %s</text>",
        kLeft, kHeight - 6, NumberText(first_, 8), kWidth - kRight, kHeight - 6, NumberText(first_ + span_, 8));
    return out;
  }

 private:
  double first_, span_;
  Axis y_;
};

std::string JsonList(const std::vector<double>& values) {
  return absl::StrCat("[",
                      absl::StrJoin(values, ",",
                                    [](std::string* out, double value) {
                                      absl::StrAppend(out, std::isfinite(value) ? NumberText(value, 5) : "null");
                                    }),
                      "]");
}

// "from 0.2 to 0.5; the last value is 0.48"
std::string Sentence(const std::vector<double>& y) {
  std::vector<double> finite;
  for (const double value : y) {
    if (std::isfinite(value)) finite.push_back(value);
  }
  if (finite.empty()) return "no values";
  const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
  return absl::StrCat("between ", NumberText(*low, 3), " and ", NumberText(*high, 3), ", first ",
                      NumberText(finite.front(), 3), ", last ", NumberText(finite.back(), 3));
}

}  // namespace

std::string ChartHtml(const ChartSpec& spec, const std::vector<StepRecord>& steps) {
  double low = INFINITY, high = -INFINITY;
  std::vector<Points> all;
  for (const ChartSeries& series : spec.series) {
    all.push_back(Gather(steps, series.member));
    for (const double value : all.back().y) {
      if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
    }
  }
  if (low > 0 && low < 0.5 * high) low = 0;  // a start at zero is easier to judge
  const std::vector<double>& x = all.front().x;
  const Frame frame(x.empty() ? 0 : x.front(), x.empty() ? 1 : x.back(), NiceAxis(low, high));

  std::string curves, legend, data, spoken;
  for (size_t i = 0; i < spec.series.size(); ++i) {
    const std::string css = absl::StrCat("s", i);
    if (spec.sparse) {
      curves += frame.Joined(x, all[i].y, css);
    } else if (spec.trend && i == 0 && x.size() > 3) {
      curves += frame.Path(x, all[i].y, css + " raw") + frame.Path(x, Trend(all[i].y), css);
    } else {
      curves += frame.Path(x, all[i].y, css);
    }
    absl::StrAppend(&legend, "<span class=\"k", i, "\">", EscapeHtml(spec.series[i].label), "</span>");
    absl::StrAppend(&data, ",{\"label\":\"", spec.series[i].label, "\",\"y\":", JsonList(all[i].y), "}");
    absl::StrAppend(&spoken, i == 0 ? "" : "; ", spec.series[i].label, " ", Sentence(all[i].y));
  }
  return absl::StrCat("<figure><figcaption><b>", EscapeHtml(spec.title), "</b> <small>", EscapeHtml(spec.help),
                      "</small></figcaption><svg viewBox=\"0 0 480 210\" role=\"img\" tabindex=\"0\" aria-label=\"",
                      EscapeHtml(spec.title), ": ", EscapeHtml(spoken), "\"><g class=\"grid\">", frame.Grid(), "</g>",
                      curves, "<line class=\"cursor\" y1=\"10\" y2=\"184\"/></svg><div class=\"legend\">", legend,
                      "<output aria-live=\"polite\"></output></div><script type=\"application/json\">[", JsonList(x),
                      data, "]</script></figure>\n");
}

}  // namespace tactus
