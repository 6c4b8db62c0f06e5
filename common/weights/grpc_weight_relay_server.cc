#include "common/weights/grpc_weight_relay_server.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rollout/grpc_channel.h"
#include "common/weights/grpc_weight_service.h"

namespace tactus {

WeightRelayServer::WeightRelayServer(WeightRelay* relay, std::unique_ptr<grpc::Service> service)
    : relay_(*relay), service_(std::move(service)) {}

WeightRelayServer::~WeightRelayServer() {
  relay_.Close();
  if (server_ == nullptr) return;
  const gpr_timespec patience = gpr_time_from_seconds(1, GPR_TIMESPAN);  // then whoever does not read is cancelled
  server_->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), patience));
}

absl::StatusOr<std::unique_ptr<WeightRelayServer>> WeightRelayServer::Start(WeightRelay* relay, const HostPort& listen,
                                                                            const ChannelSecurity& security,
                                                                            std::atomic<uint64_t>* bytes_sent) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                   MakeRelayCredentials(security, [](absl::string_view why) {
                     TACTUS_LOG(WARNING) << "refused to pass weights on: " << why;
                   }));
  auto started = absl::WrapUnique(new WeightRelayServer(relay, MakeWeightService(relay, bytes_sent, kMaxStreams)));
  grpc::ServerBuilder builder;
  BoundServer(builder);
  builder.AddListeningPort(listen.Text(), credentials, &started->port_);
  builder.RegisterService(started->service_.get());
  started->server_ = builder.BuildAndStart();
  if (started->server_ == nullptr || started->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen.Text(), " to pass weights on: is it taken?"));
  }
  return started;
}

}  // namespace tactus
