// Calls a user's server of prompts and rewards (proto/environment_service.proto), one call at a time or many.
//
// What a call can end with, besides OK; each message is one sentence that begins with "environment HOST:PORT":
//   Unavailable        nobody answers there, or the connection broke
//   DeadlineExceeded   no answer in time
//   OutOfRange         the answer is larger than kMaxMessageBytes (common/rollout/grpc_channel.h) and was not read
//   DataLoss           the answer is of another type or holds what the codec refuses
//   Internal           the server reports an error, which stands in the message
//   Cancelled          closed
// Thread-safe. Blocks for at most the timeout. Nothing is repeated here.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/host_port.h"
#include "common/environment/environment_codec.h"
#include "common/rollout/channel_security.h"
#include "common/tasks/judge.h"
#include "common/tasks/task.h"

namespace grpc {
class Channel;
class ClientContext;
class Status;
}  // namespace grpc

namespace tactus {

// What a call's status, or an answer that the codec refuses, is told as: see above.
absl::Status EnvironmentError(absl::string_view address, absl::string_view method, absl::Duration timeout,
                              const grpc::Status& status);
absl::Status BadEnvironmentReply(absl::string_view address, absl::string_view method, const absl::Status& why);

class EnvironmentClient {
 public:
  // Connects when it is used. Errors are those of the security options (OpenEnvironmentChannel).
  static absl::StatusOr<std::unique_ptr<EnvironmentClient>> Create(const HostPort& address,
                                                                   const ChannelSecurity& security);

  absl::StatusOr<EnvironmentFacts> Describe(absl::Duration timeout);
  // Calls `each` with every prompt of the split as it comes; its error ends the stream and is returned.
  absl::Status Prompts(Split split, absl::Duration timeout, absl::FunctionRef<absl::Status(NamedExample)> each);
  absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                            absl::Duration timeout);

  // Ends every call, those to come too, with Cancelled. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);
  const std::string& address() const { return address_; }

 private:
  EnvironmentClient(std::string address, std::shared_ptr<grpc::Channel> channel);

  absl::Status Call(absl::string_view method, absl::Duration timeout,
                    absl::FunctionRef<grpc::Status(grpc::ClientContext&)> call) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status BadReply(absl::string_view method, const absl::Status& why) const {
    return BadEnvironmentReply(address_, method, why);
  }

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::set<grpc::ClientContext*> open_ ABSL_GUARDED_BY(mu_);
};

// One word for what a call ended with: "ok", "unreachable", "timed_out", "too_large", "bad_reply", "failed".
absl::string_view OutcomeName(const absl::Status& status);

}  // namespace tactus
