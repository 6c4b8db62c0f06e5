#include "common/model/folder/hf_folder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/finite.h"
#include "common/base/json_field.h"
#include "common/base/paths.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/model/folder/safetensors.h"
#include "common/storage/local_copy.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kLmHead[] = "lm_head.weight";
constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr size_t kMaxShards = 1000;
constexpr size_t kMaxIndexBytes = size_t{32} << 20;
constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
// The tokenizer's files and generation_config.json: copied as they are.
constexpr const char* kCopiedFiles[] = {"generation_config.json",  "tokenizer.json",    "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
                                        "chat_template.json",      "vocab.json",        "merges.txt",
                                        "tokenizer.model"};

std::string Join(const std::string& folder, absl::string_view name) { return absl::StrCat(folder, "/", name); }

// A buffer that old exporters stored beside the weights; transformers ignores it as well.
bool IsLegacyBuffer(absl::string_view name) { return absl::EndsWith(name, ".rotary_emb.inv_freq"); }

// Shard file -> the tensors the index places in it.
using ShardMap = std::map<std::string, std::set<std::string>>;

absl::StatusOr<ShardMap> ReadIndex(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxIndexBytes));
  JsonLimits limits;
  limits.max_bytes = kMaxIndexBytes;
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, path, limits));
  ASSIGN_OR_RETURN(const JsonField map, JsonField(json, path).Member("weight_map"));
  RETURN_IF_ERROR(map.CheckObject());
  ShardMap shards;
  for (const auto& item : map.value().items()) {
    JSON_MEMBER(const std::string shard, map, item.key(), String());
    // A plain name: an index must not reach outside its folder.
    if (absl::StrContains(shard, "/") || absl::StrContains(shard, '\0') || !absl::EndsWith(shard, ".safetensors")) {
      return map.Member(item.key())->Expected("the name of a .safetensors file in this folder");
    }
    shards[shard].insert(item.key());
    if (shards.size() > kMaxShards) return map.Error(absl::StrCat("names more than ", kMaxShards, " shards"));
  }
  if (shards.empty()) return map.Error("is empty");
  return shards;
}

// Opens every file with weights; with an index, each shard must hold just the tensors the index says.
absl::StatusOr<std::vector<SafetensorsFile>> OpenShards(const std::string& folder) {
  std::vector<SafetensorsFile> files;
  if (Exists(Join(folder, kSingleFile)) || !Exists(Join(folder, kIndexFile))) {
    ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(Join(folder, kSingleFile)));
    files.push_back(std::move(file));
    return files;
  }
  ASSIGN_OR_RETURN(const ShardMap shards, ReadIndex(Join(folder, kIndexFile)));
  for (const auto& [name, promised] : shards) {
    ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(Join(folder, name)));
    size_t found = 0;
    for (const TensorInfo& tensor : file.tensors()) {
      if (promised.count(tensor.name) == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat(file.path(), ": holds tensor ", tensor.name, ", which ", kIndexFile, " does not place there"));
      }
      ++found;
    }
    if (found != promised.size()) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": holds ", found, " tensors; ", kIndexFile,
                                                     " places ", promised.size(), " there"));
    }
    files.push_back(std::move(file));
  }
  return files;
}

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

absl::Status CheckTensor(const SafetensorsFile& file, const TensorInfo& tensor, const std::vector<int64_t>& shape) {
  if (tensor.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tensor ", tensor.name, " has shape ",
                                                   ShapeText(tensor.shape), "; config.json makes it ",
                                                   ShapeText(shape)));
  }
  if (tensor.dtype != TensorDType::kF32 && tensor.dtype != TensorDType::kBF16 && tensor.dtype != TensorDType::kF16) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tensor ", tensor.name, " is ",
                                                   TensorDTypeName(tensor.dtype), "; expected F32, BF16 or F16"));
  }
  return absl::OkStatus();
}

struct Source {
  const SafetensorsFile* file;
  const TensorInfo* tensor;
};

