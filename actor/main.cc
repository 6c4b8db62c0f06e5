// tactus-actor: samples completions for a learner until the run is finished or SIGTERM asks it to stop.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "actor/actor.h"
#include "actor/actor_metrics.h"
#include "actor/grpc_weight_source.h"
#include "actor/run_engine.h"
#include "actor/weight_relaying.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/base/thread.h"
#include "common/config/flags.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "common/device/devices.h"
#include "common/environment/open_task.h"
#include "common/metrics/build_info.h"
#include "common/metrics/metrics_server.h"
#include "common/model/memory_need.h"
#include "common/model/sequence_fit.h"
#include "common/ops/cpu/parallel.h"
#include "common/rollout/grpc_log.h"
#include "common/rollout/grpc_rollout_port.h"
#include "common/tasks/prompt_encoder.h"
#include "common/tasks/turn_encoder.h"
#include "common/tokenizer/chat/chat_facts.h"
#include "common/tokenizer/chat/chat_template.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

struct ActorFlags {
  std::string config, learner, log_format = "text";
  std::optional<std::string> instance, device, metrics_listen, ready_file, relay_listen, relay_advertise;
  std::string zone;
  std::vector<std::string> set;
  double learner_timeout_s = 600, drain_grace_s = 30;

  void Declare(CLI::App& app) {
    AddRequired(app, "--config FILE", config, "the run's configuration, the same as the learner's");
    AddRequired(app, "--learner HOST:PORT", learner, "where learner rank 0 serves actors");
    AddFlag(app, "--instance NAME", instance,
            "this actor's name, unique in the run; the host's name and process id when not given");
    AddFlag(app, "--set FIELD=VALUE", set, "overrides one configuration field");
    AddFlag(app, "--device DEVICE", device, "overrides actor.device: auto, cpu or cuda:N");
    AddFlag(app, "--metrics-listen HOST:PORT", metrics_listen,
            "address of /metrics, /healthz and /readyz; default: service.metrics_listen");
    AddFlag(app, "--ready-file FILE", ready_file, "the actor writes its address here once it serves metrics");
    AddFlag(
        app, "--relay-listen HOST:PORT", relay_listen,
        "where weights are passed on to other actors (service.relay_fan_out); default: the address that reaches the "
        "learner, any free port");
    AddFlag(app, "--relay-advertise HOST:PORT", relay_advertise,
            "where other actors reach that, if not by the address it listens at");
    AddFlag(app, "--zone NAME", zone, "weights come from an actor of the same zone, where there is one");
    AddFlag(app, "--learner-timeout-s S", learner_timeout_s,
            "give up when the learner, or at the start the environment, has not answered for so long", 1, 86400);
    AddFlag(app, "--drain-grace-s S", drain_grace_s, "time to finish and hand in running groups after SIGTERM", 0,
            86400);
    AddLogFormat(app, log_format);
  }
};

std::string DefaultInstance() {
  char host[64] = "actor";
  gethostname(host, sizeof(host) - 1);
  return absl::StrCat(host, "-", getpid());
}

// What an actor is made of, in the order of making; destroyed in the opposite order. Each part stays where it is when
// this is moved, as others point to it.
struct Parts {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<PromptEncoder> prompts;  // the chat template, of conversations
  std::unique_ptr<const TurnEncoder> turns;
  RewardSource rewards;
  std::unique_ptr<const CreditAssigner> credit;
  std::unique_ptr<WeightRelaying> relaying;  // null: off
  std::unique_ptr<GrpcRolloutPort> port;
  std::unique_ptr<WeightSource> weights;
  std::unique_ptr<Actor> actor;
};

ActorSettings MakeSettings(const config::RunConfig& run, const ActorFlags& flags, const std::string& instance,
                           const std::vector<TokenId>& model_stop_ids) {
  ActorSettings settings;
  settings.actor_id = instance;
  settings.max_leases = run.actor().max_leases();
  settings.completions_per_prompt = run.rollout().completions_per_prompt();
  settings.max_completion_tokens = run.rollout().max_completion_tokens();
  settings.sampling.temperature = static_cast<float>(run.rollout().temperature());
  settings.sampling.top_p = static_cast<float>(run.rollout().top_p());
  settings.sampling.top_k = run.rollout().top_k();
  settings.stop_ids = model_stop_ids;
  settings.stop_ids.insert(settings.stop_ids.end(), run.rollout().stop_token_ids().begin(),
                           run.rollout().stop_token_ids().end());
  settings.drain_grace = absl::Seconds(flags.drain_grace_s);
  settings.learner_timeout = absl::Seconds(flags.learner_timeout_s);
  settings.stop = StopRequested();
  return settings;
}

