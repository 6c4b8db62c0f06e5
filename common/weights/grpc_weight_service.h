// Serves a WeightPublisher's newest set over gRPC; the contract is in proto/weight_service.proto.
//
// Memory: one chunk (1 MiB) per stream beside the shared snapshot. A reader cannot hold a set for ever: a call must
// carry a deadline of at most kMaxFetchMinutes, which gRPC enforces on this side too. Streams beyond
// kMaxWeightStreams are refused with UNAVAILABLE.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/weights/weight_publisher.h"

namespace tactus {

inline constexpr int kMaxWeightStreams = 256;
inline constexpr int kMaxFetchMinutes = 30;

// For grpc::ServerBuilder::RegisterService. `publisher` must outlive the service, and so must `bytes_sent`, to which
// the bytes of weights written to readers are added, unless it is null. The service must outlive its server.
std::unique_ptr<grpc::Service> MakeWeightService(const WeightPublisher* publisher,
                                                 std::atomic<uint64_t>* bytes_sent = nullptr);

}  // namespace tactus
