// The list of tasks.
#include "common/tasks/task.h"

#include <set>
#include <string>

#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "proto/options.pb.h"

namespace tactus {
namespace {

TEST(TaskList, HasTheNamesThatAConfigurationMayHave) {
  const auto& allowed =
      config::TaskOptions::descriptor()->FindFieldByName("name")->options().GetExtension(config::rule).one_of();
  const std::set<std::string> names = absl::StrSplit(TaskNames(), ", ");
  std::set<std::string> with_a_server = names;
  with_a_server.insert("environment");  // a server's, opened by common/environment
  EXPECT_EQ(with_a_server, std::set<std::string>(allowed.begin(), allowed.end()));
  for (const std::string& name : names) EXPECT_TRUE(CreateVerifier(name, 0.5).ok()) << name;
}

}  // namespace
}  // namespace tactus
