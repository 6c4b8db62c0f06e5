// How many actors one learner's control plane carries: real gRPC, one TCP connection an actor, a real ledger and log, a
// trainer that takes its groups and does nothing.
//
//   control_plane_bench [--actors 8,64,256,1000] [--seconds 60] [--lengths FILE] [--out FOLDER]
//
// The learner is a process of its own, this one again; all actors are streams of this process. Each leases a prompt, is
// at it for about a second (in proportion to the answer's length), hands in a group of 8 answers and asks again. FILE
// has lengths in tokens, one a line, such as a run's own; without it they are drawn from a long tail, half of them
// below 300 tokens and one in a hundred above 6,000. After half of the time all streams break at once.
//
// One JSON line for each number of actors: seconds until all were served, after the start and after the break; leases
// and groups a second; seconds from handing a group in to its acknowledgement, median and 99th percentile; the
// learner's CPU in cores, its memory before the first actor and at its most, in MiB; bytes handed in.
#include <grpcpp/grpcpp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/thread.h"
#include "common/data/codec.h"
#include "common/rollout/grpc_rollout_session.h"
#include "learner/rollout/grpc_rollout_server.h"
#include "proto/rollout_service.grpc.pb.h"

namespace tactus {
namespace {

constexpr TrajectoryLimits kLimits = {
    .max_prompt_tokens = 512, .max_completion_tokens = 32768, .completions_per_prompt = 8, .vocab_size = 150'000};
constexpr absl::Duration kTick = absl::Milliseconds(20);

// ---- the learner ----------------------------------------------------------------------------------------------------

Prompt PromptOf(uint64_t id) {
  Prompt prompt{.id = id, .token_ids = {}, .answer_key_json = R"({"target":7})"};
  for (int t = 0; t < 100; ++t)
    prompt.token_ids.push_back(static_cast<TokenId>((id + static_cast<uint64_t>(t)) % 1000));
  return prompt;
}

// Serves until its parent is gone; prints its port.
int Serve(int actors, const std::string& folder) {
  RolloutServerOptions options;
  options.listen = "127.0.0.1:0";
  options.security.plaintext = true;
  options.run_id = "bench";
  options.limits = kLimits;
  options.ledger = {.prompts_per_step = std::max(16, actors / 4),
                    .completions_per_prompt = kLimits.completions_per_prompt,
                    .max_staleness_steps = 8};
  options.log_folder = folder;
  auto server = RolloutServer::Start(options, std::nullopt);
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
    return 1;
  }
  std::printf("%d\n", (*server)->port());
  std::fflush(stdout);
  uint64_t next_prompt = 0;
  PolicyVersion version = (*server)->version();
  while (::getppid() != 1) {
    std::vector<Prompt> prompts;
    for (int free = (*server)->FreeSlots(); free > 0; --free) prompts.push_back(PromptOf(next_prompt++));
    if (!(*server)->AddPrompts(std::move(prompts)).ok()) return 1;
    const auto groups = (*server)->TakeGroups(options.ledger.prompts_per_step, absl::Milliseconds(100));
    if (!groups.ok()) continue;
    ++version.step;
    if (!(*server)->SetVersion(version).ok() || !(*server)->Release(static_cast<int>(groups->size())).ok()) return 1;
    if (version.step % 50 != 0) continue;
    const auto snapshot = (*server)->Snapshot();  // as checkpoints do, so that the log does not grow for ever
    if (snapshot.ok()) (void)(*server)->TruncateLog(snapshot->log_segment);
  }
  return 0;
}

class LearnerProcess {
 public:
  LearnerProcess(int actors, const std::string& folder) {
    int pipe[2];
    if (::pipe(pipe) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(pipe[1], STDOUT_FILENO);
      const std::string count = absl::StrCat(actors);
      ::execl("/proc/self/exe", "control_plane_bench", "--serve", count.c_str(), "--out", folder.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(pipe[1]);
    FILE* out = ::fdopen(pipe[0], "r");
    if (out != nullptr && std::fscanf(out, "%d", &port_) != 1) port_ = 0;
    if (out != nullptr) std::fclose(out);
  }
  ~LearnerProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  int port() const { return port_; }

  double CpuSeconds() const {
    std::ifstream file(absl::StrCat("/proc/", pid_, "/stat"));
    std::string text((std::istreambuf_iterator<char>(file)), {});
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skip;
    double user = 0, system = 0;
    for (int i = 0; i < 11; ++i) fields >> skip;
    fields >> user >> system;
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  double MiB(const std::string& what) const {  // VmRSS, VmHWM
    std::ifstream file(absl::StrCat("/proc/", pid_, "/status"));
    for (std::string line; std::getline(file, line);) {
      if (line.rfind(what, 0) == 0) return std::stod(line.substr(what.size() + 1)) / 1024;
    }
    return 0;
  }

 private:
  pid_t pid_ = -1;
  int port_ = 0;
};

// ---- the actors -----------------------------------------------------------------------------------------------------

struct Totals {
  std::atomic<int64_t> leases{0}, groups{0}, bytes{0}, errors{0};
  absl::Mutex mu;
  std::vector<double> ack_s ABSL_GUARDED_BY(mu);
};

class LoadActor {
 public:
  LoadActor(int index, int port, const std::vector<int>* lengths, Totals* totals)
      : id_(absl::StrCat("actor-", index)), lengths_(*lengths), totals_(*totals), random_(index), session_([&] {
          GrpcRolloutPortOptions options;
          options.run_id = "bench";
          options.actor_id = id_;
          options.limits = kLimits;
          return options;
        }()) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);  // a connection of its own
    stub_ = wire::RolloutService::NewStub(
        grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), arguments));
  }

