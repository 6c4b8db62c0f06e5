// tactus-actor: samples, scores and submits completions for a learner. See actor.h, and --help.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "actor/actor.h"
#include "actor/credit.h"
#include "actor/engine/model_runner.h"
#include "actor/group_scorer.h"
#include "actor/grpc_weight_source.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/config/flags.h"
#include "common/config/run_config.h"
#include "common/metrics/metric_set.h"
#include "common/model/dtype_config.h"
#include "common/ops/parallel.h"
#include "common/rollout/grpc_rollout_port.h"
#include "common/tasks/task.h"

namespace tactus {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Minutes(10);
constexpr absl::Duration kMetricsInterval = absl::Seconds(1);

constexpr FlagSpec kFlags[] = {
    {.name = "config", .value = "FILE", .help = "the run's configuration", .required = true},
    {.name = "learner", .value = "HOST:PORT", .help = "where learner rank 0 serves actors", .required = true},
    {.name = "instance", .value = "NAME", .help = "this actor's name, unique in the run [host name and process id]"},
    {.name = "metrics-listen", .value = "HOST:PORT", .help = "address of /metrics [service.metrics_listen]"},
    {.name = "json-log", .type = FlagType::kSwitch, .help = "log JSON lines"},
    {.name = "set", .value = "FIELD=VALUE", .help = "override one configuration field", .repeated = true},
    {.name = "help", .type = FlagType::kSwitch, .help = "show this text"},
};

std::atomic<Actor*> running_actor{nullptr};
static_assert(std::atomic<Actor*>::is_always_lock_free);  // read in a signal handler
void OnStopSignal(int) {
  if (Actor* actor = running_actor.load()) actor->RequestStop();
}

std::string DefaultInstance() {
  char host[64] = "actor";
  ::gethostname(host, sizeof(host) - 1);
  return absl::StrCat(host, "-", ::getpid());
}

// Tells Prometheus what the actor counts, once a second.
class StatsExporter {
 public:
  StatsExporter(const Actor* actor, MetricSet* metrics)
      : thread_([this, actor, metrics] {
          ActorStats last;
          while (!stop_.WaitForNotificationWithTimeout(kMetricsInterval)) {
            const ActorStats now = actor->stats();
            metrics->Add(Metric::kActorTokens, static_cast<double>(now.prompt_tokens - last.prompt_tokens), "prompt");
            metrics->Add(Metric::kActorTokens, static_cast<double>(now.completion_tokens - last.completion_tokens),
                         "completion");
            metrics->Add(Metric::kActorBlockedSeconds, now.wait_lease_s - last.wait_lease_s, "backpressure");
            metrics->Add(Metric::kActorBlockedSeconds, now.wait_weights_s - last.wait_weights_s, "weights");
            if (now.version.has_value()) metrics->Set(Metric::kWeightVersion, static_cast<double>(now.version->step));
            last = now;
          }
        }) {}
  ~StatsExporter() {
    stop_.Notify();
    thread_.join();
  }

