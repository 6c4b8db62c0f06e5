#include "common/metrics/unit.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tactus {
namespace {

std::string WithCommas(double value) {
  const std::string digits = absl::StrFormat("%.0f", std::fabs(value));
  std::string text(value < 0 ? 1 : 0, '-');
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

std::string Significant(double value) {
  if (value == 0) return "0";
  const double size = std::fabs(value);
  if (size >= 1000) return WithCommas(value);
  if (size < 1e-3) return absl::StrFormat("%.1e", value);
  return size < 1 ? absl::StrFormat("%.4f", value) : absl::StrFormat("%.4g", value);
}

}  // namespace

const char* UnitName(Unit unit) {
  switch (unit) {
    case Unit::kRatio:
      return "ratio";
    case Unit::kNats:
      return "nats";
    case Unit::kTokens:
      return "tokens";
    case Unit::kVersions:
      return "versions";
    case Unit::kSeconds:
      return "seconds";
    case Unit::kNumber:
    case Unit::kPerSecond:
    case Unit::kPerHour:
      break;
  }
  return "";
}

const char* UnitText(Unit unit) {
  return unit == Unit::kPerSecond ? "per second" : unit == Unit::kPerHour ? "per hour" : UnitName(unit);
}

std::string ValueText(Unit unit, double value) {
  if (!std::isfinite(value)) return "—";
  switch (unit) {
    case Unit::kRatio:
      return absl::StrFormat("%.1f %%", 100 * value);
    case Unit::kPerSecond:
      return absl::StrCat(std::fabs(value) >= 100 ? WithCommas(value) : Significant(value), "/s");
    case Unit::kPerHour:
      return absl::StrCat(WithCommas(value), "/h");
    case Unit::kSeconds:
      return value < 120 ? absl::StrFormat("%.0f s", value) : absl::StrFormat("%.0f min", value / 60);
    case Unit::kTokens:
    case Unit::kVersions:
    case Unit::kNumber:
    case Unit::kNats:
      break;
  }
  return Significant(value);
}

}  // namespace tactus
