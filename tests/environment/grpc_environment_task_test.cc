// A run's prompts and judge by its configuration.
#include "common/base/monotonic_clock.h"
#include "common/config/run_config.h"
#include "common/environment/open_task.h"
#include "proto/config.pb.h"
#include "tests/environment/grpc_fake_server.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

v1::EnvironmentPrompt MakePrompt(const std::string& id, const std::string& text) {
  v1::EnvironmentPrompt prompt;
  prompt.set_id(id);
  prompt.set_prompt(text);
  prompt.set_answer_key(absl::StrCat("key of ", id));
  return prompt;
}

class EnvironmentTaskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.description.set_has_prompts(true);
    server_.train = {MakePrompt("a", "One?"), MakePrompt("b", "Two?")};
    server_.test = {MakePrompt("a", "Three?")};
    server_.Start();
  }
  config::RunConfig Run(const std::vector<std::string>& overrides = {"task.name=environment"}) const {
    std::vector<std::string> all = overrides;
    all.push_back(absl::StrCat("environment.address=127.0.0.1:", server_.port()));
    return config::ParseRunConfig("model { path: \"m\" } service { plaintext: true }", "test", all).value();
  }
  std::string Error() const {
    const auto task = OpenTask(Run());
    EXPECT_EQ(task.status().code(), absl::StatusCode::kInvalidArgument) << task.status();
    return std::string(task.status().message());
  }

  FakeServer server_;
};

TEST_F(EnvironmentTaskTest, ReadsEveryPromptInItsOrder) {
  const auto task = OpenTask(Run());
  ASSERT_TRUE(task.ok()) << task.status();
  ASSERT_EQ((*task)->Size(Split::kTrain), 2u);
  ASSERT_EQ((*task)->Size(Split::kTest), 1u);
  EXPECT_EQ((*task)->Example(Split::kTrain, 1).value().user, "Two?");
  EXPECT_EQ((*task)->Example(Split::kTrain, 1).value().answer_key_json, "key of b");
  EXPECT_EQ((*task)->Example(Split::kTest, 0).value().user, "Three?");
  EXPECT_EQ((*task)->Trace(0, 0).status().code(), absl::StatusCode::kUnimplemented);
  const auto test_set = OpenTestSet(Run());
  ASSERT_TRUE(test_set.ok()) << test_set.status();
  EXPECT_EQ((*test_set)->Size(Split::kTrain), 0u);
}

TEST_F(EnvironmentTaskTest, NamesThePromptThatCannotBeUsed) {
  server_.train.push_back(MakePrompt("a", "Four?"));
  EXPECT_THAT(Error(), HasSubstr("the environment's prompt \"a\" came twice"));
  server_.train.back() = MakePrompt("c", "Three?");
  EXPECT_THAT(Error(), HasSubstr("expected test prompts that are not trained on"));
  server_.train.clear();
  EXPECT_THAT(Error(), HasSubstr("has no prompts to train on"));
  server_.description.set_has_prompts(false);
  EXPECT_THAT(Error(), HasSubstr("expected another task for them, with task.rewards: ENVIRONMENT"));
}

TEST_F(EnvironmentTaskTest, AStreamThatBreaksIsNoDataSet) {
  server_.prompts_status = grpc::Status(grpc::StatusCode::INTERNAL, "KeyError: 'x'");
  const auto task = OpenTask(Run());
  EXPECT_EQ(task.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(task.status().message()), HasSubstr("KeyError"));
  server_.prompts_status = grpc::Status::OK;
  server_.train[1].clear_prompt();
  EXPECT_EQ(OpenTask(Run()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(EnvironmentTaskTest, JudgesBuiltInTasksToo) {
  const auto own = OpenJudge(
      config::ParseRunConfig("model { path: \"m\" } service { plaintext: true }", "test", {"task.name=countdown"})
          .value(),
      kLong, nullptr);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ((*own)->calls_at_once(), 1);
  server_.description.set_max_calls(3);
  const config::RunConfig run = Run({"task.name=countdown", "task.rewards=ENVIRONMENT", "actor.max_leases=5"});
  EXPECT_TRUE(OpenTask(run).ok());
  const auto judge = OpenJudge(run, kLong, nullptr);
  ASSERT_TRUE(judge.ok()) << judge.status();
  EXPECT_EQ((*judge)->calls_at_once(), 3);
  server_.description.set_max_calls(0);
  EXPECT_EQ((*OpenJudge(run, kLong, nullptr))->calls_at_once(), 5);
  EXPECT_TRUE(ProbeEnvironment(run).ok());
  server_.description.set_kind(v1::KIND_UNSPECIFIED);
  EXPECT_EQ(ProbeEnvironment(run).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(OpenJudge(run, absl::Hours(1), nullptr).status().code(), absl::StatusCode::kDataLoss)
      << "nothing to wait for";
}

TEST_F(EnvironmentTaskTest, JudgesTheSourcesThatAskForIt) {
  server_.description.set_max_calls(2);
  const config::RunConfig run =
      config::ParseRunConfig(
          absl::StrCat("model { path: 'm' } service { plaintext: true } environment { address: '127.0.0.1:",
                       server_.port(), "' }\ntask { name: 'countdown' sources { name: 'here' task: 'arithmetic' } ",
                       "sources { name: 'there' rewards: ENVIRONMENT } sources { name: 'too' rewards: ENVIRONMENT } }"),
          "test", {})
          .value();
  const auto judge = OpenJudge(run, kLong, nullptr);
  ASSERT_TRUE(judge.ok()) << judge.status();
  EXPECT_EQ((*judge)->calls_at_once(), 2);
  const std::vector<Answer> answers = {{.text = "<answer>4</answer>", .token_ids = {}},
                                       {.text = "<answer>5</answer>", .token_ids = {}}};
  const auto score = [&](uint32_t source) {
    return (*judge)->Score({.text = "q", .token_ids = {}, .answer_key = R"({"answer":"4"})", .source = source}, answers,
                           MonotonicNow() + kLong);
  };
  const auto here = score(0);
  ASSERT_TRUE(here.ok()) << here.status();
  EXPECT_EQ((*here)[0].correct, 1);
  EXPECT_EQ((*here)[1].correct, 0);
  EXPECT_EQ(server_.calls, 0) << "nobody was asked";
  for (const uint32_t source : {1, 2}) ASSERT_TRUE(score(source).ok()) << score(source).status();
  EXPECT_EQ(server_.calls, 2);
  server_.description.set_kind(v1::CONVERSATION);
  const auto conversing = OpenRewards(run, kLong, nullptr);
  EXPECT_EQ(conversing.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(conversing.status().message()), HasSubstr("expected one whose Describe says SINGLE_TURN"));
  EXPECT_EQ(ProbeEnvironment(run), conversing.status());
}

TEST_F(EnvironmentTaskTest, SaysThatNobodyAnswers) {
  const config::RunConfig run = Run();
  server_.Stop();
  EXPECT_EQ(ProbeEnvironment(run).code(), absl::StatusCode::kUnavailable);
  const auto judge = OpenJudge(run, absl::Milliseconds(300), nullptr);
  EXPECT_EQ(judge.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(judge.status().message()),
              HasSubstr("environment.address: waited 300ms; environment 127.0.0.1:"));
}

}  // namespace
}  // namespace tactus
