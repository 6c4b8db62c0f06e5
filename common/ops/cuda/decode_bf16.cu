#include "common/ops/cuda/decode_body_cuda.inc"

namespace tactus::ops::cuda {

template void LaunchDecode<device::bf16>(const DecodeParams&, int, int);

}  // namespace tactus::ops::cuda
