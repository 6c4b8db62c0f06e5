#include "common/weights/shared_weights.h"

#include <fstream>

namespace tactus {

std::string ThisMachine() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

}  // namespace tactus
