// What the real processes of a job serve and log while it runs: /metrics against the table and against Prometheus' own
// checker, probes, the trajectories' books, stopping one rank, and that no secret is ever written.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <regex>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/base/http_client.h"
#include "tests/e2e/job.h"
#include "tests/metrics/exposition_check.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// A log as it is now; empty while there is none.
std::string LogText(const RunFolder& folder, const std::string& process) {
  return ReadFile(absl::StrCat(folder.logs(), "/", process, ".log")).value_or("");
}

// Where a process of the job says that it serves metrics; empty before it does.
std::string MetricsAddress(const RunFolder& folder, const std::string& process) {
  static const std::regex kAddress("serving metrics at http://([0-9.:]+)/metrics");
  const std::string text = LogText(folder, process);
  std::smatch match;
  return std::regex_search(text, match, kAddress) ? match[1].str() : "";
}

// Sum over the series of a family that have this label value; all series for "".
double Value(const std::string& text, const std::string& family, const std::string& label_value = "") {
  const std::map<std::string, ExposedFamily> families = ParseExposition(text);
  const auto found = families.find(family);
  if (found == families.end()) return -1;
  double sum = 0;
  for (size_t i = 0; i < found->second.series.size(); ++i) {
    bool counts = label_value.empty();
    for (const auto& [label, value] : found->second.series[i]) counts = counts || value == label_value;
    if (counts) sum += found->second.values[i];
  }
  return sum;
}

// One job of two learner ranks and an actor, with its last scrapes. Its logs are JSON and its connections use TLS.
class ObservedJob {
 public:
  ObservedJob() {
    const std::string tls = ::testing::TempDir() + "/tactus_e2e_tls";
    have_tls_ = MakeCertificates(tls);
    std::vector<std::string> flags = {"--learners", "2", "--actors", "1", "--set", "learner.steps=12"};
    if (have_tls_) {
      key_path_ = tls + "/peer.key";
      for (const std::string& set :
           {std::string("service.plaintext=false"), "service.tls_cert_path=" + tls + "/peer.pem",
            "service.tls_key_path=" + key_path_, "service.tls_ca_path=" + tls + "/ca.pem"}) {
        flags.insert(flags.end(), {"--set", set});
      }
    }
    ::setenv("TACTUS_LOG_FORMAT", "json", 1);
    job_.emplace("observed", flags);
    ::unsetenv("TACTUS_LOG_FORMAT");
    exit_code_ = job_->Wait([this] { Observe(); });
  }

  static const ObservedJob& Get() {
    static const ObservedJob* const job = new ObservedJob;
    return *job;
  }
  const RunFolder& folder() const { return job_->folder(); }
  int exit_code() const { return exit_code_; }
  bool have_tls() const { return have_tls_; }
  const std::string& key_path() const { return key_path_; }
  const std::string& scrape(const std::string& process) const {
    static const std::string kNone;
    const auto found = scrapes_.find(process);
    return found == scrapes_.end() ? kNone : found->second;
  }
  const std::set<std::string>& probes(const std::string& process) const { return probes_.at(process); }
  double most_actors() const { return most_actors_; }  // at once, as rank 0 told
  const std::string& command_lines() const { return command_lines_; }

