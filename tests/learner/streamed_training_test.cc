// Ledger, exchange and trainer together, as rank 0 and the others use them: groups that come one by one, in any order,
// and learners that are killed while a step is being gathered, train the bits of a run whose groups were all there.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "common/model/folder/hf_folder.h"
#include "learner/ledger/rollout_ledger.h"
#include "learner/step_exchange.h"
#include "learner/train/create_policy.h"
#include "learner/train/trainer.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/tree.h"

namespace tactus {
namespace {

constexpr int kSteps = 6;
constexpr int kPrompts = 8;
constexpr int kVocab = 128;
constexpr TrajectoryLimits kLimits = {
    .max_prompt_tokens = 8, .max_completion_tokens = 16, .completions_per_prompt = 4, .vocab_size = kVocab};

LedgerOptions Synchronous() {
  return {
      .prompts_per_step = kPrompts, .completions_per_prompt = 4, .max_staleness_steps = 0, .max_replaced_groups = 2};
}

// The answers to a prompt are the same whoever samples them when, and so are its tokens.
TrajectoryGroup AnswerTo(uint64_t prompt, PolicyVersion version) {
  std::mt19937 random(static_cast<uint32_t>(7 + prompt));
  TrajectoryGroup group = RandomGroup(random, prompt, kVocab, 4, version);
  for (Completion& completion : group.completions) {
    Reward& reward = completion.reward;
    if (prompt % 5 == 3) reward = {};  // no signal: left out, and another prompt takes its place
    reward.format = reward.total - reward.correct;
  }
  return group;
}

Prompt PromptOf(uint64_t id) { return {id, AnswerTo(id, {}).prompt_token_ids, ""}; }

std::unique_ptr<Trainer> MakeTrainer(Collective& collective) {
  TrainerOptions options;
  options.micro_batch_tokens = 48;
  options.schedule.lr = 1e-3;
  options.loss.tis_cap = 2;
  const ModelFolder folder = *OpenModelFolder(SourcePath("tests/goldens/models/qwen3"));
  return *Trainer::Create(options, *CreatePolicy(folder, {}), nullptr, collective);
}

// What outlives a process: the last step's checkpoint, and the log of groups that were acknowledged since.
struct Disk {
  int step = 0;
  uint32_t lives = 0;
  ParameterSnapshot state;
  StepCounts counts;
  LedgerSnapshot ledger;
  std::vector<TrajectoryGroup> log;
};

// A learner of `world` ranks from its start to its end.
class Life {
 public:
  Life(Disk& disk, uint64_t seed, bool streams, int answers_until_killed)
      : disk_(disk), random_(seed), streams_(streams), answers_left_(answers_until_killed) {}

  void Run(int world) {
    const Disk begun = disk_;
    OnRanks(world, [&](Collective& collective) {
      const auto trainer = MakeTrainer(collective);
      if (begun.step > 0) {
        ASSERT_TRUE(trainer->Restore(begun.state, begun.counts).ok());
      }
      collective.rank() == 0 ? Lead(*trainer, collective) : Follow(*trainer, collective);
    });
  }
  int portions() const { return portions_; }  // that did not end a step

 private:
  // As Rank::Train does.
  static bool Train(Trainer& trainer, StepOrder order, std::vector<TrajectoryGroup>& step) {
    if (step.empty()) {
      step.reserve(kPrompts);
      EXPECT_TRUE(trainer.BeginStep(kPrompts, order.version).ok());
    }
    const size_t before = step.size();
    std::ranges::move(order.groups, std::back_inserter(step));
    EXPECT_TRUE(trainer.AddGroups(std::span(step).subspan(before)).ok());
    if (step.size() < kPrompts) return false;
    EXPECT_TRUE(trainer.FinishStep().ok());
    step.clear();
    return true;
  }

  static void Follow(Trainer& trainer, Collective& collective) {
    std::vector<TrajectoryGroup> step;
    for (;;) {
      StepOrder order;
      const absl::Status heard = ExchangeStepOrder(collective, order, kLimits);
      ASSERT_TRUE(heard.ok()) << heard;
      if (order.kind == StepOrder::Kind::kStop) return;
      Train(trainer, std::move(order), step);
    }
  }

  void Lead(Trainer& trainer, Collective& collective) {
    RolloutLedger ledger(Synchronous());
    Restart(ledger);
    std::vector<TrajectoryGroup> step;
    StepOrder stop{.kind = StepOrder::Kind::kStop, .version = {}, .groups = {}};
    while (disk_.step < kSteps) {
      if (answers_left_ == 0) break;  // killed: nothing is put back, nothing saved
      const int wanted = kPrompts - static_cast<int>(step.size());
      StepOrder order{.kind = StepOrder::Kind::kTrain,
                      .version = ledger.version(),
                      .groups = ledger.Take(wanted, streams_ ? 1 : wanted)};
      if (order.groups.empty()) {
        AnswerOne(ledger);
        continue;
      }
      ASSERT_TRUE(ExchangeStepOrder(collective, order, kLimits).ok());
      if (!Train(trainer, std::move(order), step)) {
        ++portions_;
        continue;
      }
      ASSERT_TRUE(ledger.SetVersion({ledger.version().incarnation, ledger.version().step + 1}).ok());
      ASSERT_TRUE(ledger.Release(kPrompts).ok());
      Save(ledger, trainer);
    }
    ASSERT_TRUE(ExchangeStepOrder(collective, stop, kLimits).ok());
  }

