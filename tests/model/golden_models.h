// The tiny models under tests/goldens/models, made by scripts/goldens/make_tiny_models.py. Suites are instantiated over
// what lies there, so a new family's folder is run by all of them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/base/dtype.h"
#include "common/model/folder/families/family.h"
#include "tests/tree.h"

namespace tactus {

struct GoldenModel {
  std::string name;    // of the folder
  StorageDType dtype;  // of the weights in it
};

inline std::string GoldenModelPath(const std::string& name) { return SourcePath("tests/goldens/models/") + name; }

// Folders that transformers reads and we must not, and what the refusal says.
inline const std::map<std::string, std::string>& RefusedGoldenModels() {
  static const auto* const refused = new std::map<std::string, std::string>{
      {"llama_bias", "attention_bias is true"},
  };
  return *refused;
}

// Every other folder, by name.
inline std::vector<GoldenModel> GoldenModels() {
  std::vector<GoldenModel> models;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenModelPath(""))) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() || RefusedGoldenModels().contains(name)) continue;
    models.push_back({name, absl::EndsWith(name, "_bf16") ? StorageDType::kBFloat16 : StorageDType::kFloat32});
  }
  std::ranges::sort(models, {}, &GoldenModel::name);
  return models;
}

// One folder for each family, which is named after it.
inline std::vector<std::string> FamilyModels() {
  std::vector<std::string> names;
  for (const ModelFamily* family : kModelFamilies) names.emplace_back(family->model_type);
  return names;
}

}  // namespace tactus
