#include "common/metrics/build_info.h"

namespace tactus {

const BuildInfo& ThisBuild() {
  static constexpr BuildInfo kBuild = {TACTUS_VERSION, TACTUS_COMMIT, TACTUS_TORCH_VERSION, TACTUS_CUDA_VERSION};
  return kBuild;
}

}  // namespace tactus
