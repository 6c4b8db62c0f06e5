// Hugging Face model folders, in and out: config.json, model.safetensors (or shards with an index), tokenizer files.
// `transformers` loads what we write. Never pickle, never code from data. Blocking file I/O; thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/dtype.h"
#include "common/base/hashed_file.h"
#include "common/model/folder/model_config.h"

namespace tactus {

struct ModelFolder {
  std::string path;
  ModelConfig config;
  ParameterLayout layout;
};

enum class WeightsExpected { kRequired, kOptional };

// True when the folder holds model.safetensors or a shard index.
bool HasWeights(const std::string& path);

// Reads and checks config.json and the headers of every safetensors shard: names, shapes, dtypes (F32, BF16, F16), no
// tensor missing, none unknown. Touches no tensor data. NotFound / InvalidArgument name the file and the field.
// kOptional: a folder without weights (a recipe to be trained from scratch) is fine; weights that are there are
// checked. A tied model may hold lm_head.weight as well: LoadParameters refuses one that differs from the embedding.
// Of a URI, its local copy (local_copy.h), which is made first: then `path` is that one's. Errors of LocalModelFolder.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& path_or_uri,
                                            WeightsExpected expected = WeightsExpected::kRequired);

// Told of each parameter, in the layout's order, once it is in the flat buffer and has no further use there: a caller
// that keeps a part of the parameters may give back the rest.
using ParameterDone = absl::FunctionRef<void(const ParameterSpec&)>;
inline void KeepParameter(const ParameterSpec&) {}

// Fills `flat` [layout.total_numel] with float32 values, the padding with 0. InvalidArgument names a tensor that holds
// NaN or infinity. `flat` is unspecified on error.
absl::Status LoadParameters(const ModelFolder& folder, std::span<float> flat, ParameterDone done = KeepParameter);

// The type that a folder's config.json says its weights are in: "dtype", as newer versions of transformers write it, or
// "torch_dtype". Float32 where neither stands, and for any type but bfloat16. Errors name the file.
absl::StatusOr<StorageDType> FolderDType(const std::string& path);

// InvalidArgument naming the first tensor of `flat` [layout.total_numel] that holds NaN or infinity; or `spec`, of
// which `values` are those from element `first` on.
absl::Status CheckFinite(const ParameterLayout& layout, std::span<const float> flat, const std::string& source);
absl::Status CheckFinite(const ParameterSpec& spec, int64_t first, std::span<const float> values,
                         const std::string& source);

// Fresh parameters: normal(0, 0.02), with the projections into the residual stream (o_proj, down_proj) smaller by
// sqrt(2 L) as in GPT-2; norm weights 1, biases 0. A pure function of its arguments.
void InitialiseParameters(const ModelConfig& config, const ParameterLayout& layout, uint64_t seed,
                          std::span<float> flat, ParameterDone done = KeepParameter);

// Writes a folder `transformers` loads: config.json (the template's, with the dtype set), model.safetensors and, copied
// from `template_folder` where it has them, generation_config.json and the tokenizer files. Every file is synced; the
// caller makes the folder visible (writes aside, renames). `path` is made when missing. The files' digests, made on the
// way.
absl::StatusOr<FileDigests> WriteModelFolder(const std::string& path, const ModelFolder& template_folder,
                                             std::span<const float> flat, StorageDType dtype);
// The same of `encoded`, the tensors end to end in `dtype`, as EncodeWeights (common/weights) gives them.
absl::StatusOr<FileDigests> WriteModelFolder(const std::string& path, const ModelFolder& template_folder,
                                             std::span<const char> encoded, StorageDType dtype);

}  // namespace tactus
