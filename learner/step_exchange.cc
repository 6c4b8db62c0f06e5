#include "learner/step_exchange.h"

#include <array>
#include <cstring>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr int kRoot = 0;

struct Header {
  uint32_t kind = 0;
  uint32_t incarnation = 0;
  uint64_t step = 0;
  uint64_t payload_bytes = 0;
};

void AppendGroup(const TrajectoryGroup& group, std::string* payload) {
  const std::string bytes = EncodeGroup(group);
  const uint64_t size = bytes.size();
  payload->append(reinterpret_cast<const char*>(&size), sizeof(size));
  payload->append(bytes);
}

absl::StatusOr<std::vector<TrajectoryGroup>> ReadGroups(absl::string_view payload, const TrajectoryLimits& limits) {
  std::vector<TrajectoryGroup> groups;
  while (!payload.empty()) {
    uint64_t size = 0;
    if (payload.size() < sizeof(size)) return absl::InternalError("a step order from rank 0 ends inside a length");
    std::memcpy(&size, payload.data(), sizeof(size));
    payload.remove_prefix(sizeof(size));
    if (payload.size() < size) return absl::InternalError("a step order from rank 0 ends inside a group");
    ASSIGN_OR_RETURN(groups.emplace_back(), DecodeGroup(payload.substr(0, size), limits));
    payload.remove_prefix(size);
  }
  return groups;
}

}  // namespace

absl::Status ExchangeStepOrder(Collective& collective, StepOrder& order, const TrajectoryLimits& limits) {
  if (collective.size() == 1) return absl::OkStatus();
  double stop_asked = order.stop_asked ? 1 : 0;
  RETURN_IF_ERROR(collective.AllReduceSum(std::span(&stop_asked, 1)));
  const bool root = collective.rank() == kRoot;
  std::string payload;
  Header header{.kind = static_cast<uint32_t>(order.kind),
                .incarnation = order.version.incarnation,
                .step = order.version.step,
                .payload_bytes = 0};
  if (root) {
    for (const TrajectoryGroup& group : order.groups) AppendGroup(group, &payload);
    header.payload_bytes = payload.size();
  }
  std::array<char, sizeof(Header)> bytes;
  std::memcpy(bytes.data(), &header, sizeof(header));
  RETURN_IF_ERROR(collective.Broadcast(bytes, kRoot));
  std::memcpy(&header, bytes.data(), sizeof(header));
  payload.resize(header.payload_bytes);
  if (!payload.empty()) RETURN_IF_ERROR(collective.Broadcast(std::span(payload.data(), payload.size()), kRoot));
  if (!root) {
    ASSIGN_OR_RETURN(order.groups, ReadGroups(payload, limits));
    order.kind = static_cast<StepOrder::Kind>(header.kind);
    order.version = {.incarnation = header.incarnation, .step = header.step};
  }
  order.stop_asked = stop_asked > 0;
  return absl::OkStatus();
}

}  // namespace tactus
