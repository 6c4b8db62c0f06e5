// What the rollout server shows as metrics, against what was done to it.
#include <cstdlib>
#include <functional>
#include <limits>

#include "common/base/file.h"
#include "common/rollout/certificate_metrics.h"
#include "common/rollout/certificates.h"
#include "tests/learner/rollout/grpc_raw_actor.h"
#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

struct RolloutMetrics : RolloutFixture {
  ~RolloutMetrics() override { server.reset(); }  // its timer writes into `metrics`, which ends before the base class
  void SetUp() override {
    RolloutServerOptions options = ServerOptions();
    options.metrics = &metrics;
    StartServer(options);
    AddPrompts();
  }
  // Counters are copied by the server's timer.
  void Expect(const std::string& line) {
    Eventually([&] { return metrics.Text().find("\n" + line + "\n") != std::string::npos; });
    if (HasFailure()) ADD_FAILURE() << line;
  }

  MetricSet metrics{{.role = ProcessRole::kLearner, .task = "t", .run_id = "r"}};
};

TEST_F(RolloutMetrics, TheBooksBalance) {
  const int group = kTestLimits.completions_per_prompt;
  auto port = Attach("actor-1");
  Expect("tactus_actors_connected 1");
  Expect("tactus_prompts{state=\"waiting\"} 4");
  Expect(absl::StrCat("tactus_trajectory_queue_capacity ", 4 * group));
  const std::vector<PromptLease> leases = Lease(*port, 4, {});
  ASSERT_EQ(leases.size(), 4u);
  Expect("tactus_leases_total{event=\"granted\"} 4");
  ASSERT_TRUE(port->Submit(MakeGroup(leases[0], "actor-1", {}), kLong).ok());
  ASSERT_TRUE(port->Submit(MakeGroup(leases[1], "actor-1", {}), kLong).ok());
  TrajectoryGroup bad = MakeGroup(leases[2], "actor-1", {});
  bad.completions[0].reward.total = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(absl::IsInvalidArgument(port->Submit(bad, kLong)));
  bad = MakeGroup(leases[2], "actor-1", {});
  bad.completions[0].logprobs[0] = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(absl::IsInvalidArgument(port->Submit(bad, kLong)));
  bad = MakeGroup(leases[2], "actor-1", {});
  bad.completions[0].entropy[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(absl::IsInvalidArgument(port->Submit(bad, kLong)));
  bad = MakeGroup(leases[2], "actor-1", {});
  bad.completions[0].entropy[0] = 1e6F;
  EXPECT_TRUE(absl::IsInvalidArgument(port->Submit(bad, kLong)));
  Expect(absl::StrCat("tactus_trajectories_received_total ", 6 * group));
  Expect(absl::StrCat("tactus_trajectories_accepted_total{env=\"t\"} ", 2 * group));
  Expect(absl::StrCat("tactus_trajectories_rejected_total{reason=\"nonfinite\"} ", 3 * group));
  Expect(absl::StrCat("tactus_trajectories_rejected_total{reason=\"malformed\"} ", group));
  Expect("tactus_nonfinite_values_total{where=\"reward\"} 1");
  Expect("tactus_nonfinite_values_total{where=\"logprob\"} 1");
  Expect("tactus_nonfinite_values_total{where=\"measure\"} 1");
  Expect("tactus_ingest_ack_duration_seconds_count 6");
  Expect(absl::StrCat("tactus_trajectory_queue_depth ", 2 * group));
  EXPECT_EQ(metrics.Text().find("tactus_trajectory_queue_bytes 0\n"), std::string::npos);
  ASSERT_EQ(server->TakeGroups(2, kLong)->size(), 2u);
  Expect("tactus_prompts{state=\"taken\"} 2");
  Expect("tactus_trajectory_queue_bytes 0");
  ASSERT_TRUE(server->Release(2).ok());
  Expect(absl::StrCat("tactus_trajectories_trained_total{env=\"t\"} ", 2 * group));
  Expect("tactus_trajectory_queue_depth 0");
  port->Close();
  port.reset();
  Expect("tactus_actors_connected 0");
  Expect("tactus_leases_total{event=\"returned\"} 2");
  Expect("tactus_metric_updates_rejected_total 0");
}

TEST_F(RolloutMetrics, DroppedPromptsAreCountedAndNamed) {
  server.reset();
  RolloutServerOptions options = ServerOptions();
  options.metrics = &metrics;
  options.ledger.max_attempts = 2;
  options.lost_actor_grace = absl::ZeroDuration();
  StartServer(options);
  ASSERT_TRUE(server->AddPrompts({MakePrompt(0)}).ok());
  ::testing::internal::CaptureStderr();
  for (int death = 0; death < 2; ++death) ASSERT_EQ(Lease(*Attach(absl::StrCat("actor-", death)), 1, {}).size(), 1u);
  Expect("tactus_prompts_dropped_total 1");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("prompt 0 is dropped after 2 leases without an answer, the last to actor-1"));
  EXPECT_EQ(server->FreeSlots(), 4) << "the next one has room";
}

