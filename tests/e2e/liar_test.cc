// A real learner with an honest actor and one that has a valid certificate and lies in all it says, over mutual TLS.
// What is refused one by one is in tests/learner/rollout/grpc_rollout_forgery_test.cc; here the run must go on, finish,
// and show it.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <regex>

#include "absl/strings/str_cat.h"
#include "common/config/run_config.h"
#include "common/rollout/grpc_rollout_port.h"
#include "proto/config.pb.h"
#include "tests/base/http_client.h"
#include "tests/data/group_builder.h"
#include "tests/e2e/job.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(60), kShort = absl::Milliseconds(200);
constexpr int kSteps = 12, kFlood = 3000;
constexpr double kCap = 1.5;       // algorithm.tis_cap
constexpr double kGrowthMiB = 12;  // by which a flood of more than twice as much may make the learner grow
constexpr int kLongAnswer = 192;   // rollout.max_completion_tokens

// The first group of `pattern` in a file, empty while it is not there.
std::string Find(const std::string& path, const std::string& pattern) {
  const std::string text = ReadFile(path).value_or("");
  std::smatch match;
  return std::regex_search(text, match, std::regex(pattern)) ? match[1].str() : "";
}

double ResidentMiB(int pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == "VmRSS:" && status >> kib) return kib / 1024;
  }
  ADD_FAILURE() << "process " << pid << " is gone";
  return 0;
}

// Each of them would move weights far if it were believed.
void Forge(TrajectoryGroup& group, int kind) {
  for (Completion& c : group.completions) {
    if (kind % 6 == 0) std::ranges::fill(c.logprobs, 1.0F);
    if (kind % 6 == 1) std::ranges::fill(c.logprobs, std::numeric_limits<float>::quiet_NaN());
    if (kind % 6 == 2) std::ranges::fill(c.credit, 1e30F);
    if (kind % 6 == 3) c.reward = {1e9, 1e9, 0, "correct"};
    if (kind % 6 == 4) c.versions = {{0, {0, 1000000}}};
    if (kind % 6 == 5) std::ranges::fill(c.token_ids, -7);
  }
}

class LiarTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tls_ = ::testing::TempDir() + "/tactus_e2e_liar_tls";
    const std::string command =
        absl::StrCat("rm -rf ", tls_, " && ", SourcePath("deploy/certificates/make_certs.sh"), " ", tls_);
    if (std::system((command + " >/dev/null 2>&1").c_str()) != 0)
      GTEST_SKIP() << "the openssl command is not installed";
    // The honest actor is at two groups at a time, so that prompts are left for the other.
    settings_ = {absl::StrCat("learner.steps=", kSteps),
                 absl::StrCat("algorithm.tis_cap=", kCap),
                 "eval.max_prompts=0",
                 "actor.max_sequences=8",
                 "checkpoint.every_steps=4",
                 "service.plaintext=false"};
  }

  std::vector<std::string> Settings(const std::string& role) const {
    std::vector<std::string> all = settings_;
    for (const std::string& set :
         {"service.tls_cert_path=" + tls_ + "/" + role + "/tls.crt",
          "service.tls_key_path=" + tls_ + "/" + role + "/tls.key", "service.tls_ca_path=" + tls_ + "/ca.crt"}) {
      all.push_back(set);
    }
    return all;
  }

  // As an actor of the run's own configuration, with an actor's certificate.
  void Attach(const Job& job) {
    const absl::StatusOr<config::RunConfig> run = config::LoadRunConfig(job.folder().config(), Settings("actor"));
    ASSERT_TRUE(run.ok()) << run.status();
    GrpcRolloutPortOptions options;
    options.address =
        HostPort::Parse(Find(job.folder().logs() + "/learner-0.ready", "\"listen\":\"([^\"]+)\""), "").value();
    options.security = ChannelSecurity::FromProto(run->service());
    options.run_id = run->service().run_id();
    options.actor_id = "liar";
    options.config_fingerprint = config::Fingerprint(*run);
    options.limits = {.max_prompt_tokens = run->rollout().max_prompt_tokens(),
                      .max_completion_tokens = kLongAnswer,
                      .completions_per_prompt = run->rollout().completions_per_prompt(),
                      .vocab_size = std::numeric_limits<int>::max()};
    absl::StatusOr<std::unique_ptr<GrpcRolloutPort>> port = GrpcRolloutPort::Connect(options, kPatience);
    ASSERT_TRUE(port.ok()) << port.status();
    liar_ = *std::move(port);
  }

  // One prompt, if it gets one: a flood of forgeries the first time, then an answer of its own making that is believed.
  void Lie(const Job& job) {
    const absl::StatusOr<std::optional<PolicyVersion>> held = liar_->AwaitVersion(std::nullopt, kShort);
    if (!held.ok() || !held->has_value()) return;
    const absl::StatusOr<std::vector<PromptLease>> leases = liar_->Lease(1, **held, kShort);
    if (!leases.ok() || leases->empty()) return;
    if (refused_ == 0) Flood(job, (*leases)[0], **held);
    TrajectoryGroup group = MakeGroup((*leases)[0], "liar", **held);
    for (Completion& c : group.completions) {
      std::ranges::fill(c.token_ids, 5 + believed_ % 7);                     // what nobody samples
      std::ranges::fill(c.logprobs, believed_ % 2 == 0 ? -0.001F : -20.0F);  // far above and below the truth
      c.reward = {1, 1, 0, "correct"};
    }
    group.completions[0].reward = {0, 0, 0, "wrong"};  // or the group has no signal
    believed_ += liar_->Submit(group, kPatience).ok() ? 1 : 0;
  }

  void Flood(const Job& job, const PromptLease& lease, PolicyVersion held) {
    const std::vector<int> learners = job.Processes("tactus-learner");
    ASSERT_EQ(learners.size(), 1u);
    const double before = ResidentMiB(learners[0]);
    double sent = 0;
    for (int i = 0; i < kFlood; ++i) {
      TrajectoryGroup group = MakeGroup(lease, "liar", held, kLongAnswer);
      for (Completion& c : group.completions) std::ranges::fill(c.token_ids, 3);
      Forge(group, i);
      sent += static_cast<double>(EncodeGroup(group).size()) / (1 << 20);
      const absl::Status status = liar_->Submit(group, kPatience);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << i << ": " << status;
      refused_ += absl::IsInvalidArgument(status) ? 1 : 0;
    }
    EXPECT_GT(sent, 2 * kGrowthMiB) << "too little to tell";
    EXPECT_LT(ResidentMiB(learners[0]) - before, kGrowthMiB) << "of " << sent << " MiB";
  }

  std::string tls_;
  std::vector<std::string> settings_;
  std::unique_ptr<GrpcRolloutPort> liar_;
  int refused_ = 0, believed_ = 0;
};

