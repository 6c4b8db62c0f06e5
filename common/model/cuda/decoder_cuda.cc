#include "common/model/cuda/decoder_cuda.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/decoder_impl.h"
#include "common/model/trainable_backward_impl.h"
#include "common/ops/cuda/sampling_cuda.h"

namespace tactus {

absl::Status CheckDecoderShapeCuda(const ModelConfig& config) {
  RETURN_IF_ERROR(CheckDecoderShape(config));
  const int64_t head = config.head_dim, vocab = config.vocab_size;
  if (head % 16 == 0 && head <= ops::cuda::kMaxHeadDim && vocab <= ops::cuda::kMaxVocab) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "a GPU's kernels need a head size that is a multiple of 16 of at most ", ops::cuda::kMaxHeadDim,
      " and a vocabulary of at most ", ops::cuda::kMaxVocab, " tokens; this model's are ", head, " and ", vocab, "."));
}

template class Decoder<ops::CudaBackend>;
template class TrainableDecoder<ops::CudaBackend>;

}  // namespace tactus