 private:
  absl::Notification stop_;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const config::RunConfig& config, const ModelFolder& folder) {
  const config::ActorOptions& actor = config.actor();
  const int64_t longest = config.rollout().max_prompt_tokens() + config.rollout().max_completion_tokens();
  ASSIGN_OR_RETURN(
      std::unique_ptr<ModelRunner> runner,
      CreateModelRunner(folder, {.weights_dtype = StorageDTypeOf(config.model().dtype()),
                                 .kv_cache_mib = actor.kv_cache_mib(),
                                 .max_pages = (longest + kPageTokens) / kPageTokens * (actor.max_sequences() + 1)}));
  return Engine::Create({.max_sequences = actor.max_sequences(),
                         .max_step_tokens = actor.max_step_tokens(),
                         .max_waiting_groups = actor.max_leases()},
                        std::move(runner));
}

ActorSettings SettingsOf(const config::RunConfig& config, const ModelFolder& folder, const std::string& actor_id) {
  const config::RolloutOptions& rollout = config.rollout();
  ActorSettings settings;
  settings.actor_id = actor_id;
  settings.max_leases = config.actor().max_leases();
  settings.max_sequences = config.actor().max_sequences();
  settings.completions_per_prompt = rollout.completions_per_prompt();
  settings.max_completion_tokens = rollout.max_completion_tokens();
  settings.sampling = {.temperature = static_cast<float>(rollout.temperature()),
                       .top_p = static_cast<float>(rollout.top_p()),
                       .top_k = rollout.top_k()};
  settings.stop_ids = folder.config.eos_token_ids;
  settings.stop_ids.insert(settings.stop_ids.end(), rollout.stop_token_ids().begin(), rollout.stop_token_ids().end());
  return settings;
}

absl::Status RunActor(const config::RunConfig& config, const Flags& flags, const std::string& instance) {
  ops::SetThreads(config.actor().threads());
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(config.model().path()));
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, MakeEngine(config, folder));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::FromFile(absl::StrCat(folder.path, "/tokenizer.json")));
  ASSIGN_OR_RETURN(const std::unique_ptr<Task> task, CreateTask(config.task()));
  ASSIGN_OR_RETURN(const std::unique_ptr<CreditStrategy> credit, CreateCreditStrategy(config.credit()));
  MetricSet metrics({.role = MetricRole::kActor, .task = config.task().name(), .run_id = config.service().run_id()});
  ASSIGN_OR_RETURN(
      const std::unique_ptr<MetricsServer> metrics_server,
      MetricsServer::Start(
          flags.Has("metrics-listen") ? flags.Text("metrics-listen") : config.service().metrics_listen(), &metrics));
  const ChannelSecurity security = ChannelSecurity::FromProto(config.service());
  ASSIGN_OR_RETURN(
      const std::unique_ptr<GrpcRolloutPort> port,
      GrpcRolloutPort::Connect({.address = flags.Text("learner"),
                                .security = security,
                                .run_id = config.service().run_id(),
                                .actor_id = instance,
                                .config_fingerprint = config::Fingerprint(config),
                                .limits = {.max_prompt_tokens = config.rollout().max_prompt_tokens(),
                                           .max_completion_tokens = config.rollout().max_completion_tokens(),
                                           .completions_per_prompt = config.rollout().completions_per_prompt(),
                                           .vocab_size = static_cast<int>(folder.config.vocab_size)}},
                               kConnectTimeout));
  ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> weights,
                   MakeGrpcWeightSource({.address = flags.Text("learner"),
                                         .security = security,
                                         .run_id = config.service().run_id(),
                                         .actor_id = instance,
                                         .layout = folder.layout},
                                        port.get()));
  TACTUS_LOG(INFO) << "attached to " << flags.Text("learner") << ", metrics at " << metrics_server->address();
  Actor actor(SettingsOf(config, folder, instance), std::move(engine), port.get(), weights.get(),
              GroupScorer(tokenizer.get(), &task->verifier(), credit.get()));
  running_actor = &actor;
  const StatsExporter exporter(&actor, &metrics);
  const absl::Status status = actor.Run();
  running_actor = nullptr;
  return status;
}

absl::Status RunMain(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const Flags flags, Flags::Parse(kFlags, args, {.environment = true}));
  ASSIGN_OR_RETURN(const config::RunConfig config, config::LoadRunConfig(flags.Text("config"), flags.All("set")));
  const std::string instance = flags.Has("instance") ? flags.Text("instance") : DefaultInstance();
  ConfigureLog(
      {.json = flags.On("json-log"), .role = "actor", .run_id = config.service().run_id(), .instance = instance});
  struct sigaction action {};
  action.sa_handler = OnStopSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  return RunActor(config, flags, instance);
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (std::find(args.begin(), args.end(), "--help") != args.end()) {
    std::printf(
        "tactus-actor: samples completions for a learner; `tactus train` starts it.\n\n%s\nexample: tactus-actor "
        "--config configs/quickstart.textproto --learner 127.0.0.1:50051\n",
        tactus::FlagHelp(tactus::kFlags).c_str());
    return 0;
  }
  const absl::Status status = tactus::RunMain(args);
  if (status.ok()) return 0;
  std::fprintf(stderr, "tactus-actor: %s\n", std::string(status.message()).c_str());
  const bool users_mistake = absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                             absl::IsPermissionDenied(status) || absl::IsUnimplemented(status);
  return users_mistake ? 2 : 1;
}
