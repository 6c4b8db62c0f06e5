// The decoder on a GPU, for actors and learners. CudaBackend says what holds of bits, queues and recording.
#pragma once

#include "common/model/cuda/decoder_weights_cuda.h"
#include "common/model/decoder.h"
#include "common/model/trainable.h"
#include "common/ops/cuda/backend_cuda.h"

namespace tactus {

using DecoderCuda = Decoder<ops::CudaBackend>;
using TrainableDecoderCuda = TrainableDecoder<ops::CudaBackend>;
extern template class Decoder<ops::CudaBackend>;
extern template class TrainableDecoder<ops::CudaBackend>;

}  // namespace tactus
