#include "common/metrics/build_info.h"

namespace tactus {

const BuildInfo& ThisBuild() {
  static constexpr BuildInfo kBuild = {TACTUS_VERSION, TACTUS_COMMIT};
  return kBuild;
}

}  // namespace tactus
