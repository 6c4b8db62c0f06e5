#include "tools/plan/plan_figures.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tactus {
namespace {

using F = PlanFigures;

constexpr double kEuler = 0.57721566490153286;
constexpr double kGroupTokenBytes = 15;  // proto/trajectory.proto
constexpr double kStateBytes = 12;       // masters and two moments of a parameter
constexpr double kSyncs = 6;             // of a run's files before a checkpoint: RunRecorder::Sync, the submission log

constexpr unsigned kGradients = kSet | kExchange | kRounds;
constexpr unsigned kNewWeights = kSet | kHash | kLink | kDelta;
constexpr unsigned kStep = ~unsigned{kDisk};

constexpr PlanFigureField kFields[] = {
    {"step_s", "step", "s", &F::step_s, kStep},
    {"sampling_s", "sampling", "s", &F::sampling_s, kSampling},
    {"weights_s", "new weights to the actors", "s", &F::weights_s, kNewWeights},
    {"training_s", "forward and backward", "s", &F::training_s, kPasses},
    {"hidden_s", "of it beside sampling", "s", &F::hidden_s, kSampling | kPasses | kOverlap},
    {"exchange_s", "between the ranks", "s", &F::exchange_s, kGradients | kLink},
    {"optimizer_s", "optimizer", "s", &F::optimizer_s, kOptimizer},
    {"actor_busy", "actors at work", "ratio", &F::actor_busy, kStep},
    {"learner_busy", "learner at work", "ratio", &F::learner_busy, kStep},
    {"sampled_per_s", "sampled", "tokens/s", &F::sampled_per_s, kStep},
    {"trained_per_s", "trained", "tokens/s", &F::trained_per_s, kStep},
    {"rank_bytes", "gradients, out of a rank", "bytes", &F::rank_bytes, kGradients},
    {"exchange_bytes", "the same, of all ranks", "bytes", &F::exchange_bytes, kGradients},
    {"weight_bytes", "weights to all actors, whole", "bytes", &F::weight_bytes, kSet},
    {"delta_bytes", "the same as deltas", "bytes", &F::delta_bytes, kSet | kDelta},
    {"group_bytes", "answers to all ranks", "bytes", &F::group_bytes, kAnswers},
    {"checkpoint_bytes", "a checkpoint", "bytes", &F::checkpoint_bytes, kSet},
    {"checkpoint_blocks_s", "it keeps the training waiting", "s", &F::checkpoint_blocks_s, kSet | kCopy | kHash},
    {"checkpoint_write_s", "it is written in", "s", &F::checkpoint_write_s, kSet | kDisk},
};

// By how much too few devices slow `processes` down that each want `each`.
double Crowding(int processes, int each, int devices) {
  return std::max(1.0, static_cast<double>(processes) * each / devices);
}

struct Predictor {
  Predictor(const PlanInputs& inputs, const PlanSplit& who)
      : in(inputs),
        split(who),
        ranks(who.learners),
        actors(who.actors),
        answers(inputs.prompts.value * inputs.completions.value),
        set_bytes(inputs.parameters.value * inputs.element_bytes.value),
        trained_tokens((answers * inputs.answer_tokens.value + inputs.prompts.value * inputs.prompt_tokens.value) *
                       inputs.trained_share.value),
        divided(who.learners > 1 && who.shard != Shard::kNone) {}

  const PlanInputs& in;
  const PlanSplit& split;
  double ranks, actors;
  double answers;         // a step
  double set_bytes;       // of the weights
  double trained_tokens;  // a step; a group's prompt is computed once (docs/adr/0028-a-groups-prompt-once.md)
  bool divided;
  PlanFigures out = {};

  // Of VINE, once the answers are there: from the prompt once a group, from other places in each answer. As long as the
  // rest of the answer, in the mean.
  double Continuing(double sequences) const {
    const double samples = in.continuations.value;
    if (samples == 0) return 0;
    const double prompts = sequences / in.completions.value, later = sequences * (in.places.value - 1);
    const double before = later / 2 * in.answer_tokens.value, prefixes = prompts + later;
    const double tokens = samples * (prompts * in.answer_tokens.value + before);
    const double steps =
        EngineSteps(samples * prefixes, in.slots.value, tokens / (samples * prefixes), in.longest_tokens.value);
    return steps * in.step_s.value + tokens * in.row_s.value +
           (prefixes * in.prompt_tokens.value + before) * in.prefill_s.value;
  }

  void Sampling() {
    const double groups = std::ceil(in.prompts.value / actors), sequences = groups * in.completions.value;
    const double answer = in.answer_tokens.value;
    const double steps = EngineSteps(sequences, in.slots.value, answer, in.longest_tokens.value);
    out.sampling_s = steps * in.step_s.value + sequences * answer * in.row_s.value +
                     groups * in.prompt_tokens.value * in.prefill_s.value + Continuing(sequences);
    out.sampling_s *= Crowding(split.actors, split.actor_devices, split.devices);
    out.group_bytes = ranks * kGroupTokenBytes * answers * answer;  // to rank 0, which sends the others what it got
  }

