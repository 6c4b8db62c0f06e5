// Hugging Face model folders, in and out: config.json, model.safetensors (or shards with an index), tokenizer files.
// `transformers` loads what we write. Never pickle, never code from data.
#pragma once

#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/model_config.h"

namespace tactus {

enum class StorageDType { kFloat32, kBFloat16 };

struct ModelFolder {
  std::string path;
  ModelConfig config;
  ParameterLayout layout;
};

// Reads and checks config.json and the headers of every safetensors shard: names, shapes, dtypes (F32, BF16, F16), no
// tensor missing, none unknown. Touches no tensor data. NotFound / InvalidArgument name the file and the field.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& path);

// Fills `flat` [layout.total_numel] with float32 values. InvalidArgument names a tensor that holds NaN or infinity.
absl::Status LoadParameters(const ModelFolder& folder, std::span<float> flat);

// Writes a folder `transformers` loads: config.json, generation_config.json, model.safetensors and, copied from
// `template_folder`, the tokenizer files. The caller makes it visible (writes aside, renames).
absl::Status WriteModelFolder(const std::string& path, const ModelFolder& template_folder, std::span<const float> flat,
                              StorageDType dtype);

}  // namespace tactus