// Of the model's own files; what they disagree about goes to the log.
absl::StatusOr<std::vector<TokenId>> ModelStopIds(const config::RunConfig& run, const ModelFolder& folder,
                                                  const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ChatTemplate> chat,
                   ChatTemplate::FromModelFolder(folder.path, run.model().prompt_template()));
  ASSIGN_OR_RETURN(ChatFacts facts, FindChatFacts(folder.path, tokenizer, chat.get(), folder.config.eos_token_ids,
                                                  folder.config.vocab_size));
  for (const std::string& remark : facts.remarks) TACTUS_LOG(WARNING) << remark;
  return std::move(facts.stop_ids);
}

// What conversations need besides, where the run's environment holds them; none: it does not.
absl::StatusOr<std::optional<ConversationParts>> Conversing(const config::RunConfig& run, const ModelConfig& model,
                                                            Parts& parts) {
  if (parts.rewards.episodes == nullptr) return std::nullopt;
  ASSIGN_OR_RETURN(parts.prompts, PromptEncoder::Create(run.model()));
  parts.turns = std::make_unique<const TurnEncoder>(parts.tokenizer.get(), &parts.prompts->chat(), model.vocab_size);
  return ConversationParts::FromProto(run.rollout(), parts.rewards.episodes.get(), parts.turns.get(),
                                      parts.tokenizer.get());
}

absl::StatusOr<Parts> MakeParts(const config::RunConfig& run, const ActorFlags& flags, const std::string& instance,
                                const Device& device, MetricSet* metrics) {
  Parts parts;
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(run.model().path()));
  RETURN_IF_ERROR(CheckSequenceFits(run, folder.config));
  ASSIGN_OR_RETURN(const ops::AttentionProbe probe,
                   ProbeOfRun(run.credit(), folder.config.num_layers, folder.config.num_heads));
  RETURN_IF_ERROR(CheckOwnMemory(ActorMemory(instance, folder.config, run, device, probe),
                                 ActorHostMemory(instance, folder.config, run), device, run.actor().gpu_memory_mib(),
                                 ListGpus()));
  ASSIGN_OR_RETURN(parts.tokenizer, Tokenizer::FromFile(absl::StrCat(folder.path, "/tokenizer.json")));
  ASSIGN_OR_RETURN(const std::vector<TokenId> stop_ids, ModelStopIds(run, folder, *parts.tokenizer));
  ASSIGN_OR_RETURN(parts.rewards, OpenRewards(run, absl::Seconds(flags.learner_timeout_s), metrics));
  ASSIGN_OR_RETURN(CreditAssigner credit, CreditAssigner::FromProto(run.credit()));
  parts.credit = std::make_unique<const CreditAssigner>(std::move(credit));

  GrpcRolloutPortOptions port;
  ASSIGN_OR_RETURN(port.address, HostPort::Parse(flags.learner, "--learner"));
  port.security = ChannelSecurity::FromProto(run.service());
  port.run_id = run.service().run_id();
  port.actor_id = instance;
  port.config_fingerprint = config::Fingerprint(run);
  port.limits.max_prompt_tokens = run.rollout().max_prompt_tokens();
  port.limits.max_completion_tokens = run.rollout().max_completion_tokens();
  port.limits.completions_per_prompt = run.rollout().completions_per_prompt();
  port.limits.max_turns = run.rollout().max_turns();
  port.limits.vocab_size = static_cast<int>(folder.config.vocab_size);
  port.limits.sources = static_cast<int>(config::SourceNames(run.task()).size());
  ASSIGN_OR_RETURN(port.limits.calibrated_heads,
                   parts.credit->CalibratedHeads(folder.config.num_layers, folder.config.num_heads));
  if (run.service().relay_fan_out() > 0) {
    ASSIGN_OR_RETURN(parts.relaying, WeightRelaying::Start({.learner = port.address,
                                                            .listen = flags.relay_listen,
                                                            .advertise = flags.relay_advertise,
                                                            .security = port.security,
                                                            .run_id = port.run_id,
                                                            .patience = absl::Seconds(flags.learner_timeout_s),
                                                            .stop = StopRequested()}));
    port.relay_address = parts.relaying->address();
    port.zone = flags.zone;
  }
  TACTUS_LOG(INFO) << "connecting to the learner at " << port.address.Text();
  ASSIGN_OR_RETURN(parts.port, GrpcRolloutPort::Connect(port, absl::Seconds(flags.learner_timeout_s)));
  ASSIGN_OR_RETURN(parts.weights, MakeGrpcWeightSource({.address = port.address,
                                                        .security = port.security,
                                                        .run_id = port.run_id,
                                                        .actor_id = port.actor_id,
                                                        .layout = folder.layout,
                                                        .calibrated_heads = port.limits.calibrated_heads,
                                                        .reads_shared = device.is_gpu() && run.gpu().shared_weights(),
                                                        .metrics = metrics,
                                                        .relay = RelayOf(parts.relaying.get())},
                                                       parts.port.get()));
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, MakeRunEngine(run, folder, *parts.credit, device));
  ASSIGN_OR_RETURN(const std::optional<ConversationParts> conversations, Conversing(run, folder.config, parts));
  parts.actor = std::make_unique<Actor>(
      MakeSettings(run, flags, instance, stop_ids), std::move(engine), parts.port.get(), parts.weights.get(),
      GroupScorer(parts.tokenizer.get(), parts.rewards.judge.get(), parts.credit.get()), conversations);
  return parts;
}

