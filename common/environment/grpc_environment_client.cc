#include "common/environment/grpc_environment_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/rollout/grpc_channel.h"
#include "proto/environment_service.grpc.pb.h"

namespace tactus {
namespace {

namespace v1 = environment::v1;

constexpr size_t kShownBytes = 300;  // of what the other side says

// Without line ends and bytes that a terminal would obey; quotes stay as they are.
std::string Shown(const std::string& text) {
  return absl::StrReplaceAll(absl::Utf8SafeCEscape(text.substr(0, kShownBytes)), {{"\\'", "'"}, {"\\\"", "\""}});
}

}  // namespace

EnvironmentClient::EnvironmentClient(std::string address, std::shared_ptr<grpc::Channel> channel)
    : address_(std::move(address)), channel_(std::move(channel)) {}

absl::StatusOr<std::unique_ptr<EnvironmentClient>> EnvironmentClient::Create(const HostPort& address,
                                                                             const ChannelSecurity& security) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenEnvironmentChannel(address, security));
  return std::unique_ptr<EnvironmentClient>(new EnvironmentClient(address.Text(), std::move(channel)));
}

absl::Status EnvironmentClient::Call(absl::string_view method, absl::Duration timeout,
                                     absl::FunctionRef<grpc::Status(grpc::ClientContext&)> call) {
  const absl::Status closed = absl::CancelledError(absl::StrCat("environment ", address_, ": closed"));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return closed;
    open_.insert(&context);
  }
  const grpc::Status status = call(context);
  absl::MutexLock lock(&mu_);
  open_.erase(&context);
  if (closed_) return closed;
  return EnvironmentError(address_, method, timeout, status);
}

absl::Status EnvironmentError(absl::string_view address, absl::string_view method, absl::Duration timeout,
                              const grpc::Status& status) {
  const std::string who = absl::StrCat("environment ", address);
  const std::string said = Shown(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return absl::OkStatus();
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(absl::StrCat(who, " cannot be reached: ", said));
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(
          absl::StrCat(who, " did not answer ", method, " within ",
                       absl::FormatDuration(absl::Trunc(timeout + absl::Microseconds(500), absl::Milliseconds(1)))));
    case grpc::StatusCode::UNIMPLEMENTED:  // also what gRPC says of an answer that is another message
      return absl::DataLossError(
          absl::StrCat(who, " does not serve ", method, " or answers with another type of message: ", said));
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      if (!absl::StrContains(said, "larger than max")) break;
      return absl::OutOfRangeError(absl::StrCat(who, ": its answer to ", method, " is larger than ", kMaxMessageBytes,
                                                " bytes, or its server takes no larger question: ", said));
    default:
      break;
  }
  return absl::InternalError(absl::StrCat(who, ": ", method, " failed there, ",
                                          absl::StatusCodeToString(FromGrpc(status).code()), ": ", said));
}

absl::Status BadEnvironmentReply(absl::string_view address, absl::string_view method, const absl::Status& why) {
  return absl::DataLossError(
      absl::StrCat("environment ", address, ": its answer to ", method, " cannot be used: ", why.message()));
}

absl::StatusOr<EnvironmentFacts> EnvironmentClient::Describe(absl::Duration timeout) {
  const auto stub = v1::EnvironmentService::NewStub(channel_);
  v1::Description reply;
  RETURN_IF_ERROR(Call("Describe", timeout, [&](grpc::ClientContext& context) {
    return stub->Describe(&context, v1::DescribeRequest(), &reply);
  }));
  absl::StatusOr<EnvironmentFacts> facts = FromWire(reply);
  if (!facts.ok()) return BadReply("Describe", facts.status());
  return facts;
}

absl::Status EnvironmentClient::Prompts(Split split, absl::Duration timeout,
                                        absl::FunctionRef<absl::Status(NamedExample)> each) {
  const auto stub = v1::EnvironmentService::NewStub(channel_);
  v1::PromptsRequest request;
  request.set_split(split == Split::kTrain ? v1::TRAIN : v1::TEST);
  absl::Status refused;
  const absl::Status status = Call("Prompts", timeout, [&](grpc::ClientContext& context) {
    const auto reader = stub->Prompts(&context, request);
    v1::EnvironmentPrompt prompt;
    while (refused.ok() && reader->Read(&prompt)) {
      absl::StatusOr<NamedExample> example = FromWire(prompt);
      refused = example.ok() ? each(*std::move(example)) : BadReply("Prompts", example.status());
    }
    if (!refused.ok()) context.TryCancel();
    return reader->Finish();
  });
  return refused.ok() ? status : refused;
}

absl::StatusOr<std::vector<Reward>> EnvironmentClient::Score(const Question& question, std::span<const Answer> answers,
                                                             absl::Duration timeout) {
  const auto stub = v1::EnvironmentService::NewStub(channel_);
  const v1::ScoreRequest request = ToWire(question, answers);
  v1::ScoreReply reply;
  RETURN_IF_ERROR(
      Call("Score", timeout, [&](grpc::ClientContext& context) { return stub->Score(&context, request, &reply); }));
  absl::StatusOr<std::vector<Reward>> rewards = FromWire(reply, answers.size());
  if (!rewards.ok()) return BadReply("Score", rewards.status());
  return rewards;
}

void EnvironmentClient::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
  for (grpc::ClientContext* context : open_) context->TryCancel();
}

absl::string_view OutcomeName(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kUnavailable:
      return "unreachable";
    case absl::StatusCode::kDeadlineExceeded:
      return "timed_out";
    case absl::StatusCode::kOutOfRange:
      return "too_large";
    case absl::StatusCode::kDataLoss:
      return "bad_reply";
    default:
      return "failed";
  }
}

}  // namespace tactus