 private:
  static bool MakeCertificates(const std::string& folder) {
    const std::string key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    return std::system(absl::StrCat("(mkdir -p ", folder, " && cd ", folder, " && openssl req -x509 ", key,
                                    " -days 2 -subj /CN=ca -keyout ca.key -out ca.pem && openssl req ", key,
                                    " -subj /CN=peer -keyout peer.key -out peer.csr && printf "
                                    "'subjectAltName=IP:127.0.0.1' > san && openssl x509 -req -days 2 -in peer.csr -CA "
                                    "ca.pem -CAkey ca.key -CAcreateserial -extfile san -out peer.pem) >/dev/null 2>&1")
                           .c_str()) == 0;
  }
  void Observe() {
    for (const std::string process : {"learner-0", "learner-1", "actor-0"}) {
      const std::string address = MetricsAddress(folder(), process);
      if (address.empty()) continue;
      const std::string scrape = HttpBody(HttpGet(address, "/metrics"));
      if (!scrape.empty()) scrapes_[process] = scrape;
      most_actors_ = std::max(most_actors_, Value(scrape, "tactus_actors_connected"));
      probes_[process].insert(HttpGet(address, "/readyz").substr(0, 12));
      if (HttpGet(address, "/healthz").find(" 200 ") == std::string::npos) probes_[process].insert("not alive");
    }
    if (!command_lines_.empty() || job_->Steps().empty()) return;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string line = CommandLine(entry.path());
      if (line.find(folder().root) != std::string::npos) command_lines_ += line;
    }
  }

  std::optional<Job> job_;
  bool have_tls_ = false;
  std::string key_path_;
  int exit_code_ = -1;
  std::map<std::string, std::string> scrapes_;
  std::map<std::string, std::set<std::string>> probes_;  // begins of the answers
  double most_actors_ = 0;
  std::string command_lines_;
};

bool MeasuredBy(const std::vector<StepRecord>& steps, const StepField& field) {
  return std::ranges::any_of(steps, [&](const StepRecord& step) { return std::isfinite(step.*field.member); });
}

// The table; without the gauges of a step where no step is recorded, and without the series whose row says why they may
// be absent and that no step of the run has.
std::vector<MetricSpec> Measured(ProcessRole role) {
  std::vector<MetricSpec> table(MetricTable().begin(), MetricTable().end());
  if (role != ProcessRole::kLearner) return table;
  static const std::vector<StepRecord> steps = ReadSteps(ObservedJob::Get().folder().metrics()).value();
  static std::deque<std::vector<const char*>> kept;
  for (MetricSpec spec : StepMetricTable()) {
    bool measured = false;
    std::vector<const char*>& values = kept.emplace_back();
    for (const StepField& field : StepFields()) {
      if (absl::NullSafeStringView(field.series.metric) != spec.name) continue;
      if (field.absent != nullptr && !MeasuredBy(steps, field)) continue;
      measured = true;
      if (field.series.label != nullptr) values.push_back(field.series.value);
    }
    spec.labels.values = values;
    if (measured) table.push_back(spec);
  }
  return table;
}

TEST(MetricsE2eTest, EveryProcessExposesTheTable) {
  const ObservedJob& job = ObservedJob::Get();
  ASSERT_EQ(job.exit_code(), 0) << LogText(job.folder(), "learner-0");
  for (const auto& [process, role] :
       {std::pair("learner-0", ProcessRole::kLearner), std::pair("learner-1", ProcessRole::kFollower),
        std::pair("actor-0", ProcessRole::kActor)}) {
    const std::vector<MetricSpec> table = Measured(role);
    EXPECT_THAT(ExpositionProblems(job.scrape(process), role, table), IsEmpty()) << process;
    EXPECT_EQ(Value(job.scrape(process), "tactus_metric_updates_rejected_total"), 0) << process;
    EXPECT_EQ(Value(job.scrape(process), "tactus_nonfinite_values_total"), 0) << process;
    EXPECT_GT(Value(job.scrape(process), "process_start_time_seconds"), 1.5e9) << process;
  }
}

TEST(MetricsE2eTest, ARenamedMetricIsNoticed) {
  std::vector<MetricSpec> table = Measured(ProcessRole::kLearner);
  table[static_cast<size_t>(Metric::kGroups)].name = "tactus_groups_trained_total";
  EXPECT_EQ(ExpositionProblems(ObservedJob::Get().scrape("learner-0"), ProcessRole::kLearner, table).size(), 2u);
}

