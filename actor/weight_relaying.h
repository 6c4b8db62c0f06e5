// An actor's part in passing weights on: what it has (WeightRelay), where it serves that, and the address at which
// other actors find it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/host_port.h"
#include "common/rollout/channel_security.h"
#include "common/weights/grpc_weight_relay_server.h"
#include "common/weights/weight_relay.h"

namespace tactus {

struct WeightRelayingOptions {
  HostPort learner;
  std::optional<std::string> listen;     // HOST:PORT; none: the address that packets to the learner leave from
  std::optional<std::string> advertise;  // HOST:PORT; none: where it listens
  ChannelSecurity security;
  std::string run_id;
  absl::Duration patience;                  // until the learner's host can be found, if need be
  const std::atomic<bool>* stop = nullptr;  // as WeightRelay's
};

// Thread-safe.
class WeightRelaying {
 public:
  // Serves when this returns; blocks while the learner's host cannot be found. InvalidArgument: an address is none, or
  // none that others can dial. Unavailable: it is taken, or there is no way to the learner. Errors of the security
  // options' files.
  static absl::StatusOr<std::unique_ptr<WeightRelaying>> Start(const WeightRelayingOptions& options);

  WeightRelay& relay() { return *relay_; }
  const std::string& address() const { return address_; }
  uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  WeightRelaying() = default;

  std::atomic<uint64_t> bytes_sent_{0};
  std::unique_ptr<WeightRelay> relay_;
  std::unique_ptr<WeightRelayServer> server_;  // after what it serves: destroyed first
  std::string address_;
};

// Null where nothing is passed on.
inline WeightRelay* RelayOf(WeightRelaying* relaying) { return relaying == nullptr ? nullptr : &relaying->relay(); }

}  // namespace tactus