  bool welcomed() {
    absl::MutexLock lock(&mu_);
    return session_.welcomed();
  }
  // Breaks the stream; the next tick attaches again.
  void Break() {
    absl::MutexLock lock(&mu_);
    if (stream_ != nullptr) stream_->Cancel();
  }
  bool idle() {
    absl::MutexLock lock(&mu_);
    return stream_ == nullptr || stream_->done();
  }
  void Tick(bool attach);

 private:
  class Stream final : public grpc::ClientBidiReactor<wire::ActorMessage, wire::LearnerMessage> {
   public:
    explicit Stream(LoadActor* actor) : actor_(*actor) {
      actor_.stub_->async()->Attach(&context_, this);
      AddHold();
      StartRead(&in_);
      StartCall();
    }
    void Pump() {  // with the actor's mutex
      if (writing_ || !held_) return;
      auto message = actor_.session_.Next(absl::Now());
      if (!message.has_value()) return;
      out_ = *std::move(message);
      writing_ = true;
      StartWrite(&out_);
    }
    void Cancel() { context_.TryCancel(); }
    void OnReadDone(bool ok) override {
      absl::MutexLock lock(&actor_.mu_);
      if (!ok) return LetGo();
      if (!actor_.session_.Handle(in_, absl::Now()).ok()) ++actor_.totals_.errors;
      actor_.FinishCalls();
      Pump();
      StartRead(&in_);
    }
    void OnWriteDone(bool ok) override {
      absl::MutexLock lock(&actor_.mu_);
      writing_ = false;
      ok ? Pump() : LetGo();
    }
    // It is deleted by the actor's thread: gRPC aborts when its own thread closes the process' last channel.
    void OnDone(const grpc::Status&) override {
      absl::MutexLock lock(&actor_.mu_);
      actor_.session_.Detach();
      done_ = true;
    }
    bool done() const { return done_; }  // with the actor's mutex

   private:
    void LetGo() {
      if (std::exchange(held_, false)) RemoveHold();
    }
    LoadActor& actor_;
    grpc::ClientContext context_;
    wire::LearnerMessage in_;
    wire::ActorMessage out_;
    bool writing_ = false, held_ = true, done_ = false;
  };
  struct Sent {
    absl::Time at;
    uint64_t lease_id = 0;
  };

