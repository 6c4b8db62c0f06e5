// A reward server in C++: an answer is worth 1 when it names the answer key, less up to a half for its length.
//
//   example_reward_server HOST:PORT        a signal ends it
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "proto/environment_service.grpc.pb.h"

namespace v1 = tactus::environment::v1;

namespace {

class RewardServer final : public v1::EnvironmentService::Service {
  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRequest*, v1::Description* reply) override {
    reply->set_name("mention");
    reply->set_kind(v1::SINGLE_TURN);
    return grpc::Status::OK;
  }

  // Called from several threads at once.
  grpc::Status Score(grpc::ServerContext*, const v1::ScoreRequest* request, v1::ScoreReply* reply) override {
    if (request->answer_key().empty()) return {grpc::StatusCode::INVALID_ARGUMENT, "expected an answer key"};
    for (const v1::Completion& completion : request->completions()) {
      const bool named = completion.text().find(request->answer_key()) != std::string::npos;
      v1::Score& score = *reply->add_scores();
      Add(score, "named", named ? 1 : 0);
      Add(score, "length", named ? -std::min(0.5, static_cast<double>(completion.text().size()) / 1000) : 0);
      score.set_verdict(named ? v1::PASS : v1::FAIL);
      score.set_reason(named ? "correct" : "not_named");
    }
    return grpc::Status::OK;
  }

  static void Add(v1::Score& score, const char* name, double value) {
    v1::RewardPart& part = *score.add_parts();
    part.set_name(name);
    part.set_value(value);
  }
};

}  // namespace

int main(int argc, char** argv) {
  RewardServer service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(argc > 1 ? argv[1] : "127.0.0.1:9000", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);  // gRPC's own limit of 4 MiB is less than a large group of long answers
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 1;
  std::printf("serving rewards at port %d\n", port);
  std::fflush(stdout);
  server->Wait();
}
