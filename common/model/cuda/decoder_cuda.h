// The decoder on a GPU, for actors and learners. CudaBackend says what holds of bits, queues and recording.
#pragma once

#include "absl/status/status.h"
#include "common/model/cuda/decoder_weights_cuda.h"
#include "common/model/decoder.h"
#include "common/model/trainable.h"
#include "common/ops/cuda/backend_cuda.h"

namespace tactus {

// Of a model, before anything of it is loaded. Unimplemented: CheckDecoderShape's, and sizes that the kernels of a GPU
// do not compute.
absl::Status CheckDecoderShapeCuda(const ModelConfig& config);

using DecoderCuda = Decoder<ops::CudaBackend>;
using TrainableDecoderCuda = TrainableDecoder<ops::CudaBackend>;
extern template class Decoder<ops::CudaBackend>;
extern template class TrainableDecoder<ops::CudaBackend>;

}  // namespace tactus
