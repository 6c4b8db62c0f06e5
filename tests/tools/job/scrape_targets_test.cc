#include "tools/job/scrape_targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace tactus {
namespace {

TEST(ScrapeTargetsTest, ListsProcessesAsPrometheusReadsThem) {
  const std::string folder = testing::TempDir(), path = absl::StrCat(folder, "/targets.json");
  const std::string ready = absl::StrCat(folder, "/actor-0.ready");
  ScrapeTargets targets(path, "night");
  targets.Set("learner", "learner-0", "127.0.0.1:9000");
  targets.SetFromReadyFile("actor", "actor-0", absl::StrCat(folder, "/missing.ready"));
  ASSERT_TRUE(targets.Write().ok());
  EXPECT_EQ(*ReadFile(path), R"([
 {
  "labels": {
   "instance": "learner-0",
   "job": "learner",
   "run": "night"
  },
  "targets": [
   "127.0.0.1:9000"
  ]
 }
]
)");
  ASSERT_TRUE(WriteFileAtomic(ready, R"({"metrics":"127.0.0.1:9001"})").ok());
  targets.SetFromReadyFile("actor", "actor-0", ready);
  ASSERT_TRUE(WriteFileAtomic(ready, R"({"metrics":"127.0.)").ok());  // torn: what is known stays
  targets.SetFromReadyFile("actor", "actor-0", ready);
  targets.Set("learner", "learner-0", "");
  ASSERT_TRUE(targets.Write().ok());
  EXPECT_THAT(*ReadFile(path),
              testing::AllOf(testing::HasSubstr("127.0.0.1:9001"), testing::Not(testing::HasSubstr("127.0.0.1:9000"))));
}

}  // namespace
}  // namespace tactus