TEST(MetricsE2eTest, PrometheusFindsNoFault) {
  if (std::system("promtool --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "promtool is not installed";
  for (const std::string process : {"learner-0", "learner-1", "actor-0"}) {
    const std::string file = absl::StrCat(ObservedJob::Get().folder().root, "/", process, ".prom");
    ASSERT_TRUE(WriteFileAtomic(file, ObservedJob::Get().scrape(process)).ok());
    EXPECT_EQ(std::system(absl::StrCat("promtool check metrics < ", file).c_str()), 0) << process;
  }
}

// Metrics that any run moves; the others are held against what moves them in tests of their own.
TEST(MetricsE2eTest, ARunFillsThem) {
  const ObservedJob& job = ObservedJob::Get();
  for (const char* metric : {"tactus_build_info",
                             "tactus_learner_step",
                             "tactus_learner_steps_planned",
                             "tactus_learner_steps_total",
                             "tactus_learner_step_duration_seconds",
                             "tactus_learner_last_step_timestamp_seconds",
                             "tactus_learner_tokens_total",
                             "tactus_learner_model_flops_total",
                             "tactus_gradient_norm",
                             "tactus_learning_rate",
                             "tactus_policy_entropy_nats",
                             "tactus_importance_weight",
                             "tactus_reward_mean",
                             "tactus_reward_stddev",
                             "tactus_groups_total",
                             "tactus_trajectory_verdicts_total",
                             "tactus_completion_tokens",
                             "tactus_credit_mean",
                             "tactus_credit_amplified_ratio",
                             "tactus_credit_overlap_ratio",
                             "tactus_rhythm_completions_total",
                             "tactus_rhythm_waad_tokens",
                             "tactus_rhythm_fai_ratio",
                             "tactus_trajectories_received_total",
                             "tactus_trajectories_accepted_total",
                             "tactus_trajectories_trained_total",
                             "tactus_trajectory_staleness_versions",
                             "tactus_trajectory_queue_capacity",
                             "tactus_leases_total",
                             "tactus_ingest_ack_duration_seconds",
                             "tactus_weight_version",
                             "tactus_weight_publish_duration_seconds",
                             "tactus_weight_transfer_bytes_total",
                             "tactus_checkpoint_duration_seconds",
                             "tactus_checkpoint_last_success_timestamp_seconds"}) {
    EXPECT_GT(Value(job.scrape("learner-0"), metric), 0) << metric;
  }
  EXPECT_EQ(job.most_actors(), 1);
  for (const char* phase :
       {"wait_trajectories", "forward", "backward", "allreduce", "optimizer", "publish", "checkpoint"}) {
    EXPECT_GT(Value(job.scrape("learner-0"), "tactus_learner_phase_seconds_total", phase), 0) << phase;
  }
  for (const char* phase : {"wait_trajectories", "forward", "backward", "allreduce", "optimizer"}) {
    EXPECT_GT(Value(job.scrape("learner-1"), "tactus_learner_phase_seconds_total", phase), 0) << phase;
  }
  for (const char* metric : {"tactus_actor_tokens_total", "tactus_actor_trajectories_total",
                             "tactus_actor_busy_seconds_total", "tactus_actor_blocked_seconds_total",
                             "tactus_weight_load_duration_seconds", "tactus_weight_transfer_bytes_total"}) {
    EXPECT_GT(Value(job.scrape("actor-0"), metric), 0) << metric;
  }
  for (const char* process : {"learner-0", "actor-0"}) {
    const double expiry = Value(job.scrape(process), "tactus_tls_certificate_expiry_timestamp_seconds", "own");
    EXPECT_EQ(expiry > 1.5e9, job.have_tls()) << process;
  }
}

TEST(MetricsE2eTest, TheBooksBalance) {
  const std::string& text = ObservedJob::Get().scrape("learner-0");
  EXPECT_EQ(Value(text, "tactus_trajectories_received_total"),
            Value(text, "tactus_trajectories_accepted_total") + Value(text, "tactus_trajectories_rejected_total"));
  EXPECT_EQ(Value(text, "tactus_trajectories_accepted_total"), Value(text, "tactus_trajectories_trained_total") +
                                                                   Value(text, "tactus_trajectories_dropped_total") +
                                                                   Value(text, "tactus_trajectory_queue_depth"));
}

TEST(MetricsE2eTest, EveryProcessWasAliveAndBecameReady) {
  for (const char* process : {"learner-0", "learner-1", "actor-0"}) {
    EXPECT_EQ(ObservedJob::Get().probes(process).count("HTTP/1.1 200"), 1u) << process;
  }
}

TEST(MetricsE2eTest, LogsAreJsonLinesWithTheirContext) {
  const ObservedJob& job = ObservedJob::Get();
  for (const auto& [process, key, instance] :
       {std::tuple("learner-0", "rank", "0"), std::tuple("learner-1", "rank", "1"),
        std::tuple("actor-0", "actor", "actor-0")}) {
    std::istringstream lines(LogText(job.folder(), process));
    std::string version;
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
      ASSERT_TRUE(nlohmann::json::accept(line)) << process << ": " << line;
      const nlohmann::json event = nlohmann::json::parse(line);
      EXPECT_EQ(event.at("run"), "quickstart");
      EXPECT_EQ(event.at(key), instance);
      EXPECT_EQ(event.at("role"), absl::StartsWith(process, "actor") ? "actor" : "learner");
      version = event.at("version");
    }
    EXPECT_GE(count, 1) << process;
  }
}

TEST(MetricsE2eTest, NoSecretIsWritten) {
  const ObservedJob& job = ObservedJob::Get();
  if (!job.have_tls()) GTEST_SKIP() << "the openssl command is not installed";
  std::istringstream key(*ReadFile(job.key_path()));
  std::vector<std::string> secrets;
  for (std::string line; std::getline(key, line);) {
    if (!absl::StartsWith(line, "-----")) secrets.push_back(line);
  }
  ASSERT_GE(secrets.size(), 2u);
  std::vector<std::string> texts = {job.command_lines()};
  EXPECT_THAT(texts[0], HasSubstr("tactus-actor"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(job.folder().root)) {
    if (entry.is_regular_file()) texts.push_back(*ReadFile(entry.path().string()));
  }
  for (const char* process : {"learner-0", "learner-1", "actor-0"}) texts.push_back(job.scrape(process));
  EXPECT_GE(texts.size(), 20u);
  for (const std::string& text : texts) {
    for (const std::string& secret : secrets) EXPECT_EQ(text.find(secret), std::string::npos);
  }
}

// A node that is drained stops one rank: all of them end in order, with a checkpoint, and say that there is more to do.
TEST(MetricsE2eTest, AStopOfOneRankStopsTheRunInOrder) {
  Job job("stop_rank", {"--learners", "2", "--actors", "1", "--set", "learner.steps=500"});
  bool stopped = false;
  const int exit_code = job.Wait([&] {
    if (stopped || job.Steps().empty()) return;
    for (const int pid : job.Processes("tactus-learner")) {
      const std::string line = CommandLine(absl::StrCat("/proc/", pid));
      if (line.find(std::string("--rank\0001", 8)) == std::string::npos) continue;
      stopped = ::kill(pid, SIGTERM) == 0;
    }
  });
  EXPECT_TRUE(stopped);
  EXPECT_EQ(exit_code, 130);
  ASSERT_FALSE(job.Steps().empty());
  EXPECT_LT(job.Steps().size(), 500u);
  EXPECT_THAT(NewestCheckpoint(job.folder()), HasSubstr(absl::StrCat("00", job.Steps().back().step)));
  for (const char* process : {"learner-0", "learner-1"}) {
    EXPECT_THAT(LogText(job.folder(), process), HasSubstr("the checkpoint is complete")) << process;
  }
}

}  // namespace
}  // namespace tactus