absl::StatusOr<config::RunConfig> LoadConfig(const ActorFlags& flags) {
  std::vector<std::string> overrides = flags.set;
  if (flags.device.has_value()) overrides.push_back(absl::StrCat("actor.device=", *flags.device));
  return config::LoadRunConfig(flags.config, overrides);
}

absl::Status Run(const ActorFlags& flags) {
  ASSIGN_OR_RETURN(const config::RunConfig run, LoadConfig(flags));
  const std::string instance = flags.instance.has_value() ? *flags.instance : DefaultInstance();
  ConfigureLog({.json = flags.log_format == "json",
                .role = "actor",
                .run_id = run.service().run_id(),
                .instance_kind = "actor",
                .instance = instance});
  RouteLibraryLogs();
  for (const std::string& warning : config::Warnings(run)) TACTUS_LOG(WARNING) << warning;
  ASSIGN_OR_RETURN(const Device device,
                   OwnDevice(run.actor().device(), flags.device.has_value() ? "--device" : "actor.device"));
  ops::SetThreads(std::max(1, run.actor().threads()));
  // Served from here on: the process is alive while it connects and loads.
  MetricSet metrics(
      {.role = ProcessRole::kActor, .rank = 0, .task = run.task().name(), .run_id = run.service().run_id()});
  Readiness readiness("connecting to the learner");
  const std::string listen = flags.metrics_listen.value_or(run.service().metrics_listen());
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsServer> server, MetricsServer::Start(listen, &metrics, &readiness));
  TACTUS_LOG(INFO) << "serving metrics at http://" << server->address() << "/metrics";
  if (flags.ready_file.has_value()) {
    RETURN_IF_ERROR(WriteFileAtomic(*flags.ready_file, absl::StrCat("{\"metrics\":\"", server->address(), "\"}\n")));
  }
  ASSIGN_OR_RETURN(Parts parts, MakeParts(run, flags, instance, device, &metrics));

  CatchStopSignals();
  ASSIGN_OR_RETURN(std::unique_ptr<ActorMetricsThread> publish,
                   ActorMetricsThread::Start(parts.actor.get(), parts.relaying.get(),
                                             ChannelSecurity::FromProto(run.service()), &metrics));
  readiness.Watch([actor = parts.actor.get()] { return actor->NotReady(); });
  absl::Status status = parts.actor->Run();
  publish.reset();  // which copies the last counts
  readiness.Watch([] { return std::string("stopped"); });
  const ActorStats stats = parts.actor->stats();
  TACTUS_LOG(INFO) << "submitted " << stats.groups_submitted << " groups, " << stats.completion_tokens
                   << " tokens (and " << stats.continuation_tokens << " of continuations); expired "
                   << stats.groups_expired << ", refused " << stats.groups_refused << ", without a reward "
                   << stats.groups_unscored << "; stepping " << stats.step_s << " s, waiting for prompts "
                   << stats.wait_lease_s << " s, for weights " << stats.wait_weights_s << " s; preemptions "
                   << stats.engine.preemptions;
  return status;
}

int ExitWith(const absl::Status& status) {
  if (!status.ok()) LogFailure("tactus-actor", status.message());
  return ExitCodeOf(status, kExitFailure);
}

int Main(const std::vector<std::string>& args) {
  ActorFlags flags;
  const auto declare = [&flags](CLI::App& app) { flags.Declare(app); };
  if (AsksForHelp(args)) {
    std::printf(
        "Samples completions for a learner.\n\nUsage: tactus-actor --config FILE --learner HOST:PORT [flags]\n\n"
        "Example:\n  tactus-actor --config configs/quickstart.textproto --learner 10.0.0.5:7070\n\n"
        "Every flag may come from the environment: --learner from TACTUS_LEARNER, and so on.\n\nFlags:\n%s",
        FlagHelp(declare).c_str());
    return kExitOk;
  }
  if (std::ranges::find(args, "--version") != args.end()) {
    std::fputs(VersionText("tactus-actor", ThisBuild(), ListGpus()).c_str(), stdout);
    return kExitOk;
  }
  std::signal(SIGPIPE, SIG_IGN);
  ExitOnStopSignals(kExitOk);  // while it connects and loads nothing is leased, so there is nothing to finish
  const absl::Status status = ParseFlags(declare, args, /*environment=*/true);
  return ExitWith(status.ok() ? Run(flags) : status);
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  tactus::BeginProgram("tactus-actor");
  return tactus::Main({argv + 1, argv + argc});
}
