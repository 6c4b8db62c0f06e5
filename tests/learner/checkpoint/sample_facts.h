// Facts of a run with something in every field.
#pragma once

#include <string>

#include "learner/checkpoint/state_codec.h"

namespace tactus {

inline TrajectoryLimits SampleLimits() {
  return {.max_prompt_tokens = 8,
          .max_completion_tokens = 8,
          .completions_per_prompt = 1,
          .vocab_size = 33,
          .calibrated_heads = 3};
}

inline TrainFacts SampleFacts(uint64_t step) {
  TrainFacts facts;
  facts.version = {2, step};
  facts.optimizer_steps = static_cast<int64_t>(step) - 1;
  facts.skipped_steps = 1;
  facts.schedule_step = static_cast<int64_t>(step);
  facts.learner_step = static_cast<int64_t>(step) + 1;
  facts.planned_steps = 40;
  facts.data_cursor = 77 + step;
  facts.seed = 0xFFFFFFFFFFFFFFF1;
  facts.config_fingerprint = "abc";
  facts.data_fingerprint = "def";
  facts.tactus_version = "0.1.0";
  facts.ledger.version = {2, step};
  facts.ledger.next_prompt_id = 9;
  facts.ledger.open_prompt_ids = {6, 7, 8};
  facts.ledger.failures = {0, 2, 1};
  facts.ledger.counters.received = 10;
  facts.ledger.counters.accepted = 7;
  facts.ledger.counters.trained = 5;
  facts.ledger.counters.queued = 1;
  facts.ledger.counters.rejected = {1, 2, 0};
  facts.ledger.counters.dropped = {1, 0};
  facts.ledger.counters.leases_granted = 12;
  facts.ledger.counters.leases_expired = 2;
  facts.ledger.counters.leases_returned = 1;
  facts.ledger.counters.prompts_dropped = 3;
  facts.ledger.log_segment = 4;
  Completion completion;
  completion.token_ids = {3, 4};
  completion.logprobs = {-0.5f, -1.5f};
  completion.entropy = {1.0f, 0.25f};
  completion.credit = {1.0f, 1.5f};
  completion.head_spans = {2, 0.5f, 1};
  completion.rhythm = RhythmRecord{.waad = {0.5f, 3}, .fai = {0.125f, 0}, .heads = {.local = {1}, .global = {0}}};
  completion.versions = {{0, {2, step}}};
  completion.reward = {.total = 1.05, .correct = 1, .format = 0.05, .reason = "right"};
  TrajectoryGroup group;
  group.lease_id = 5;
  group.prompt_id = 6;
  group.prompt_token_ids = {1, 2};
  group.completions = {completion};
  group.actor_id = "actor-1";
  facts.ledger.ready.push_back({group, {2, step}});
  facts.prompt_difficulty = std::string("\1\0\2\x80", 4);
  facts.head_classes = HeadClasses{.local = {2}, .global = {0, 1}};
  return facts;
}

}  // namespace tactus
