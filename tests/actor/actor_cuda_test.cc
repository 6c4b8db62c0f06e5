// The actor's loop with its threads around the GPU's runner: weights copied from a learner's memory by the weights
// thread, later ones sent, and groups that are measured, scored and handed in.
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actor/actor.h"
#include "actor/engine/cuda/model_runner_cuda.h"
#include "common/weights/shared_weights_cuda.h"
#include "tests/actor/engine/run_all.h"
#include "tests/device/need_gpu.h"
#include "tests/tree.h"

namespace tactus {
namespace {

constexpr PolicyVersion kFirst{1, 1}, kSecond{1, 2};
constexpr int kGroups = 6, kCompletions = 2, kMaxTokens = 24;

EngineRequest RequestOf(uint64_t lease_id) {
  EngineRequest request;
  request.request_id = request.prompt_id = lease_id;
  request.seed = 7;
  for (uint64_t i = 0; i < 3 + 7 * lease_id; ++i) request.prompt_ids.push_back(static_cast<TokenId>(lease_id + 3 * i));
  request.num_completions = kCompletions;
  request.max_tokens = kMaxTokens;
  return request;
}

// Gives out kGroups leases and takes the answers; half of them in, there are new weights.
class Learner : public RolloutPort, public WeightSource {
 public:
  Learner(NewWeights first, NewWeights second) : weights_{std::move(first), std::move(second)} {
    for (uint64_t id = 1; id <= kGroups; ++id) waiting_.push_back(id);
  }

  absl::StatusOr<std::vector<PromptLease>> Lease(int max_leases, PolicyVersion, absl::Duration timeout) override {
    absl::MutexLock lock(&mutex_);
    const auto ready = [this] { return !waiting_.empty(); };
    mutex_.AwaitWithTimeout(absl::Condition(&ready), std::min(timeout, absl::Milliseconds(20)));
    std::vector<PromptLease> leases;
    for (; !waiting_.empty() && max_leases > 0; --max_leases, waiting_.pop_front()) {
      const EngineRequest request = RequestOf(waiting_.front());
      PromptLease& lease = leases.emplace_back();
      lease.lease_id = lease.prompt.id = request.request_id;
      lease.prompt.token_ids = request.prompt_ids;
      lease.seed = request.seed;
      lease.completions_wanted = kCompletions;
      lease.timeout_s = 600;
    }
    return leases;
  }
  absl::Status Submit(const TrajectoryGroup& group, absl::Duration) override {
    absl::MutexLock lock(&mutex_);
    groups_[group.lease_id] = group;
    return absl::OkStatus();
  }
  std::vector<uint64_t> Renew(std::span<const uint64_t>) override { return {}; }
  absl::StatusOr<std::optional<PolicyVersion>> AwaitVersion(std::optional<PolicyVersion>, absl::Duration) override {
    return kFirst;
  }
  bool Attached() const override { return true; }
  bool RunFinished() const override {
    absl::MutexLock lock(&mutex_);
    return groups_.size() == kGroups;
  }
  absl::StatusOr<std::optional<NewWeights>> Fetch(std::optional<PolicyVersion> held, absl::Duration timeout) override {
    absl::MutexLock lock(&mutex_);
    const auto newest = [this]() -> const NewWeights& { return weights_[groups_.size() < kGroups / 2 ? 0 : 1]; };
    const auto ready = [&] { return closed_ || !held.has_value() || newest().version > *held; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&ready), timeout)) return std::optional<NewWeights>();
    if (closed_) return absl::CancelledError("closed");
    return newest();
  }
  void DeclineShared() override { ADD_FAILURE() << "the learner's memory could not be read"; }
  void Close() override {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  const std::map<uint64_t, TrajectoryGroup>& groups() const { return groups_; }

 private:
  mutable absl::Mutex mutex_;
  const std::vector<NewWeights> weights_;
  std::deque<uint64_t> waiting_;
  std::map<uint64_t, TrajectoryGroup> groups_;
  bool closed_ = false;
};

class NumberTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view, bool) const override { return {}; }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool) const override {
    return absl::StrCat(ids.size());
  }
  int vocab_size() const override { return 1000; }
  TokenId TokenToId(absl::string_view) const override { return -1; }
};

