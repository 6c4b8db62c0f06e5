// Valid trajectory groups for tests: every value a function of the prompt id and the version.
#pragma once

#include "common/data/codec.h"

namespace tactus {

inline constexpr TrajectoryLimits kTestLimits = {
    .max_prompt_tokens = 16, .max_completion_tokens = 32, .completions_per_prompt = 2, .vocab_size = 1000};

inline Prompt MakePrompt(uint64_t id) { return {id, {static_cast<TokenId>(1 + id % 900), 2, 3}, R"({"target":7})"}; }

// Answers a lease as an actor that held `version` throughout would.
inline TrajectoryGroup MakeGroup(const PromptLease& lease, const std::string& actor_id, PolicyVersion version,
                                 int tokens = 4) {
  TrajectoryGroup group{lease.lease_id, lease.prompt.id, lease.prompt.token_ids, {}, actor_id};
  for (int i = 0; i < lease.completions_wanted; ++i) {
    Completion completion;
    for (int t = 0; t < tokens; ++t) {
      completion.token_ids.push_back(static_cast<TokenId>((lease.prompt.id * 31 + static_cast<uint64_t>(t)) % 1000));
      completion.logprobs.push_back(-0.25F * static_cast<float>(t + i));
      completion.entropy.push_back(0.5F);
      completion.credit.push_back(1.0F);
    }
    completion.versions = {{0, version}};
    completion.reward = {1.05, 1, 0.05, "correct"};
    group.completions.push_back(completion);
  }
  return group;
}

// What an actor would add to each completion of an audited group.
inline void AddRhythm(TrajectoryGroup& group) {
  for (Completion& completion : group.completions) {
    RhythmRecord& rhythm = completion.rhythm.emplace();
    for (size_t t = 0; t < completion.token_ids.size(); ++t) {
      rhythm.waad.push_back(static_cast<float>((3 * t) % 10));
      rhythm.fai.push_back(0.0625F * static_cast<float>(t % 4));
    }
    rhythm.heads = {.local = {1}, .global = {0, 2}};
    completion.head_spans = {4.5F, 0.25F, 9, 2};
  }
}

}  // namespace tactus
