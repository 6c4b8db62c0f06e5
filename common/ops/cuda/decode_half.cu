#include "common/ops/cuda/decode_body_cuda.inc"

namespace tactus::ops::cuda {

template void LaunchDecode<device::half>(const DecodeParams&, int, int);

}  // namespace tactus::ops::cuda
