// An actor that says exactly what a test wants, one message at a time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/data/codec.h"
#include "common/rollout/grpc_rollout_session.h"
#include "proto/rollout_service.grpc.pb.h"

namespace tactus {

class RawActor {
 public:
  explicit RawActor(int port)
      : channel_(grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials())),
        stub_(wire::RolloutService::NewStub(channel_)) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stream_ = stub_->Attach(&context_);
  }
  ~RawActor() {
    if (!ended_) {
      context_.TryCancel();
      stream_->Finish();
    }
  }

  bool Write(const wire::ActorMessage& message) { return stream_->Write(message); }

  static wire::ActorMessage Hello(const std::string& actor_id) {
    wire::ActorMessage message;
    message.mutable_hello()->set_protocol_version(kRolloutProtocolVersion);
    message.mutable_hello()->set_run_id("test-run");
    message.mutable_hello()->set_actor_id(actor_id);
    message.mutable_hello()->set_config_fingerprint("f1");
    return message;
  }
  static wire::ActorMessage Chunk(uint64_t sequence, uint32_t index, const std::string& data, bool last) {
    wire::ActorMessage message;
    message.mutable_submit_chunk()->set_sequence(sequence);
    message.mutable_submit_chunk()->set_index(index);
    message.mutable_submit_chunk()->set_data(data);
    message.mutable_submit_chunk()->set_last(last);
    return message;
  }
  static wire::ActorMessage LeaseRequest(uint64_t id, uint32_t max_leases, double timeout_s) {
    wire::ActorMessage message;
    message.mutable_lease_request()->set_request_id(id);
    message.mutable_lease_request()->set_max_leases(max_leases);
    message.mutable_lease_request()->mutable_held();
    message.mutable_lease_request()->set_timeout_s(timeout_s);
    return message;
  }

  // The next message, or nullopt when the stream has ended.
  std::optional<wire::LearnerMessage> Read() {
    wire::LearnerMessage message;
    if (!stream_->Read(&message)) return std::nullopt;
    return message;
  }

  // Reads to the end of the stream and returns its status.
  grpc::Status End() {
    while (Read().has_value()) {
    }
    ended_ = true;
    return stream_->Finish();
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<wire::RolloutService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<wire::ActorMessage, wire::LearnerMessage>> stream_;
  bool ended_ = false;
};

}  // namespace tactus