// Where each parameter lies; `lm_head` is set when a tied model stores it all the same.
struct WeightSources {
  std::vector<Source> parameters;  // as layout.specs
  Source lm_head{nullptr, nullptr};
};

absl::StatusOr<WeightSources> MatchTensors(const ModelFolder& folder, const std::vector<SafetensorsFile>& files) {
  std::map<absl::string_view, size_t> index;
  for (size_t i = 0; i < folder.layout.specs.size(); ++i) index[folder.layout.specs[i].name] = i;
  WeightSources sources;
  sources.parameters.resize(folder.layout.specs.size(), {nullptr, nullptr});
  for (const SafetensorsFile& file : files) {
    for (const TensorInfo& tensor : file.tensors()) {
      const auto found = index.find(tensor.name);
      if (found != index.end()) {
        RETURN_IF_ERROR(CheckTensor(file, tensor, folder.layout.specs[found->second].shape));
        sources.parameters[found->second] = {&file, &tensor};
      } else if (tensor.name == kLmHead) {  // not in the layout: the embedding stands in for it
        RETURN_IF_ERROR(CheckTensor(file, tensor, {folder.config.vocab_size, folder.config.hidden_size}));
        sources.lm_head = {&file, &tensor};
      } else if (!IsLegacyBuffer(tensor.name)) {
        return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tensor ", tensor.name,
                                                       " is unknown; config.json describes no such parameter"));
      }
    }
  }
  for (size_t i = 0; i < sources.parameters.size(); ++i) {
    if (sources.parameters[i].file != nullptr) continue;
    return absl::InvalidArgumentError(absl::StrCat(files.front().path(), ": tensor ", folder.layout.specs[i].name,
                                                   " is missing, which config.json asks for"));
  }
  return sources;
}

absl::Status CheckTiedHead(const ModelFolder& folder, const Source& head, std::span<const float> flat) {
  const ParameterSpec& embedding = *folder.layout.Find(kEmbedding);
  std::vector<float> values(static_cast<size_t>(embedding.numel));
  RETURN_IF_ERROR(head.file->ReadFloats(*head.tensor, values));
  const auto expected = flat.subspan(static_cast<size_t>(embedding.offset), values.size());
  if (std::equal(values.begin(), values.end(), expected.begin())) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(head.file->path(), ": ", kLmHead, " differs from ", kEmbedding,
                   ", but config.json says tie_word_embeddings; expected equal tensors or none"));
}

// The place of parameter `index`, with the padding behind it set to 0.
std::span<float> ValuesOf(const ParameterLayout& layout, size_t index, std::span<float> flat) {
  const ParameterSpec& spec = layout.specs[index];
  const bool last = index + 1 == layout.specs.size();
  const int64_t end = spec.offset + spec.numel, next = last ? layout.total_numel : layout.specs[index + 1].offset;
  std::ranges::fill(flat.subspan(static_cast<size_t>(end), static_cast<size_t>(next - end)), 0.0f);
  return flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel));
}

absl::StatusOr<std::string> ConfigWithDType(const std::string& path, StorageDType dtype) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(Json json, ParseStrictJson(text, path));
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, ": expected a JSON object"));
  const char* name = dtype == StorageDType::kFloat32 ? "float32" : "bfloat16";
  // transformers 5 writes "dtype" and reads both; earlier versions know "torch_dtype" alone.
  if (json.contains("dtype")) json["dtype"] = name;
  if (json.contains("torch_dtype") || !json.contains("dtype")) json["torch_dtype"] = name;
  return json.dump(2) + "\n";
}

absl::StatusOr<FileDigests> CopyFiles(const std::string& from, const std::string& to) {
  FileDigests copied;
  for (const char* name : kCopiedFiles) {
    if (!Exists(Join(from, name))) continue;
    ASSIGN_OR_RETURN(const std::string content, ReadFile(Join(from, name), kMaxTokenizerBytes));
    RETURN_IF_ERROR(WriteFileAtomic(Join(to, name), content));
    copied[name] = DigestOf(content);
  }
  return copied;
}

