// libFuzzer's one entry, for the target that the build names.
#include <cstdint>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tactus::fuzz::TACTUS_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
