#include "common/collective/shared_gpus.h"

#include <map>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

constexpr int kFirstVersion = 23000;  // of NCCL that lets ranks share a GPU

std::string VersionText(int version) {
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace

absl::Status CheckSharedGpus(const std::vector<std::string>& places, int nccl_version, bool enabled) {
  std::map<std::string, size_t> first_rank;
  for (size_t rank = 0; rank < places.size(); ++rank) {
    const auto [first, is_new] = first_rank.emplace(places[rank], rank);
    if (is_new || (nccl_version >= kFirstVersion && enabled)) continue;
    const std::string who = absl::StrCat("Ranks ", first->second, " and ", rank, " share the GPU ", places[rank], ": ");
    if (nccl_version < kFirstVersion)
      return absl::FailedPreconditionError(absl::StrCat(
          who, "NCCL ", VersionText(nccl_version), " cannot do that, 2.30.0 and newer can; give each rank a GPU."));
    return absl::FailedPreconditionError(absl::StrCat(
        who, "give each rank a GPU, or set NCCL_MULTI_RANK_GPU_ENABLE=1 for NCCL ", VersionText(nccl_version), "."));
  }
  return absl::OkStatus();
}

}  // namespace tactus