  void Weights() {
    const bool deltas = in.delta_share.value > 0;
    out.weight_bytes = actors * set_bytes;
    out.delta_bytes = deltas ? out.weight_bytes * in.delta_share.value : std::numeric_limits<double>::quiet_NaN();
    // The learner hashes the set, sends it to one actor after the other, and each hashes what it got.
    const double sent = deltas ? out.delta_bytes : out.weight_bytes;
    out.weights_s = 2 * set_bytes / in.hash.value + sent / in.link.value;
  }

  // Bytes a parameter and update that ADR 19 and 23 count; what leaves a rank is all of it but its own part.
  void Exchange() {
    const double element = in.element_bytes.value, updates = in.updates.value;
    const double of_update = trained_tokens / ranks / updates;
    const double passes = std::max(1.0, std::ceil(of_update / in.micro_batch_tokens.value));
    double each = 8;  // NONE: sums out, sums back
    if (split.shard == Shard::kOptimizer) each = 4 + element;
    if (split.shard == Shard::kGradients) each = 4 * passes + element;
    if (split.shard == Shard::kParameters) each = 4 * passes + 2 * element * passes;
    const double others = (ranks - 1) / ranks;
    out.rank_bytes = updates * each * in.parameters.value * others;
    // Rank 0 collects divided weights to publish them.
    const double collected = split.shard == Shard::kParameters ? set_bytes / ranks : 0;
    out.rank_bytes += ranks > 1 ? collected : 0;
    out.exchange_bytes = ranks * out.rank_bytes - (ranks > 1 ? collected : 0);
    out.exchange_s = out.rank_bytes / in.link.value;
  }

  void Training() {
    const double crowding = Crowding(split.learners, split.learner_devices, split.devices);
    out.training_s = trained_tokens / ranks * in.train_s.value * crowding;
    out.optimizer_s = in.updates.value * in.optimizer_s.value * crowding / (divided ? ranks : 1);
    Exchange();
    // What is sampled in waves after the first is there while the last is sampled. A core that does both hides nothing,
    // and the ranks wait for the one that has it.
    const double later = std::max(0.0, 1 - in.slots.value * actors / answers);
    const bool apart = split.actors * split.actor_devices + split.learners * split.learner_devices <= split.devices;
    const bool hides = in.streams.value != 0 && in.staleness.value == 0 && apart;
    out.hidden_s = hides ? later * std::min(out.training_s, out.sampling_s) : 0;
  }

  void Checkpoint() {
    const double state = kStateBytes * in.parameters.value;
    out.checkpoint_bytes = state + set_bytes;
    const bool compares = split.learners > 1 && split.shard != Shard::kParameters;
    out.checkpoint_blocks_s = kSyncs * in.sync_s.value + (state / (divided ? ranks : 1) + set_bytes) / in.copy.value +
                              (compares ? set_bytes / in.hash.value : 0);
    out.checkpoint_write_s = out.checkpoint_bytes / in.disk.value;
  }

  void Step() {
    const double every = in.checkpoint_steps.value;
    const double publishing = set_bytes / in.copy.value;
    const double after =
        out.exchange_s + out.optimizer_s + publishing + (every > 0 ? out.checkpoint_blocks_s / every : 0);
    const double learner = out.training_s + after;
    if (in.staleness.value == 0) {
      out.step_s = out.sampling_s + out.weights_s + learner - out.hidden_s;
    } else {
      const double work = actors * split.actor_devices * out.sampling_s + ranks * split.learner_devices * learner;
      out.step_s = std::max({out.sampling_s, learner, work / split.devices});
    }
    out.actor_busy = out.sampling_s / out.step_s;
    out.learner_busy = learner / out.step_s;
    out.sampled_per_s = answers * in.answer_tokens.value / out.step_s;
    out.trained_per_s = trained_tokens / out.step_s;
  }
};

}  // namespace

double EngineSteps(double sequences, double slots, double mean, double longest) {
  const double together = std::min(sequences, slots);
  const double waves = (sequences - together) * mean / slots;
  const double last = mean * (std::log(together) + kEuler);  // the longest of the last wave
  return waves + std::clamp(last, mean, std::max(mean, longest));
}

PlanFigures PredictStep(const PlanInputs& inputs, const PlanSplit& split) {
  Predictor predictor(inputs, split);
  predictor.Sampling();
  predictor.Weights();
  predictor.Training();
  predictor.Checkpoint();
  predictor.Step();
  return predictor.out;
}

std::span<const PlanFigureField> PlanFigureFields() { return kFields; }

RestsOn RestsOnOf(const PlanFigureField& figure, const PlanInputs& inputs, const PlanSplit& split) {
  const unsigned parts = split.shard < Shard::kGradients ? figure.parts & ~unsigned{kRounds} : figure.parts;
  RestsOn rests;
  for (const PlanInputField& field : PlanInputFields()) {
    if ((field.parts & parts) == 0) continue;
    const Known known = (inputs.*field.member).known;
    rests.known = std::max(rests.known, known);
    if (known != Known::kConfigured) rests.inputs.push_back(&field);
  }
  return rests;
}

}  // namespace tactus