TEST_F(LiarTest, TheRunFinishesAndShowsWhoLied) {
  std::vector<std::string> flags = {"--actors", "1"};
  for (const std::string& set : Settings("learner")) flags.insert(flags.end(), {"--set", set});
  Job job("liar", flags);
  const std::string log = job.folder().logs() + "/learner-0.log";
  std::string scrape;
  const int code = job.Wait([&] {
    if (liar_ == nullptr && std::filesystem::exists(job.folder().logs() + "/learner-0.ready")) Attach(job);
    if (liar_ == nullptr || HasFatalFailure()) return;
    Lie(job);
    const std::string address = Find(log, "serving metrics at http://([0-9.:]+)/");
    const std::string now = address.empty() ? "" : HttpBody(HttpGet(address, "/metrics"));
    if (!now.empty()) scrape = now;
  });
  EXPECT_EQ(code, 0) << LogTail(log, 10);
  EXPECT_EQ(refused_, kFlood);
  EXPECT_GT(believed_, 1);

  // Bounded: every step was taken, once, with an importance weight of at most the cap.
  const std::vector<StepRecord> steps = job.Steps();
  ASSERT_EQ(steps.size(), static_cast<size_t>(kSteps));
  double largest_weight = 0, largest_mismatch = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(steps[i].skipped_steps, 0);
    EXPECT_TRUE(std::isfinite(steps[i].grad_norm)) << steps[i].step;
    largest_weight = std::max(largest_weight, steps[i].tis_max);
    largest_mismatch = std::max(largest_mismatch, steps[i].mismatch_max);
  }
  EXPECT_GT(largest_weight, 1) << "no log-prob was too low";
  EXPECT_LE(largest_weight, kCap);
  // Visible: log-probs that the learner's own do not confirm, rewards that the verifier does not, and by whom.
  EXPECT_GT(largest_mismatch, 1);
  EXPECT_THAT(ReadFile(log).value_or(""), HasSubstr("rewards are not what the verifier says, by liar"));
  EXPECT_THAT(scrape, HasSubstr(absl::StrCat("tactus_trajectories_rejected_total{reason=\"nonfinite\"")));
  EXPECT_THAT(scrape, ::testing::ContainsRegex("\ntactus_reward_disagreements_total(\\{[^}]*\\})? [1-9]"));
}

}  // namespace
}  // namespace tactus