// Two uniform words make two normal values (Box and Muller); log never sees 0.
std::pair<double, double> NormalPair(uint32_t a, uint32_t b) {
  const double radius = std::sqrt(-2 * std::log((a + 0.5) * 0x1p-32));
  const double angle = 2 * std::numbers::pi * (b * 0x1p-32);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

void FillNormal(std::span<float> values, uint64_t seed, uint64_t parameter, double deviation) {
  for (size_t i = 0; i < values.size(); i += 4) {
    const PhiloxBlock block = TokenDraw(seed, parameter, 0, static_cast<uint32_t>(i / 4), DrawPurpose::kInitialisation);
    const auto [n0, n1] = NormalPair(block[0], block[1]);
    const auto [n2, n3] = NormalPair(block[2], block[3]);
    const double normals[4] = {n0, n1, n2, n3};
    for (size_t k = 0; k < 4 && i + k < values.size(); ++k) values[i + k] = static_cast<float>(deviation * normals[k]);
  }
}

absl::StatusOr<FileDigests> WriteWithTensors(const std::string& path, const ModelFolder& template_folder,
                                             std::span<const TensorToWrite> tensors, StorageDType dtype) {
  RETURN_IF_ERROR(MakeFolders(path));
  ASSIGN_OR_RETURN(const std::string config, ConfigWithDType(Join(template_folder.path, "config.json"), dtype));
  RETURN_IF_ERROR(WriteFileAtomic(Join(path, "config.json"), config));
  ASSIGN_OR_RETURN(FileDigests written, CopyFiles(template_folder.path, path));
  written["config.json"] = DigestOf(config);
  ASSIGN_OR_RETURN(written[kSingleFile], WriteSafetensors(Join(path, kSingleFile), tensors, dtype));
  RETURN_IF_ERROR(SyncPath(path));
  return written;
}

}  // namespace

absl::StatusOr<StorageDType> FolderDType(const std::string& path) {
  const std::string file = Join(path, "config.json");
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, size_t{1} << 20));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, file));
  for (const char* key : {"dtype", "torch_dtype"}) {
    ASSIGN_OR_RETURN(const JsonField dtype, JsonField(json, file).Member(key));
    if (!dtype.is_null()) return dtype.value() == "bfloat16" ? StorageDType::kBFloat16 : StorageDType::kFloat32;
  }
  return StorageDType::kFloat32;
}

bool HasWeights(const std::string& path) { return Exists(Join(path, kSingleFile)) || Exists(Join(path, kIndexFile)); }

absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& path_or_uri, WeightsExpected expected) {
  ASSIGN_OR_RETURN(const std::string path, LocalModelFolder(path_or_uri));
  const std::string config_path = Join(path, "config.json");
  ASSIGN_OR_RETURN(const std::string config_text, ReadFile(config_path, JsonLimits().max_bytes));
  std::string generation_text;
  if (const std::string file = Join(path, "generation_config.json"); Exists(file)) {
    ASSIGN_OR_RETURN(generation_text, ReadFile(file, JsonLimits().max_bytes));
  }
  ModelFolder folder;
  folder.path = path;
  ASSIGN_OR_RETURN(folder.config, ParseModelConfig(config_text, generation_text, config_path));
  folder.layout = MakeParameterLayout(folder.config);
  if (expected == WeightsExpected::kOptional && !HasWeights(path)) return folder;
  ASSIGN_OR_RETURN(const std::vector<SafetensorsFile> files, OpenShards(path));
  RETURN_IF_ERROR(MatchTensors(folder, files).status());
  return folder;
}

absl::Status CheckFinite(const ParameterSpec& spec, int64_t first, std::span<const float> values,
                         const std::string& source) {
  const std::optional<std::string> bad = FindNonFinite(values, first);
  if (!bad.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(source, ": tensor ", spec.name, " holds ", *bad));
}

