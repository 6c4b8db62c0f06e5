// Student's t, for figures of a few runs, where a bootstrap of so few would be far too sure of itself. Pure functions,
// thread-safe. df: degrees of freedom, from 1.
#pragma once

#include <vector>

#include "common/metrics/eval_stats.h"

namespace tactus {

// The chance that |T| is at most t, t >= 0.
double StudentWithin(double t, int df);
// The t with StudentWithin(t, df) = p, 0 <= p < 1.
double StudentBound(double p, int df);

// The mean with its 95 % interval. Of one value low and high are NaN, of none value too.
Interval StudentInterval(const std::vector<double>& values);
// Sample standard deviation; NaN of fewer than two values.
double Deviation(const std::vector<double>& values);
// Two-sided, of the mean being 0; NaN of fewer than two values.
double StudentPValue(const std::vector<double>& values);

// The chance that a two-sided test at 0.05 of the mean of `count` values finds a true mean of `effect`, by the
// noncentral t. deviation: of one value. NaN for fewer than two values.
double StudentPower(double effect, double deviation, int count);
// How many values it takes for a power of 0.8; 0: more than kMostValues.
inline constexpr int kMostValues = 10000;
int ValuesForPower(double effect, double deviation);

}  // namespace tactus
