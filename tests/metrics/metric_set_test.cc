#include "common/metrics/metric_set.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <limits>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Scrape(const std::string& address) {
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
  peer.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &peer.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof peer), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) answer.append(buffer, static_cast<size_t>(n));
  close(fd);
  return answer;
}

TEST(MetricTableTest, NamesFollowTheRules) {
  std::set<std::string> names;
  int position = 0;
  for (const MetricSpec& spec : MetricTable()) {
    EXPECT_EQ(static_cast<int>(spec.id), position++) << spec.name << ": the table is indexed by id";
    const std::string name = spec.name;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_TRUE(absl::StartsWith(name, "tactus_")) << name;
    EXPECT_EQ(absl::EndsWith(name, "_total"), spec.type == MetricType::kCounter) << name;
    EXPECT_EQ(!spec.buckets.empty(), spec.type == MetricType::kHistogram) << name;
    EXPECT_EQ(spec.label != nullptr, !spec.values.empty()) << name;
    EXPECT_TRUE(spec.label == nullptr || std::string(spec.label) != "le") << name;
    for (const char* word : {"percent", "_ms", "milli", "gib", ":"}) EXPECT_THAT(name, Not(HasSubstr(word)));
    EXPECT_GT(std::string(spec.help).size(), 10u) << name;
  }
}

TEST(MetricSetTest, ClosedLabelsStartAtZeroAndRolesAreApart) {
  MetricSet learner({.role = MetricRole::kLearner, .task = "countdown", .run_id = "r"});
  const std::string text = learner.Text();
  EXPECT_THAT(text, HasSubstr("tactus_trajectories_rejected_total{reason=\"stale\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("tactus_reward_mean{component=\"correct\",env=\"countdown\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("run=\"r\""));
  EXPECT_THAT(text, Not(HasSubstr("tactus_actor_tokens_total")));
  MetricSet actor({.role = MetricRole::kActor, .task = "countdown", .run_id = "r"});
  EXPECT_THAT(actor.Text(), HasSubstr("tactus_actor_tokens_total{kind=\"completion\"} 0\n"));
  EXPECT_THAT(actor.Text(), Not(HasSubstr("tactus_learner_step")));
}

TEST(MetricSetTest, BadUpdatesNeverReachASeries) {
  MetricSet metrics({.role = MetricRole::kLearner, .task = "t", .run_id = "r"});
  metrics.Set(Metric::kLoss, 0.5);
  metrics.Set(Metric::kLoss, std::numeric_limits<double>::quiet_NaN());
  metrics.Add(Metric::kCheckpoints, 2, "written");
  metrics.Add(Metric::kCheckpoints, -1, "written");
  metrics.Add(Metric::kCheckpoints, std::numeric_limits<double>::infinity(), "written");
  metrics.Add(Metric::kCheckpoints, 1, "lost");     // no such value
  metrics.Add(Metric::kActorTokens, 1, "prompt");   // another role's
  metrics.Set(Metric::kCheckpoints, 1, "written");  // not a gauge
  metrics.Set(Metric::kLoss, 1, "policy");          // has no label
  metrics.Observe(Metric::kLearnerStepDuration, std::nan(""));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("\ntactus_loss 0.5\n"));
  EXPECT_THAT(text, HasSubstr("tactus_checkpoints_total{outcome=\"written\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("tactus_learner_step_duration_seconds_count 0\n"));
  EXPECT_THAT(text, HasSubstr("\ntactus_metric_updates_rejected_total 8\n"));
}

TEST(MetricSetTest, UpdatesFromManyThreadsAddUp) {
  MetricSet metrics({.role = MetricRole::kLearner, .task = "t", .run_id = "r"});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&metrics] {
      for (int n = 0; n < 1000; ++n) metrics.Add(Metric::kLearnerTokens, 1, "prompt");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(metrics.Text(), HasSubstr("tactus_learner_tokens_total{kind=\"prompt\"} 4000\n"));
}

TEST(MetricsServerTest, ServesOnAFreePortAndRefusesATakenOne) {
  MetricSet metrics({.role = MetricRole::kLearner, .task = "t", .run_id = "r"});
  auto server = MetricsServer::Start("127.0.0.1:0", &metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->address();
  EXPECT_TRUE(absl::StartsWith(address, "127.0.0.1:")) << address;
  EXPECT_NE(address, "127.0.0.1:0");
  metrics.Set(Metric::kLearnerStep, 7);
  const std::string answer = Scrape(address);
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("\ntactus_learner_step 7\n"));
  EXPECT_THAT(answer, HasSubstr("process_cpu_seconds_total"));
  const absl::Status taken = MetricsServer::Start(address, &metrics).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(taken.message()), HasSubstr(address));
  EXPECT_EQ(MetricsServer::Start("nonsense:x", &metrics).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tactus
