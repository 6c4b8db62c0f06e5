#include "tools/top/source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "tools/job/scrape_targets.h"

namespace tactus::top {
namespace {

using ::testing::HasSubstr;

// A server on a free port of this machine, answering every path by `answer`.
class TestServer {
 public:
  explicit TestServer(httplib::Server::Handler answer) {
    server_.Get(".*", std::move(answer));
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~TestServer() {
    server_.stop();
    thread_.join();
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

std::string TargetsFile(const std::string& name, const std::vector<std::pair<std::string, std::string>>& actors) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  ScrapeTargets targets(path, "run");
  for (const auto& [instance, address] : actors) targets.Set("actor", instance, address);
  EXPECT_TRUE(targets.Write().ok());
  return path;
}

TEST(LocalSourceTest, ScrapesEveryTargetAndSkipsTheUnreachable) {
  std::atomic<int> tokens{0};
  const TestServer server([&](const httplib::Request& request, httplib::Response& response) {
    EXPECT_EQ(request.path, "/metrics");
    response.set_content(
        absl::StrCat("tactus_actor_tokens_total{kind=\"completion\"} ", tokens += 100, "\ntactus_weight_version 7\n"),
        "text/plain");
  });
  const std::string path = TargetsFile("targets-1.json", {{"actor-0", server.address()}, {"actor-1", "127.0.0.1:1"}});
  const std::unique_ptr<Source> source = MakeLocalSource(path, 60);
  ASSERT_TRUE(source->Read().ok());
  const absl::StatusOr<Frame> frame = source->Read();
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_GT(frame->Value("generated"), 0);
  EXPECT_EQ(frame->Value("actor_version", "actor-0"), 7);
  EXPECT_TRUE(std::isnan(frame->Value("actor_version", "actor-1")));
}

TEST(LocalSourceTest, SaysWhichFileOrAddressFails) {
  const std::string missing = absl::StrCat(testing::TempDir(), "/no-targets.json");
  EXPECT_THAT(std::string(MakeLocalSource(missing, 60)->Read().status().message()), HasSubstr(missing));
  const std::string bad = absl::StrCat(testing::TempDir(), "/bad-targets.json");
  ASSERT_TRUE(WriteFileAtomic(bad, R"([{"targets":[7]}])").ok());
  EXPECT_THAT(std::string(MakeLocalSource(bad, 60)->Read().status().message()),
              HasSubstr("[0].targets[0]: expected a string"));
  const std::string gone = TargetsFile("targets-2.json", {{"actor-1", "127.0.0.1:1"}});
  const absl::Status status = MakeLocalSource(gone, 60)->Read().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no answer from 127.0.0.1:1"));
}

TEST(PrometheusSourceTest, AsksEveryPanelAndReadsValuesByLabel) {
  const TestServer server([](const httplib::Request& request, httplib::Response& response) {
    EXPECT_EQ(request.path, "/api/v1/query");
    const std::string query = request.get_param_value("query");
    EXPECT_THAT(query, HasSubstr("run=\"night\""));
    const bool phases = query.find("by (phase)") != std::string::npos;
    response.set_content(
        phases ? R"({"status":"success","data":{"resultType":"vector","result":[
                 {"metric":{"phase":"forward"},"value":[1,"0.25"]},{"metric":{"phase":"backward"},"value":[1,"0.5"]}]}})"
               : R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}})",
        "application/json");
  });
  const auto source = MakePrometheusSource(absl::StrCat("http://", server.address(), "/"), "night", 60);
  ASSERT_TRUE(source.ok());
  const absl::StatusOr<Frame> frame = (*source)->Read();
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->Value("learner_phases", "backward"), 0.5);
  EXPECT_EQ(frame->Value("reward"), 3);
  EXPECT_EQ(frame->panels.size(), Panels().size());
}

TEST(PrometheusSourceTest, RefusesWhatIsNoPrometheus) {
  EXPECT_FALSE(MakePrometheusSource("localhost:9090", "", 60).ok());
  EXPECT_FALSE(MakePrometheusSource("http://localhost:9090", "a\"b", 60).ok());
  const TestServer page([](const httplib::Request&, httplib::Response& r) { r.set_content("<html>", "text/html"); });
  const auto source = MakePrometheusSource(absl::StrCat("http://", page.address()), "", 60);
  const absl::Status status = (*source)->Read().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("does not answer as a Prometheus does"));
  const TestServer other([](const httplib::Request&, httplib::Response& r) {
    r.set_content(R"({"data":{"result":[{"metric":{},"value":[1,2]}]}})", "application/json");
  });
  const auto misshapen = MakePrometheusSource(absl::StrCat("http://", other.address()), "", 60);
  EXPECT_THAT(std::string((*misshapen)->Read().status().message()),
              HasSubstr("(the answer: data.result[0].value[1]: expected a string)"));
}

}  // namespace
}  // namespace tactus::top
