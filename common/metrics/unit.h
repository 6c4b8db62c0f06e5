// Units of what is measured, and a value written for people. Pure functions; thread-safe.
#pragma once

#include <string>

namespace tactus {

enum class Unit { kNumber, kRatio, kNats, kTokens, kVersions, kSeconds, kPerSecond, kPerHour };

// As the name of a Prometheus metric ends: "ratio", "nats", "tokens", "versions", "seconds"; "" for the others.
const char* UnitName(Unit unit);

// The same for a chart's axis: "per second" and "per hour", too.
const char* UnitText(Unit unit);

// "41.2 %", "1,234", "3 s", "1.2e-05"; "—" for what is not finite: it was not measured.
std::string ValueText(Unit unit, double value);

}  // namespace tactus
