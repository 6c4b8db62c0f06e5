// How our gRPC channels and servers are secured, kept alive and bounded. For grpc_* files only.
//
// Mutual TLS, or plaintext when it was asked for by name. Certificates are read again when the files change, so they
// can be renewed without a restart. Thread-safe: no state.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rollout/channel_security.h"

namespace tactus {

inline constexpr size_t kMaxChunkBytes = size_t{1} << 20;
// A chunk or a lease reply, with room for its envelope. Anything larger is refused by gRPC itself.
inline constexpr int kMaxMessageBytes = 2 << 20;

// InvalidArgument: not all three TLS files, or none and no `plaintext`. NotFound and others: a file cannot be read.
// Plaintext is logged as a warning.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ChannelSecurity& security);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const ChannelSecurity& security);

// Keepalive (a peer that is gone is noticed within 30 s), message sizes, memory quota; the port is never shared.
void BoundServer(grpc::ServerBuilder& builder);
grpc::ChannelArguments BoundChannel();

absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace tactus
