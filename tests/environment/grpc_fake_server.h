// A user's server in this process, over loopback, that answers whatever a test wants.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/environment/environment_judge.h"
#include "proto/environment_service.grpc.pb.h"

namespace tactus {

namespace v1 = environment::v1;

inline constexpr absl::Duration kLong = absl::Seconds(30);

// The reward of an answer is the length of its text; it passes when that is even.
inline void ScoreByLength(const v1::ScoreRequest& request, v1::ScoreReply* reply) {
  for (const v1::Completion& completion : request.completions()) {
    v1::Score& score = *reply->add_scores();
    v1::RewardPart& part = *score.add_parts();
    part.set_name("length");
    part.set_value(static_cast<double>(completion.text().size()));
    score.set_verdict(completion.text().size() % 2 == 0 ? v1::PASS : v1::FAIL);
    score.set_reason("measured");
  }
}

inline v1::ConverseReply TextReply(const std::string& text) {
  v1::ConverseReply reply;
  reply.set_text(text);
  return reply;
}

inline v1::ConverseReply DoneReply(double reward, v1::Verdict verdict = v1::PASS) {
  v1::ConverseReply reply;
  reply.set_done(true);
  reply.set_verdict(verdict);
  reply.set_reason("told");
  v1::RewardPart& part = *reply.add_parts();
  part.set_name("end");
  part.set_value(reward);
  return reply;
}

// Its functions may be set before it is started, and are called from gRPC's threads.
class FakeServer final : public v1::EnvironmentService::Service {
 public:
  ~FakeServer() override { Stop(); }

  void Start(const std::string& host = "127.0.0.1", int port = 0,
             const std::shared_ptr<grpc::ServerCredentials>& credentials = grpc::InsecureServerCredentials()) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat(host, ":", port), credentials, &port_);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(absl::ToChronoTime(absl::Now()));
    server_.reset();
  }
  int port() const { return port_; }
  grpc::Server& server() { return *server_; }

  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRequest*, v1::Description* reply) override {
    *reply = description;
    return grpc::Status::OK;
  }
  grpc::Status Prompts(grpc::ServerContext*, const v1::PromptsRequest* request,
                       grpc::ServerWriter<v1::EnvironmentPrompt>* writer) override {
    for (const v1::EnvironmentPrompt& prompt : request->split() == v1::TRAIN ? train : test) writer->Write(prompt);
    return prompts_status;
  }
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request, v1::ScoreReply* reply) override {
    const int call = ++calls;
    return score(call, *context, *request, reply);
  }
  using Stream = grpc::ServerReaderWriter<v1::ConverseReply, v1::ConverseRequest>;
  grpc::Status Converse(grpc::ServerContext* context, Stream* stream) override {
    const int call = ++calls;
    v1::ConverseRequest opening;
    if (!stream->Read(&opening) || !opening.has_opening()) return {grpc::StatusCode::INVALID_ARGUMENT, "no opening"};
    return converse(call, *context, opening.opening(), *stream);
  }

  v1::Description description = [] {
    v1::Description made;
    made.set_name("fake");
    made.set_kind(v1::SINGLE_TURN);
    return made;
  }();
  std::vector<v1::EnvironmentPrompt> train, test;
  grpc::Status prompts_status;
  // The number of the call, from 1.
  std::function<grpc::Status(int, grpc::ServerContext&, const v1::ScoreRequest&, v1::ScoreReply*)> score =
      [](int, grpc::ServerContext&, const v1::ScoreRequest& request, v1::ScoreReply* reply) {
        ScoreByLength(request, reply);
        return grpc::Status::OK;
      };
  std::function<grpc::Status(int, grpc::ServerContext&, const v1::Opening&, Stream&)> converse =
      [](int, grpc::ServerContext&, const v1::Opening&, Stream&) {
        return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no conversations");
      };
  std::atomic<int> calls{0};

 private:
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// Polls, since some effects come with a timer; fails after kLong.
template <typename Condition>
void Eventually(Condition condition) {
  const absl::Time deadline = absl::Now() + kLong;
  while (!condition() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_TRUE(condition());
}

}  // namespace tactus
