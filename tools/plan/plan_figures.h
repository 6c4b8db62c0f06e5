// What a run costs with so many learner ranks and actors: seconds, bytes and rates of a step, from PlanInputs alone.
// Pure; thread-safe. docs/adr/0030-a-plan-before-a-run.md tells the model behind it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/model/shard.h"
#include "tools/plan/plan_inputs.h"

namespace tactus {

// Who does the work. A device is a GPU, or a core of one machine.
struct PlanSplit {
  int devices = 1;
  int learners = 1, actors = 1;
  int learner_devices = 1, actor_devices = 1;  // that a process computes on
  Shard shard = Shard::kNone;
};

// Of one step, unless said otherwise. NaN: there is no such thing.
struct PlanFigures {
  double step_s = 0;
  double sampling_s = 0;  // by the busiest actor
  double weights_s = 0;   // until the actors have new weights; with S >= 1 nobody waits for it
  double training_s = 0;  // forward and backward passes of a rank
  double hidden_s = 0;    // of it while others are sampled (learner.stream)
  double exchange_s = 0;  // gradients, and weights of divided ones, between the ranks
  double optimizer_s = 0;
  double actor_busy = 0, learner_busy = 0;      // shares of the step
  double sampled_per_s = 0, trained_per_s = 0;  // tokens
  double rank_bytes = 0, exchange_bytes = 0;    // gradients and weights out of a rank; out of all
  double weight_bytes = 0, delta_bytes = 0;     // to all actors: whole sets; deltas
  double group_bytes = 0;                       // answers to the ranks
  double checkpoint_bytes = 0;                  // of one checkpoint
  double checkpoint_blocks_s = 0, checkpoint_write_s = 0;
};

PlanFigures PredictStep(const PlanInputs& inputs, const PlanSplit& split);

// Engine steps until `sequences` answers are sampled, `slots` at once, whose lengths are spread as an exponential
// distribution of that mean is, cut at `longest`. Exact for lengths that are all the same and one wave, and in the mean
// for lengths that are not cut.
double EngineSteps(double sequences, double slots, double mean, double longest);

struct PlanFigureField {
  const char* key;
  const char* name;
  const char* unit;  // as PlanInputField; "tokens/s"
  double PlanFigures::*member;
  unsigned parts;  // PlanPart
};
std::span<const PlanFigureField> PlanFigureFields();

// The inputs a figure rests on, without those that the configuration says; and the least certain kind of all.
struct RestsOn {
  Known known = Known::kConfigured;
  std::vector<const PlanInputField*> inputs;
};
RestsOn RestsOnOf(const PlanFigureField& figure, const PlanInputs& inputs, const PlanSplit& split);

}  // namespace tactus
