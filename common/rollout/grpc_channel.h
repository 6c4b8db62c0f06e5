// How our gRPC channels and servers are secured, kept alive and bounded. For grpc_* files only.
//
// Mutual TLS with roles (common/rollout/peer_role.h), or plaintext when it was asked for by name. Certificates are read
// again when the files change, so they can be renewed without a restart; the role a process asks of its peers is that
// of its start. Thread-safe: no state.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/host_port.h"
#include "common/rollout/channel_security.h"

namespace tactus {

inline constexpr size_t kMaxChunkBytes = size_t{1} << 20;
// A chunk or a lease reply, with room for its envelope. Anything larger is refused by gRPC itself.
inline constexpr int kMaxMessageBytes = 2 << 20;

// For the learner: every call of a peer without the right role ends with PermissionDenied, after `on_refused` with the
// reason, which may be called from any thread. InvalidArgument: not all three TLS files, or none and no `plaintext`;
// what ReadCertificates refuses; another role's certificate. NotFound and others: a file cannot be read. Plaintext,
// certificates without a role, and those that end soon are logged as warnings.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ChannelSecurity& security, std::function<void(absl::string_view)> on_refused);

// For an actor that passes weights on to others: the same for calls of actors and of learners, whose certificate
// `tactus train` gives to its actors. Expiry and roles were warned of when the channel to the learner was opened.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeRelayCredentials(
    const ChannelSecurity& security, std::function<void(absl::string_view)> on_refused);

// A channel to the learner at `address`, which connects when it is used, and to nobody who is no learner. Errors as
// above. Always direct: proxies that the process's variables name are not used.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const HostPort& address, const ChannelSecurity& security);

// The same to an actor that passes weights on. It proves its role, not its address, which actors' certificates do not
// name: whoever has the role of an actor can delay this one and no more. Certificates without roles must name the
// address.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenRelayChannel(const HostPort& address,
                                                                const ChannelSecurity& security);

// The same to a user's environment. Of a name with several addresses each gets its turn, apart from those that cannot
// be reached or whose health service says NOT_SERVING; after a failure the name is looked up again, once a second at
// most.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenEnvironmentChannel(const HostPort& address,
                                                                      const ChannelSecurity& security);

// Before a call that repeats one which found nobody: the channel tries to connect at once. Its own pauses between
// attempts are timed by gRPC, whose timers wait by the wall clock: when that is set back by an hour, they stand for an
// hour.
void ConnectAgain(grpc::Channel& channel);

// Keepalive (a peer that is gone is noticed within 30 s), message sizes, memory quota; the port is never shared.
void BoundServer(grpc::ServerBuilder& builder);

absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace tactus
