// State and events of a simulation; see simulation.h. For its .cc files only.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/rollout/grpc_rollout_session.h"
#include "learner/rollout/actor_table.h"
#include "learner/rollout/ingest.h"
#include "tests/data/group_builder.h"
#include "tests/learner/simulation/sim_disk.h"
#include "tests/learner/simulation/simulation.h"

namespace tactus {
inline constexpr int64_t kLongestStillMs = 60'000;
inline constexpr int64_t kEndMs = 20'000'000;  // by then the run has to be finished
inline constexpr int64_t kTickMs = 200;
inline constexpr int64_t kBeatMs = 500;
inline constexpr uint32_t kCredits = 4;
inline constexpr size_t kStoryLines = 60;
inline constexpr int kZones = 2;
inline constexpr uint64_t kSegmentBytes = 2000;  // so that segments end all the time

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : in_portions_(seed % 2 == 1), random_(seed) {}
  SimulationResult Run();

 private:
  struct Work {
    PromptLease lease;
    PolicyVersion version;
    int64_t done_ms = 0;
  };
  // Of weights, from others or the learner.
  struct Fetch {
    WeightPath path;
    size_t next = 0;  // of its parents
    int64_t asked_ms = 0;
    int64_t silent_ms = 0;
  };
  struct Actor {
    std::string id;
    std::string address;  // where it passes weights on: another in each life
    std::unique_ptr<RolloutSession> session;
    uint64_t stream = 0;  // 0: none
    std::map<uint64_t, Work> work;
    std::optional<PolicyVersion> held;
    bool fetching = false;  // asks for no lease meanwhile
    std::optional<Fetch> fetch;
    std::optional<uint64_t> lease_call;
    int64_t lease_deadline_ms = 0;
    std::map<uint64_t, TrajectoryGroup> submits;  // by the session's name for them
    int64_t still_until_ms = 0;                   // stands still
    int64_t next_beat_ms = 0;
    uint64_t life = 0;  // counts restarts: what was scheduled for an earlier one is void
  };
  struct Stream {
    int actor = 0;
    bool up = true;    // for the actor
    std::string name;  // once the learner knows it
    std::vector<std::string> chunks;
    int64_t to_learner_ms = 0, to_actor_ms = 0;  // arrival of the last message: they never overtake each other
  };
  struct Learner {
    absl::Mutex mu;
    RolloutLedger ledger;
    EvalBoard board{EvalBoard::Options{}};  // which nothing is leased from
    ActorTable actors{absl::Seconds(5)};
    std::unique_ptr<Ingest> ingest;
    std::vector<Submission> submissions;
    std::map<std::pair<uint64_t, uint64_t>, uint64_t> lease_of;  // (stream, sequence) -> lease
    std::map<uint64_t, int> asked;                               // lease requests that wait, by stream
    uint64_t next_prompt = 0;
    bool training = false;
    std::vector<TrajectoryGroup> step;  // what is taken of the next one
    bool processing = false;
    PolicyVersion fetchable;
    explicit Learner(const LedgerOptions& options) : ledger(options) {}
  };
  // What the world knows of a history: copied into checkpoints, and back at a restore.
  struct History {
    std::set<uint64_t> trained_prompts, trained_leases;
    int64_t steps = 0;
    uint64_t next_in_order = 0;
  };
  struct Checkpoint {
    LedgerSnapshot snapshot;
    History history;
    uint64_t next_prompt = 0;
  };

  // The world.
  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Chance(uint64_t in) { return now_ms_ < faults_end_ms_ && Below(in) == 0; }
  int64_t Delay() { return 1 + static_cast<int64_t>(Chance(20) ? Below(4000) : Below(40)); }
  absl::Duration Now() const { return absl::Milliseconds(now_ms_); }
  absl::Time Time() const { return absl::UnixEpoch() + Now(); }
  void At(int64_t ms, std::function<void()> event) { events_.emplace(std::pair(ms, order_++), std::move(event)); }
  void In(int64_t ms, std::function<void()> event) { At(now_ms_ + ms, std::move(event)); }
  void Tell(std::string line);
  void Expect(bool holds, absl::string_view what) {
    if (!holds && violation_.empty()) violation_ = absl::StrCat(what, " at ", now_ms_, " ms");
  }

  // Actors.
  void StartActor(int index);
  void KillActor(int index);
  void ActorBeat(int index, uint64_t life);
  void WorkOn(Actor& actor);
  void FinishCalls(Actor& actor);
  void AskForLeases(Actor& actor);
  void AttachActor(int index, uint64_t life);
  void BreakStream(uint64_t id);
  void PumpActor(int index);

  // Weights.
  bool Calm() const;
  wire::WeightPath PathOf(const std::string& actor_id) const;
  void FetchWeights(int index);
  void AskForWeights(int index, uint64_t life);
  void TryNext(int index);
  void FetchFromLearner(int index, uint64_t life);
  void TakeWeights(int index, PolicyVersion version);

  // The learner.
  void StartLearner();
  void CrashLearner();
  void CheckDurable(const std::set<uint64_t>& found);
  void Tick(uint64_t life);
  void Receive(uint64_t stream, wire::ActorMessage message);
  void OnHello(uint64_t id, const wire::Hello& hello);
  void OnChunk(uint64_t id, wire::SubmitChunk chunk);
  void Send(uint64_t stream, wire::LearnerMessage message);
  void Process(uint64_t life);
  void Acknowledge(const Submission& submission, const absl::Status& status);
  void PumpLeases();
  void Fill();
  void TryTrain();
  void ForeseeDrops(const LedgerSnapshot& before);
  void CheckBatch(const std::vector<TrajectoryGroup>& groups);
  void FinishStep(uint64_t life, const std::vector<TrajectoryGroup>& groups);
  void Announce(uint64_t life, PolicyVersion version);
  void SaveCheckpoint();
  void CheckBooks();

  const bool in_portions_;  // steps are taken as their groups come
  std::mt19937_64 random_;
  int64_t now_ms_ = 0;
  uint64_t order_ = 0;
  std::map<std::pair<int64_t, uint64_t>, std::function<void()>> events_;
  std::deque<std::string> story_;
  uint64_t hash_ = 1469598103934665603ULL;
  std::string violation_;

  LedgerOptions options_;
  int64_t target_steps_ = 0;
  int checkpoint_every_ = 1;
  bool poison_ = false;  // some prompts end their actors
  int fan_out_ = 0;      // of those who pass weights on; 0: nobody does
  int64_t faults_end_ms_ = 0;
  std::map<PolicyVersion, int> sent_;  // by the learner, once all is calm
  std::vector<Actor> actors_;
  std::map<uint64_t, Stream> streams_;
  uint64_t next_stream_ = 1;
  SimDisk disk_;
  std::optional<Checkpoint> checkpoint_;
  std::unique_ptr<Learner> learner_;
  uint32_t incarnation_ = 0;
  uint64_t life_ = 0;  // of the learner
  History history_;
  std::set<uint64_t> acknowledged_;  // leases whose groups were, ever
  std::set<uint64_t> accepted_now_;  // of them, by this learner
  std::set<uint64_t> left_out_;      // by a restore, for a reason
  std::map<uint64_t, uint64_t>
      early_;  // restored groups by lease: the prompt, not added when the step's groups were taken
  int64_t crashes_ = 0;
};

}  // namespace tactus
