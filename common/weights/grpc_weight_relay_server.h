// Where an actor serves what its WeightRelay has to other actors of its run, by the learner's own service.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/base/host_port.h"
#include "common/rollout/channel_security.h"
#include "common/weights/weight_relay.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace tactus {

// Thread-safe.
class WeightRelayServer {
 public:
  static constexpr int kMaxStreams = 64;  // actors served at once; further ones go on to their next parent

  // Listens when this returns. `relay` outlives it, and so does `bytes_sent`, to which what is sent is added.
  // Unavailable: the address is taken. Errors of the security options' files.
  static absl::StatusOr<std::unique_ptr<WeightRelayServer>> Start(WeightRelay* relay, const HostPort& listen,
                                                                  const ChannelSecurity& security,
                                                                  std::atomic<uint64_t>* bytes_sent);
  // Closes the relay.
  ~WeightRelayServer();

  int port() const { return port_; }

 private:
  WeightRelayServer(WeightRelay* relay, std::unique_ptr<grpc::Service> service);

  WeightRelay& relay_;
  const std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace tactus
