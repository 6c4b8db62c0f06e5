// Student's t against scipy 1.17.1 (stats.t, stats.nct, stats.ttest_1samp).
#include "tools/study/student.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tactus {
namespace {

TEST(StudentTest, WithinIsTheDistributionFunction) {
  struct Case {
    double t;
    int df;
    double within;
  };
  for (const Case& one : {Case{0, 1, 0},
                          {1, 1, 0.5},
                          {12.706, 1, 0.9499991976418669},
                          {0.5, 2, 0.33333333333333326},
                          {2.5, 3, 0.9122933529919344},
                          {2.776, 4, 0.9499772216800235},
                          {1.2, 7, 0.7308280631727935},
                          {3.1, 10, 0.9887493427839167},
                          {1.96, 500, 0.9494492101802341}}) {
    EXPECT_NEAR(StudentWithin(one.t, one.df), one.within, 1e-12) << one.t << " " << one.df;
  }
}

TEST(StudentTest, BoundIsItsInverse) {
  struct Case {
    double p;
    int df;
    double bound;
  };
  for (const Case& one : {Case{0.95, 1, 12.706204736174694},
                          {0.95, 2, 4.302652729749462},
                          {0.95, 4, 2.7764451051977934},
                          {0.99, 9, 3.249835541592126},
                          {0.5, 30, 0.6827556933213},
                          {0.95, 9999, 1.960201263621357}}) {
    EXPECT_NEAR(StudentBound(one.p, one.df), one.bound, 1e-9 * one.bound) << one.p << " " << one.df;
  }
}

TEST(StudentTest, IntervalDeviationAndPValue) {
  const std::vector<double> values = {0.012, -0.03, 0.044, 0.005, 0.021};
  const Interval interval = StudentInterval(values);
  EXPECT_NEAR(interval.value, 0.0104, 1e-12);
  EXPECT_NEAR(interval.low, -0.02306278716044735, 1e-12);
  EXPECT_NEAR(interval.high, 0.04386278716044735, 1e-12);
  EXPECT_NEAR(Deviation(values), 0.026949953617770847, 1e-12);
  EXPECT_NEAR(StudentPValue(values), 0.43685865993591066, 1e-12);
}

TEST(StudentTest, FewOrEqualValues) {
  EXPECT_TRUE(std::isnan(StudentInterval({}).value));
  EXPECT_EQ(StudentInterval({2}).value, 2);
  EXPECT_TRUE(std::isnan(StudentInterval({2}).low) && std::isnan(StudentInterval({2}).high));
  EXPECT_TRUE(std::isnan(StudentPValue({2})));
  EXPECT_TRUE(std::isnan(Deviation({2})));
  EXPECT_EQ(StudentInterval({2, 2}).low, 2);
  EXPECT_EQ(StudentPValue({2, 2}), 0);
  EXPECT_EQ(StudentPValue({0, 0}), 1);
}

TEST(StudentTest, PowerIsThatOfTheNoncentralT) {
  struct Case {
    double effect, deviation;
    int count;
    double power;
  };
  for (const Case& one : {Case{0.02, 0.03, 2, 0.07060747398413204},
                          {0.02, 0.03, 3, 0.10978590979146677},
                          {0.02, 0.03, 10, 0.46923430785115494},
                          {0.02, 0.03, 20, 0.807291679768759},
                          {0.5, 1, 34, 0.8077775012792738},
                          {0.02, 0.02, 5, 0.40138991737179536},
                          {-0.02, 0.03, 10, 0.46923430785115494},
                          {0.001, 0.03, 10, 0.05102765493802006},
                          {0.02, 0.5, 4000, 0.715410518897068}}) {
    EXPECT_NEAR(StudentPower(one.effect, one.deviation, one.count), one.power, 1e-7)
        << one.deviation << " " << one.count;
  }
  EXPECT_TRUE(std::isnan(StudentPower(0.02, 0.03, 1)));
  EXPECT_TRUE(std::isnan(StudentPower(0.02, std::nan(""), 5)));
  EXPECT_EQ(StudentPower(0.02, 0, 2), 1);
}

TEST(StudentTest, ValuesForPowerIsTheFirstThatHasIt) {
  EXPECT_EQ(ValuesForPower(0.02, 0.03), 20);
  EXPECT_EQ(ValuesForPower(0.02, 0.02), 10);
  EXPECT_EQ(ValuesForPower(0.02, 0.1), 199);
  EXPECT_EQ(ValuesForPower(0.5, 1), 34);
  EXPECT_EQ(ValuesForPower(1, 0.1), 3);
  EXPECT_EQ(ValuesForPower(0.02, 0), 2);
  EXPECT_EQ(ValuesForPower(1e-6, 1), 0);
  EXPECT_EQ(ValuesForPower(0.02, std::nan("")), 0);
}

}  // namespace
}  // namespace tactus