absl::Status CheckFinite(const ParameterLayout& layout, std::span<const float> flat, const std::string& source) {
  for (const ParameterSpec& spec : layout.specs) {
    RETURN_IF_ERROR(
        CheckFinite(spec, 0, flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel)), source));
  }
  return absl::OkStatus();
}

absl::Status LoadParameters(const ModelFolder& folder, std::span<float> flat, ParameterDone done) {
  if (static_cast<int64_t>(flat.size()) != folder.layout.total_numel) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder.path, ": a buffer of ", flat.size(), " floats is given for ", folder.layout.total_numel));
  }
  ASSIGN_OR_RETURN(const std::vector<SafetensorsFile> files, OpenShards(folder.path));
  ASSIGN_OR_RETURN(const WeightSources sources, MatchTensors(folder, files));
  for (size_t i = 0; i < sources.parameters.size(); ++i) {
    const ParameterSpec& spec = folder.layout.specs[i];
    const Source& source = sources.parameters[i];
    const std::span<float> values = ValuesOf(folder.layout, i, flat);
    RETURN_IF_ERROR(source.file->ReadFloats(*source.tensor, values));
    RETURN_IF_ERROR(CheckFinite(spec, 0, values, folder.path));
    if (spec.name == kEmbedding && sources.lm_head.file != nullptr) {
      RETURN_IF_ERROR(CheckTiedHead(folder, sources.lm_head, flat));
    }
    done(spec);
  }
  return absl::OkStatus();
}

void InitialiseParameters(const ModelConfig& config, const ParameterLayout& layout, uint64_t seed,
                          std::span<float> flat, ParameterDone done) {
  constexpr double kDeviation = 0.02;
  const double residual = kDeviation / std::sqrt(2.0 * static_cast<double>(config.num_layers));
  for (size_t i = 0; i < layout.specs.size(); ++i) {
    const ParameterSpec& spec = layout.specs[i];
    const std::span<float> values = ValuesOf(layout, i, flat);
    if (absl::EndsWith(spec.name, "norm.weight")) {
      std::fill(values.begin(), values.end(), 1.0f);
    } else if (absl::EndsWith(spec.name, ".bias")) {
      std::fill(values.begin(), values.end(), 0.0f);
    } else {
      const bool into_residual =
          absl::EndsWith(spec.name, "o_proj.weight") || absl::EndsWith(spec.name, "down_proj.weight");
      FillNormal(values, seed, i, into_residual ? residual : kDeviation);
    }
    done(spec);
  }
}

absl::StatusOr<FileDigests> WriteModelFolder(const std::string& path, const ModelFolder& template_folder,
                                             std::span<const float> flat, StorageDType dtype) {
  if (static_cast<int64_t>(flat.size()) != template_folder.layout.total_numel) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a buffer of ", flat.size(), " floats is given for ", template_folder.layout.total_numel));
  }
  std::vector<TensorToWrite> tensors;
  for (const ParameterSpec& spec : template_folder.layout.specs) {
    tensors.push_back(
        {spec.name, spec.shape, flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel))});
  }
  return WriteWithTensors(path, template_folder, tensors, dtype);
}

absl::StatusOr<FileDigests> WriteModelFolder(const std::string& path, const ModelFolder& template_folder,
                                             std::span<const char> encoded, StorageDType dtype) {
  std::vector<TensorToWrite> tensors;
  size_t begin = 0;
  for (const ParameterSpec& spec : template_folder.layout.specs) {
    const size_t bytes = static_cast<size_t>(spec.numel * BytesPerElement(dtype));
    if (encoded.size() - begin < bytes) break;
    tensors.push_back({spec.name, spec.shape, {}, encoded.subspan(begin, bytes)});
    begin += bytes;
  }
  if (tensors.size() != template_folder.layout.specs.size() || begin != encoded.size()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", encoded.size(),
                                                   " bytes of weights do not fit the model's ",
                                                   template_folder.layout.specs.size(), " tensors"));
  }
  return WriteWithTensors(path, template_folder, tensors, dtype);
}

}  // namespace tactus
