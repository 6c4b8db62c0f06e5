#include "common/model/cuda/decoder_cuda.h"

#include "common/model/decoder_impl.h"
#include "common/model/trainable_impl.h"

namespace tactus {

template class Decoder<ops::CudaBackend>;
template class TrainableDecoder<ops::CudaBackend>;

}  // namespace tactus
