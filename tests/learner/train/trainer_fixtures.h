// Groups with known numbers, and ranks as threads of this process that talk through the real Gloo collective.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "common/base/listen_socket.h"
#include "common/collective/collective.h"
#include "common/data/types.h"

namespace tactus {

inline TrajectoryGroup RandomGroup(std::mt19937& random, uint64_t id, int64_t vocab, size_t completions,
                                   PolicyVersion version) {
  const auto token = [&] { return static_cast<TokenId>(random() % static_cast<uint64_t>(vocab)); };
  TrajectoryGroup group;
  group.prompt_id = id;
  for (size_t i = 0; i < 1 + random() % 4; ++i) group.prompt_token_ids.push_back(token());
  for (size_t c = 0; c < completions; ++c) {
    Completion completion;
    const size_t length = 1 + random() % 9;
    for (size_t t = 0; t < length; ++t) {
      completion.token_ids.push_back(token());
      completion.logprobs.push_back(-0.5f - 0.25f * static_cast<float>(random() % 16));
      completion.entropy.push_back(0.125f * static_cast<float>(random() % 16));
      completion.credit.push_back(random() % 3 == 0 ? 1.5f : 1.0f);
    }
    completion.versions = {{0, version}};
    completion.reward.total = static_cast<double>((c + id) % 3) / 2;
    completion.reward.correct = completion.reward.total == 1 ? 1 : 0;
    group.completions.push_back(completion);
  }
  return group;
}

inline std::vector<TrajectoryGroup> RandomGroups(int seed, size_t groups, int64_t vocab, PolicyVersion version) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::vector<TrajectoryGroup> result;
  for (size_t g = 0; g < groups; ++g) result.push_back(RandomGroup(random, g, vocab, 4, version));
  return result;
}

// Runs `body` once per rank, each in a thread with its end of one group.
inline void OnRanks(int world, const std::function<void(Collective&)>& body) {
  CollectiveOptions options;
  options.world = world;
  options.store_port = FreePort().value();
  options.timeout = absl::Seconds(30);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    options.rank = rank;
    threads.emplace_back([options, &body] {
      auto collective = CreateCollective(options);
      ASSERT_TRUE(collective.ok()) << collective.status();
      body(**collective);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tactus