  void Restart(RolloutLedger& ledger) {
    if (disk_.lives > 0) {
      std::vector<Prompt> prompts;
      for (const uint64_t id : disk_.ledger.open_prompt_ids) prompts.push_back(PromptOf(id));
      ASSERT_TRUE(ledger.Restore(disk_.ledger, std::move(prompts), disk_.lives).ok());
      next_prompt_ = disk_.ledger.next_prompt_id;
      for (const TrajectoryGroup& group : disk_.log) ledger.Replay(group);
    } else {
      disk_.ledger = ledger.Snapshot().value();
    }
    ++disk_.lives;
  }

  void Save(RolloutLedger& ledger, Trainer& trainer) {
    ++disk_.step;
    disk_.state = *trainer.policy().state().ReadState();
    disk_.counts = trainer.counts();
    disk_.ledger = ledger.Snapshot().value();
    disk_.log.clear();
    EXPECT_TRUE(ledger.counters().Balanced());
    EXPECT_EQ(ledger.counters().trained, disk_.step * kPrompts);
  }

  // Any of those that are out.
  void AnswerOne(RolloutLedger& ledger) {
    while (ledger.View().free_slots > 0) {
      ASSERT_TRUE(ledger.Add(PromptOf(next_prompt_)).ok());
      ++next_prompt_;
    }
    if (ledger.View().waiting > 0) {
      const auto leases = ledger.Lease("a", 1 + static_cast<int>(random_() % 9), ledger.version(), absl::Seconds(1));
      ASSERT_TRUE(leases.ok()) << leases.status();
      out_.insert(out_.end(), leases->begin(), leases->end());
    }
    if (out_.empty()) return;  // what was replayed made room for prompts
    const size_t index = random_() % out_.size();
    TrajectoryGroup group = AnswerTo(out_[index].prompt.id, ledger.version());
    group.lease_id = out_[index].lease_id;
    group.actor_id = "a";
    out_.erase(out_.begin() + static_cast<std::ptrdiff_t>(index));
    disk_.log.push_back(group);
    ASSERT_TRUE(ledger.Submit(std::move(group)).ok());
    --answers_left_;
  }

  Disk& disk_;
  std::mt19937_64 random_;
  const bool streams_;
  int answers_left_;
  uint64_t next_prompt_ = 0;
  std::vector<PromptLease> out_;
  int portions_ = 0;
};

constexpr int kNever = -1;

Disk Whole(int world) {
  Disk disk;
  Life(disk, 1, /*streams=*/false, kNever).Run(world);
  return disk;
}

void ExpectSame(const Disk& actual, const Disk& expected) {
  EXPECT_EQ(actual.step, kSteps);
  EXPECT_EQ(actual.state.parameters, expected.state.parameters);
  EXPECT_EQ(actual.state.first_moment, expected.state.first_moment);
  EXPECT_EQ(actual.state.second_moment, expected.state.second_moment);
  EXPECT_EQ(actual.ledger.next_prompt_id, expected.ledger.next_prompt_id);
  EXPECT_EQ(actual.ledger.counters[DropReason::kNoSignal], expected.ledger.counters[DropReason::kNoSignal]);
}

TEST(StreamedTrainingTest, GroupsInAnyOrderTrainTheSameBits) {
  for (const int world : {1, 2}) {
    const Disk expected = Whole(world);
    EXPECT_GT(expected.ledger.counters[DropReason::kNoSignal], 3) << "some groups are replaced";
    int portions = 0;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      Disk disk;
      Life life(disk, seed, /*streams=*/true, kNever);
      life.Run(world);
      ExpectSame(disk, expected);
      portions += life.portions();
    }
    EXPECT_GT(portions, 4 * kSteps) << "the groups came all at once";
  }
}

TEST(StreamedTrainingTest, ALearnerKilledWhileItGathersAStepTrainsTheSameBits) {
  for (const int world : {1, 2}) {
    const Disk expected = Whole(world);
    int in_a_step = 0;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      std::mt19937_64 random(seed);
      Disk disk;
      while (disk.step < kSteps) {
        ASSERT_LT(disk.lives, 100u);
        Life life(disk, random(), /*streams=*/true, 3 + static_cast<int>(random() % 12));
        life.Run(world);
        in_a_step += life.portions();
      }
      EXPECT_GT(disk.lives, 3u);
      ExpectSame(disk, expected);
    }
    EXPECT_GT(in_a_step, 4 * kSteps);
  }
}

}  // namespace
}  // namespace tactus