TEST_F(RolloutMetrics, RefusedStreamsAreCountedByReason) {
  const auto refused = [&](const std::function<void(wire::ActorMessage&)>& change) {
    wire::ActorMessage hello = RawActor::Hello("actor-1");
    change(hello);
    RawActor actor(server->port());
    EXPECT_TRUE(actor.Write(hello));
    EXPECT_FALSE(actor.End().ok());
  };
  refused([](wire::ActorMessage& m) { m.mutable_hello()->set_run_id("other"); });
  refused([](wire::ActorMessage& m) { m.mutable_hello()->set_config_fingerprint("other"); });
  refused([](wire::ActorMessage& m) { m.mutable_hello()->set_protocol_version(9); });
  refused([](wire::ActorMessage& m) { m.mutable_hello()->set_actor_id("with space"); });
  for (const char* reason : {"wrong_run", "wrong_configuration", "wrong_protocol", "violation"}) {
    Expect(absl::StrCat("tactus_streams_refused_total{reason=\"", reason, "\"} 1"));
  }
  Expect("tactus_trajectories_received_total 0");
}

TEST(CertificateMetricsTest, TheEarliestOfAFileCounts) {
  const std::string folder = ::testing::TempDir() + "/certificate_metrics";
  const std::string make = absl::StrCat(
      "mkdir -p ", folder, " && cd ", folder,
      " && for days in 9 2; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -subj "
      "/CN=x -keyout key -out $days.pem 2>/dev/null || exit 1; done; cat 9.pem 2.pem > both.pem");
  if (std::system("openssl version >/dev/null 2>&1") != 0) GTEST_SKIP() << "the openssl command is not installed";
  ASSERT_EQ(std::system(make.c_str()), 0);
  const auto days = [&](const std::string& file) {
    const absl::StatusOr<absl::Time> expiry = EarliestExpiry(*ReadFile(folder + "/" + file));
    EXPECT_TRUE(expiry.ok()) << expiry.status();
    return absl::ToDoubleHours(*expiry - absl::Now()) / 24;
  };
  EXPECT_NEAR(days("9.pem"), 9, 0.1);
  EXPECT_NEAR(days("both.pem"), 2, 0.1);
  for (const char* bad : {"", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(EarliestExpiry(bad).status())) << bad;
  }
  EXPECT_FALSE(EarliestExpiry(*ReadFile(folder + "/key")).ok()) << "a key is no certificate";
  MetricSet metrics({.role = ProcessRole::kActor, .task = "t", .run_id = "r"});
  CertificateMetrics certificates({folder + "/9.pem", folder + "/key", folder + "/2.pem", false});
  certificates.Update(metrics);
  EXPECT_THAT(metrics.Text(), HasSubstr("expiry_timestamp_seconds{certificate=\"own\"} 1"));
  EXPECT_THAT(metrics.Text(), HasSubstr("expiry_timestamp_seconds{certificate=\"ca\"} 1"));
}

}  // namespace
}  // namespace tactus