  void FinishCalls() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void HandIn(const PromptLease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string id_;
  const std::vector<int>& lengths_;
  Totals& totals_;
  std::unique_ptr<wire::RolloutService::Stub> stub_;
  absl::Mutex mu_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mu_);
  RolloutSession session_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);
  std::optional<uint64_t> lease_call_ ABSL_GUARDED_BY(mu_);
  std::deque<std::pair<absl::Time, PromptLease>> work_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, Sent> sent_ ABSL_GUARDED_BY(mu_);
  absl::Time beat_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

void LoadActor::Tick(bool attach) {
  absl::MutexLock lock(&mu_);
  const absl::Time now = absl::Now();
  if (stream_ == nullptr || stream_->done()) {
    stream_.reset();
    if (!attach) return;
    session_.Attach();
    stream_ = std::make_unique<Stream>(this);
    stream_->Pump();
    return;
  }
  if (!session_.welcomed()) return;
  FinishCalls();
  while (!work_.empty() && work_.front().first <= now) {
    HandIn(work_.front().second);
    work_.pop_front();
  }
  if (!lease_call_.has_value() && work_.empty() && sent_.empty()) {
    lease_call_ = session_.AddLease(1, session_.latest_version().value_or(PolicyVersion()), now + absl::Seconds(10));
  }
  if (now - beat_ >= session_.HeartbeatInterval()) {
    std::vector<uint64_t> working;
    for (const auto& [when, lease] : work_) working.push_back(lease.lease_id);
    (void)session_.Renew(working, now);
    session_.RequestHeartbeat();
    beat_ = now;
  }
  stream_->Pump();
}

void LoadActor::FinishCalls() {
  const absl::Time now = absl::Now();
  for (auto it = sent_.begin(); it != sent_.end();) {
    const RolloutSession::SubmitCall& call = session_.submit(it->first);
    if (!call.done) {
      ++it;
      continue;
    }
    if (call.status.ok()) {
      ++totals_.groups;
      absl::MutexLock lock(&totals_.mu);
      totals_.ack_s.push_back(absl::ToDoubleSeconds(now - it->second.at));
    } else if (!absl::IsNotFound(call.status)) {
      ++totals_.errors;
    }
    session_.ForgetSubmit(it->first);
    it = sent_.erase(it);
  }
  if (!lease_call_.has_value()) return;
  RolloutSession::LeaseCall& call = session_.lease(*lease_call_);
  if (!call.done && call.deadline > now) return;
  for (PromptLease& lease : call.leases) {
    ++totals_.leases;
    // About a second, as long as the answer is: the sum of a group's lengths decides.
    work_.emplace_back(now + absl::Seconds(0.5 + std::generate_canonical<double, 53>(random_)), std::move(lease));
  }
  session_.ForgetLease(*lease_call_);
  lease_call_.reset();
}

void LoadActor::HandIn(const PromptLease& lease) {
  TrajectoryGroup group{lease.lease_id, lease.prompt.id, lease.prompt.token_ids, {}, id_};
  const PolicyVersion version = lease.version;
  for (int i = 0; i < lease.completions_wanted; ++i) {
    const auto length = static_cast<size_t>(lengths_[random_() % lengths_.size()]);
    Completion& completion = group.completions.emplace_back();
    for (size_t t = 0; t < length; ++t) completion.token_ids.push_back(static_cast<TokenId>(random_() % 150'000));
    completion.logprobs.assign(length, -0.5F);
    completion.entropy.assign(length, 0.7F);
    completion.credit.assign(length, 1.0F);
    completion.versions = {{0, version}};
    completion.reward = {1, 1, 0, "right"};
  }
  std::string bytes = EncodeGroup(group);
  totals_.bytes += static_cast<int64_t>(bytes.size());
  sent_[session_.AddSubmit(std::move(bytes), lease.lease_id)] = {absl::Now(), lease.lease_id};
}

// ---- a measurement --------------------------------------------------------------------------------------------------

std::vector<int> Lengths(const std::string& path) {
  std::vector<int> lengths;
  std::ifstream file(path);
  for (int length = 0; file >> length;) lengths.push_back(std::clamp(length, 1, kLimits.max_completion_tokens));
  if (!path.empty()) return lengths;
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> tail(std::log(300), 1.3);
  for (int i = 0; i < 10'000; ++i) lengths.push_back(std::clamp(static_cast<int>(tail(random)), 1, 32768));
  return lengths;
}

class Load {
 public:
  Load(int actors, int port, const std::vector<int>& lengths) {
    for (int i = 0; i < actors; ++i) actors_.push_back(std::make_unique<LoadActor>(i, port, &lengths, &totals_));
  }
  Totals& totals() { return totals_; }

  void Run(absl::Duration time) {
    for (const absl::Time end = absl::Now() + time; absl::Now() < end; absl::SleepFor(kTick)) TickAll(true);
  }
  // Seconds until every actor is attached and heard; at most a minute.
  double UntilServed() {
    const absl::Time start = absl::Now();
    const auto served = [&] { return std::ranges::all_of(actors_, [](const auto& a) { return a->welcomed(); }); };
    for (; !served() && absl::Now() - start < absl::Minutes(1); absl::SleepFor(kTick)) TickAll(true);
    return absl::ToDoubleSeconds(absl::Now() - start);
  }
  void BreakAll() {
    for (const auto& actor : actors_) actor->Break();
    const auto idle = [&] { return std::ranges::all_of(actors_, [](const auto& a) { return a->idle(); }); };
    while (!idle()) absl::SleepFor(kTick);
  }

 private:
  void TickAll(bool attach) {
    for (const auto& actor : actors_) actor->Tick(attach);
  }
  Totals totals_;
  std::vector<std::unique_ptr<LoadActor>> actors_;
};

nlohmann::json Measure(int actors, double seconds, const std::vector<int>& lengths, const std::string& folder) {
  std::filesystem::remove_all(folder);
  LearnerProcess learner(actors, folder);
  const double before_mib = learner.MiB("VmRSS");
  Load load(actors, learner.port(), lengths);
  const double connect_s = load.UntilServed();
  const double cpu_s = learner.CpuSeconds();
  const absl::Time start = absl::Now();
  const int64_t leases = load.totals().leases, groups = load.totals().groups;
  load.Run(absl::Seconds(seconds / 2));
  load.BreakAll();
  const double reconnect_s = load.UntilServed();
  load.Run(absl::Seconds(seconds / 2));
  const double took = absl::ToDoubleSeconds(absl::Now() - start);
  const double cores = (learner.CpuSeconds() - cpu_s) / took;
  nlohmann::json line = {{"actors", actors},
                         {"connect_s", connect_s},
                         {"reconnect_s", reconnect_s},
                         {"leases_per_s", static_cast<double>(load.totals().leases - leases) / took},
                         {"groups_per_s", static_cast<double>(load.totals().groups - groups) / took},
                         {"learner_cores", cores},
                         {"learner_mib_before", before_mib},
                         {"learner_mib_most", learner.MiB("VmHWM")},
                         {"group_bytes", load.totals().bytes.load()},
                         {"errors", load.totals().errors.load()}};
  load.BreakAll();
  absl::MutexLock lock(&load.totals().mu);
  std::vector<double>& ack = load.totals().ack_s;
  std::sort(ack.begin(), ack.end());
  if (!ack.empty()) {
    line["ack_p50_s"] = ack[ack.size() / 2];
    line["ack_p99_s"] = ack[ack.size() * 99 / 100];
  }
  std::filesystem::remove_all(folder);
  return line;
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  tactus::BeginProgram("control_plane_bench");
  CLI::App app("How many actors one learner's control plane carries");
  std::vector<int> actors = {8, 64, 256, 1000};
  double seconds = 60;
  int serve = 0;
  std::string lengths, out = "/tmp/control_plane_bench";
  app.add_option("--actors", actors, "how many, one measurement each")->delimiter(',');
  app.add_option("--seconds", seconds, "of traffic, for each");
  app.add_option("--lengths", lengths, "a file with lengths of answers, one a line");
  app.add_option("--out", out, "where the learner's log is");
  app.add_option("--serve", serve, "be the learner of so many actors");
  CLI11_PARSE(app, argc, argv);
  if (serve > 0) return tactus::Serve(serve, out);
  for (const int count : actors) {
    std::printf("%s\n", tactus::Measure(count, seconds, tactus::Lengths(lengths), out).dump().c_str());
    std::fflush(stdout);
  }
  return 0;
}
