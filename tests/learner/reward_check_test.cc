// The learner's own verdict on the answers of actors, on the quick start's task and tokenizer.
#include <gtest/gtest.h>

#include "common/config/run_config.h"
#include "common/tasks/completion_text.h"
#include "learner/prompt_source.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

class RewardCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config_ = config::LoadRunConfig(SourcePath("configs/quickstart.textproto"),
                                    {"model.path=" + SourcePath("models/quickstart")})
                  .value();
    source_ = PromptSource::Create(config_, int64_t{1} << 20).value();
  }
  // An answer of each of these texts, with the rewards that an honest actor gives them.
  TrajectoryGroup Answer(const std::vector<std::string>& texts) {
    const Prompt prompt = source_->At(3).value();
    const std::unique_ptr<Verifier> verifier =
        CreateVerifier(config_.task().name(), config_.task().format_reward()).value();
    TrajectoryGroup group{
        .lease_id = 1, .prompt_id = 3, .prompt_token_ids = prompt.token_ids, .completions = {}, .actor_id = "a"};
    for (const std::string& text : texts) {
      Completion& completion = group.completions.emplace_back();
      completion.token_ids = source_->tokenizer().Encode(text, /*add_special_tokens=*/false);
      completion.finish_reason = FinishReason::kLength;
      const std::string read =
          CompletionText(source_->tokenizer(), completion.token_ids, completion.finish_reason).value();
      completion.reward = verifier->Score(prompt.answer_key_json, read).value();
    }
    return group;
  }

  config::RunConfig config_;
  std::unique_ptr<PromptSource> source_;
};

TEST_F(RewardCheckTest, HonestRewardsAreAgreedWith) {
  EXPECT_EQ(source_->CountDisagreements(Answer({"1+1=2", "no answer", "(2*3)+4=10", "="})).value(), 0);
}

TEST_F(RewardCheckTest, ForgedRewardsAreCounted) {
  TrajectoryGroup group = Answer({"1+1=2", "no answer", "no answer"});
  group.completions[0].reward = {1, 1, 0, "correct"};
  group.completions[2].reward.total = group.completions[2].reward.format = 0.05;
  EXPECT_EQ(source_->CountDisagreements(group).value(), 2);
}

TEST_F(RewardCheckTest, TokensThatAreNoTextEarnNothing) {
  TrajectoryGroup group = Answer({"1"});
  group.completions[0].token_ids = {static_cast<TokenId>(1) << 30};
  group.completions[0].reward = Reward{.reason = kUndecodableReason};
  EXPECT_EQ(source_->CountDisagreements(group).value(), 0);
  group.completions[0].reward = {1, 1, 0, "correct"};
  EXPECT_EQ(source_->CountDisagreements(group).value(), 1);
}

}  // namespace
}  // namespace tactus
