// A batch of three groups small enough to work out by hand: two audited completions of 6 and 2 tokens, and one of 4
// tokens that was not audited. Made for H_lo = 2, q = 0.4.
#pragma once

#include "common/data/types.h"
#include "learner/records/rhythm_summary.h"

namespace tactus {

inline TrajectoryGroup GroupOf(uint64_t prompt_id, std::vector<float> entropy, std::vector<VersionSpan> versions) {
  Completion completion;
  completion.token_ids.assign(entropy.size(), 5);
  completion.logprobs.assign(entropy.size(), -0.5F);
  completion.credit.assign(entropy.size(), 1.0F);
  completion.credit[0] = 1.5F;
  completion.entropy = std::move(entropy);
  completion.versions = std::move(versions);
  completion.reward = {.total = 1, .correct = 1, .format = 0, .reason = "right"};
  return {.lease_id = prompt_id,
          .prompt_id = prompt_id,
          .prompt_token_ids = {6, 7},
          .completions = {completion},
          .actor_id = "a"};
}

inline std::vector<TrajectoryGroup> AuditedBatch() {
  std::vector<TrajectoryGroup> groups = {
      GroupOf(0, {1, 1, 1, 1}, {{0, {1, 2}}, {3, {1, 7}}}),
      GroupOf(1, {0.5F, 0.1F, 2.0F, 0.3F, 1.0F, 0.2F}, {{0, {1, 4}}}),
      GroupOf(2, {0.1F, 0.9F}, {{0, {1, 5}}, {1, {1, 6}}}),
  };
  groups[1].completions[0].head_spans = {3, 1};
  groups[1].completions[0].rhythm = RhythmRecord{
      .waad = {0, 4, 1, 1, 6, 2}, .fai = {0.1F, 0.4F, 0.3F, 0.2F, 0, 0}, .heads = {.local = {1}, .global = {0}}};
  groups[2].completions[0].head_spans = {1, 2};
  groups[2].completions[0].rhythm = RhythmRecord{.waad = {3, 1}, .fai = {0, 0}, .heads = {.local = {0}, .global = {1}}};
  return groups;
}

// The same with a token of the environment's in the middle of the longer one.
inline std::vector<TrajectoryGroup> AuditedConversation() {
  std::vector<TrajectoryGroup> groups = AuditedBatch();
  Completion& completion = groups[1].completions[0];
  completion.token_ids.insert(completion.token_ids.begin() + 3, 9);
  for (std::vector<float>* values : {&completion.logprobs, &completion.entropy, &completion.credit,
                                     &completion.rhythm->waad, &completion.rhythm->fai}) {
    values->insert(values->begin() + 3, 0);
  }
  completion.turns = {{.start_token = 0, .num_tokens = 3}, {.start_token = 4, .num_tokens = 3}};
  return groups;
}

inline RhythmSummaryOptions SummaryOptions() {
  RhythmSummaryOptions options;
  options.rhythm.horizon_min_tokens = 2;
  options.layers = {2, 4};
  return options;
}

}  // namespace tactus
