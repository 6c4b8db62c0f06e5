#include "common/metrics/metrics_server.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/base/http_client.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = MetricsServer::Start("127.0.0.1:0", &metrics_, &readiness_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }
  std::string Get(const std::string& path) const { return HttpGet(server_->address(), path); }
  std::string Request(const std::string& bytes) const {
    ClientSocket connection(server_->address());
    EXPECT_TRUE(connection.Send(bytes));
    return connection.ReadAll();
  }

  MetricSet metrics_{{.role = ProcessRole::kLearner, .task = "t", .run_id = "r"}};
  Readiness readiness_{"loading the model"};
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, ServesOnAFreePortAndRefusesATakenOne) {
  const std::string address = server_->address();
  EXPECT_TRUE(absl::StartsWith(address, "127.0.0.1:")) << address;
  EXPECT_NE(address, "127.0.0.1:0");
  metrics_.Set(Metric::kLearnerStep, 7);
  const std::string answer = Get("/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\ntactus_learner_step 7\n"));
  EXPECT_THAT(answer, HasSubstr("process_cpu_seconds_total"));
  const absl::Status taken = MetricsServer::Start(address, &metrics_, &readiness_).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(taken.message()), HasSubstr(address));
  const absl::Status nonsense = MetricsServer::Start("nonsense:x", &metrics_, &readiness_).status();
  EXPECT_EQ(nonsense.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(nonsense.message()), HasSubstr("nonsense:x: expected HOST:PORT"));
}

TEST_F(MetricsServerTest, AliveFromTheStartAndReadyWhenItIs) {
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(HttpBody(Get("/readyz")), "loading the model\n");
  std::string reason;
  readiness_.Watch([&reason] { return reason; });
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(HttpBody(Get("/readyz")), "ready\n");
  reason = "draining";
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(HttpBody(Request("HEAD /healthz HTTP/1.0\r\n\r\n")), "");
}

TEST_F(MetricsServerTest, SaysThatTheProcessHangs) {
  std::string hung;
  readiness_.WatchLife([&hung] { return hung; });
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  hung = "no progress for 2h";
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(HttpBody(Get("/healthz")), "no progress for 2h\n");
}

TEST_F(MetricsServerTest, AnythingElseIsRefused) {
  for (const char* path : {"/", "/metrics/", "/metrics/x", "/healthz2", "/readyz/..", "/../etc/passwd", "/%2e%2e/x"}) {
    EXPECT_THAT(Get(path), Not(StartsWith("HTTP/1.1 200"))) << path;
  }
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"}) {
    const std::string answer = Request(std::string(method) + " /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    EXPECT_THAT(answer, Not(HasSubstr(" 200 "))) << method;
    EXPECT_THAT(answer, Not(HasSubstr("tactus_learner_step"))) << method;
  }
}

TEST_F(MetricsServerTest, HostileRequestsHurtNobodyElse) {
  const std::string huge(size_t{1} << 20, 'a');
  const std::vector<std::string> requests = {
      "\r\n\r\n",
      "GET\r\n\r\n",
      std::string("\x16\x03\x01\x02\x00\x01\x00", 7) + huge,
      "GET /" + huge + " HTTP/1.1\r\n\r\n",
      "GET /metrics HTTP/1.1\r\nX: " + huge + "\r\n\r\n",
      "POST /metrics HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n" + huge,
      "GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + huge,
  };
  for (const std::string& bytes : requests) {
    ClientSocket connection(server_->address());
    ASSERT_TRUE(connection.connected());
    connection.Send(bytes);  // may fail: the server hangs up once it has seen enough
    EXPECT_THAT(connection.ReadAll(), Not(HasSubstr(" 200 "))) << bytes.substr(0, 60);
    EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n")) << bytes.substr(0, 60);
  }
}

// Scrapers that connect and say nothing, or stop in the middle: a probe has its answer before any of them is given up.
TEST_F(MetricsServerTest, IdleConnectionsDoNotSilenceHealth) {
  std::vector<std::unique_ptr<ClientSocket>> idle;
  for (int i = 0; i < 200; ++i) {
    idle.push_back(std::make_unique<ClientSocket>(server_->address()));
    ASSERT_TRUE(idle.back()->connected() && idle.back()->Send(i % 2 == 0 ? "GET /metrics HT" : ""));
  }
  for (const char* path : {"/healthz", "/metrics", "/healthz"}) {
    EXPECT_THAT(Get(path), StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_TRUE(idle.back()->Quiet()) << "its time is not over: nobody had to wait for that";
  }
}

TEST_F(MetricsServerTest, ListensAtIpv6AndNamesAnAddressToConnectTo) {
  const auto loopback = MetricsServer::Start("[::1]:0", &metrics_, &readiness_);
  if (!loopback.ok()) GTEST_SKIP() << "this machine has no IPv6: " << loopback.status();
  EXPECT_THAT((*loopback)->address(), StartsWith("[::1]:"));
  EXPECT_THAT(HttpGet((*loopback)->address(), "/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  for (const auto& [listen, reached] : {std::pair("[::]:0", "[::1]:"), std::pair("0.0.0.0:0", "127.0.0.1:")}) {
    const auto everywhere = MetricsServer::Start(listen, &metrics_, &readiness_);
    ASSERT_TRUE(everywhere.ok()) << everywhere.status();
    EXPECT_THAT((*everywhere)->address(), StartsWith(reached));
    EXPECT_THAT(HttpGet((*everywhere)->address(), "/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
}

// More than there is patience for: each is given up in its time.
TEST_F(MetricsServerTest, SlowConnectionsAreGivenUp) {
  std::vector<std::unique_ptr<ClientSocket>> slow;
  for (int i = 0; i < 12; ++i) {
    slow.push_back(std::make_unique<ClientSocket>(server_->address()));
    ASSERT_TRUE(slow.back()->connected() && slow.back()->Send("GET /metrics HTTP/1.1\r\nX-"));
  }
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  for (const auto& connection : slow) EXPECT_THAT(connection->ReadAll(), Not(HasSubstr("tactus_")));
}

TEST_F(MetricsServerTest, ScrapesFromManyThreadsAreWhole) {
  std::vector<std::thread> threads;
  std::atomic<int> whole{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10; ++n) {
        metrics_.Add(Metric::kLearnerTokens, 1, "prompt");
        const std::string body = HttpBody(Get("/metrics"));
        whole += body.find("tactus_learner_tokens_total") != std::string::npos && body.back() == '\n' ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(whole, 80);
}

}  // namespace
}  // namespace tactus
