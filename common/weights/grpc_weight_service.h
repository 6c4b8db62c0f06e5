// Serves what a WeightSupply has over gRPC; the contract is in proto/weight_service.proto.
//
// Memory: one chunk (1 MiB) per stream beside what the supply has. A reader cannot hold a set for ever: a call must
// carry a deadline of at most kMaxFetchMinutes, which gRPC enforces on this side too. Streams beyond `max_streams` are
// refused with UNAVAILABLE.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/weights/weight_supply.h"

namespace tactus {

inline constexpr int kMaxWeightStreams = 256;
inline constexpr int kMaxFetchMinutes = 30;

// For grpc::ServerBuilder::RegisterService. `supply` must outlive the service, and so must `bytes_sent`, to which
// the bytes of weights written to readers are added, unless it is null. The service must outlive its server.
std::unique_ptr<grpc::Service> MakeWeightService(WeightSupply* supply, std::atomic<uint64_t>* bytes_sent = nullptr,
                                                 int max_streams = kMaxWeightStreams);

}  // namespace tactus