class AlwaysRight : public Verifier {
 public:
  absl::StatusOr<Reward> Score(absl::string_view, absl::string_view) const override {
    return Reward{.total = 1, .reason = "right"};
  }
};

TEST(CudaActorTest, FollowsALearnersWeightsAndHandsInMeasuredGroups) {
  NEED_GPU();
  if (!device::Emulated()) GTEST_SKIP() << "CUDA's memory handles need two processes";
  const ModelFolder folder = *OpenModelFolder(SourcePath("tests/goldens/models/qwen3"));
  std::vector<float> parameters(folder.layout.total_numel);
  ASSERT_TRUE(LoadParameters(folder, parameters).ok());
  SharedWeightExport memory(0, folder.layout.total_numel, StorageDType::kFloat32);
  NewWeights first{.version = kFirst, .parameters = {}};
  first.shared = *memory.Publish(kFirst, at::from_blob(parameters.data(), {folder.layout.total_numel}, at::kFloat));
  Learner learner(first, NewWeights{.version = kSecond, .parameters = std::vector<float>(parameters.size(), 0.0f)});

  const CreditAssigner credit =
      *CreditAssigner::FromOverrides({"credit.strategy=COUPLED", "credit.layers=0,1", "credit.horizon_min_tokens=4"});
  EngineOptions options{.max_sequences = 3, .max_step_tokens = 32, .max_waiting_groups = 2};
  options.probe = *credit.Probe(folder.config.num_layers, folder.config.num_heads);
  auto runner = *CreateModelRunnerCuda(
      folder,
      {.load_weights = false, .max_pages = 40, .device = {.gpu = 0}, .max_sequences = 3, .max_step_tokens = 32});
  const NumberTokenizer tokenizer;
  VerifierJudge judge(std::make_unique<AlwaysRight>());
  Actor actor({.actor_id = "a",
               .max_leases = 2,
               .completions_per_prompt = kCompletions,
               .max_completion_tokens = kMaxTokens,
               .sampling = {},
               .stop_ids = {}},
              *Engine::Create(options, std::move(runner)), &learner, &learner,
              GroupScorer(&tokenizer, &judge, &credit));
  const absl::Status status = actor.Run();
  ASSERT_TRUE(status.ok()) << status;

  std::vector<EngineRequest> requests;
  for (uint64_t id = 1; id <= kGroups; ++id) requests.push_back(RequestOf(id));
  const Outcome expected = RunAll(folder, {}, 100, StorageDType::kFloat32, requests);
  int of_first = 0, of_both = 0;
  for (const auto& [id, group] : learner.groups()) {
    for (int i = 0; i < kCompletions; ++i) {
      const Completion& got = group.completions[static_cast<size_t>(i)];
      EXPECT_EQ(got.credit.size(), static_cast<size_t>(kMaxTokens));
      size_t same = got.versions.front().version == kFirst ? kMaxTokens : 0;
      if (got.versions.size() > 1) same = static_cast<size_t>(got.versions[1].start_token);
      (got.versions.size() > 1 ? of_both : of_first) += same > 0 ? 1 : 0;
      const std::vector<TokenId>& want = expected.completions.at({id, i}).token_ids;
      EXPECT_EQ(std::vector<TokenId>(got.token_ids.begin(), got.token_ids.begin() + static_cast<int64_t>(same)),
                std::vector<TokenId>(want.begin(), want.begin() + static_cast<int64_t>(same)));
    }
  }
  EXPECT_GE(of_first + of_both, kGroups / 2);
  EXPECT_GE(actor.stats().weight_swaps, 1);
}

}  // namespace
}  // namespace tactus
