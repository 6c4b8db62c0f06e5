#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/model/folder/hf_folder.h"
#include "tools/command.h"

namespace tactus {
namespace {

struct AverageFlags {
  std::vector<std::string> models;
  std::string out;

  void Declare(CLI::App& app) {
    AddArgument(app, models, "the checkpoints or model folders");
    AddRequired(app, "--out DIR", out, "the model folder to write, made new");
  }
};

std::string ShapeText(const ParameterSpec& spec) { return absl::StrCat("[", absl::StrJoin(spec.shape, ", "), "]"); }

absl::Status CheckSameShapes(const ModelFolder& first, const ModelFolder& other) {
  for (const ParameterSpec& spec : first.layout.specs) {
    const ParameterSpec* same = other.layout.Find(spec.name);
    if (same == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(other.path, " has no tensor ", spec.name, ", which ", first.path, " has."));
    }
    if (same->shape != spec.shape) {
      return absl::InvalidArgumentError(absl::StrCat(other.path, ": tensor ", spec.name, " has shape ",
                                                     ShapeText(*same), ", expected ", ShapeText(spec), ", as in ",
                                                     first.path, "."));
    }
  }
  for (const ParameterSpec& spec : other.layout.specs) {
    if (first.layout.Find(spec.name) != nullptr) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(first.path, " has no tensor ", spec.name, ", which ", other.path, " has."));
  }
  return absl::OkStatus();
}

// The mean of each element, summed in double.
absl::StatusOr<std::vector<float>> MeanOf(const std::vector<ModelFolder>& folders) {
  const size_t size = static_cast<size_t>(folders.front().layout.total_numel);
  std::vector<double> sum(size);
  std::vector<float> one(size);
  for (const ModelFolder& folder : folders) {
    RETURN_IF_ERROR(LoadParameters(folder, one));
    for (size_t i = 0; i < size; ++i) sum[i] += double{one[i]};
  }
  for (size_t i = 0; i < size; ++i) one[i] = static_cast<float>(sum[i] / static_cast<double>(folders.size()));
  return one;
}

absl::Status Run(const AverageFlags& flags) {
  if (flags.models.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at least two checkpoints or model folders, got ", flags.models.size(), "."));
  }
  if (IsTaken(flags.out)) return absl::AlreadyExistsError(absl::StrCat("--out ", flags.out, " exists already."));
  std::vector<ModelFolder> folders;
  for (const std::string& path : flags.models) {
    ASSIGN_OR_RETURN(folders.emplace_back(), OpenModelFolder(path));
    RETURN_IF_ERROR(CheckSameShapes(folders.front(), folders.back()));
  }
  ASSIGN_OR_RETURN(const StorageDType dtype, FolderDType(folders.front().path));
  ASSIGN_OR_RETURN(const std::vector<float> mean, MeanOf(folders));
  const std::string aside = absl::StrCat(flags.out, ".tmp");
  RETURN_IF_ERROR(WriteModelFolder(aside, folders.front(), mean, dtype).status());
  RETURN_IF_ERROR(PublishFolder(aside, flags.out));
  std::printf("%s\n", flags.out.c_str());
  return absl::OkStatus();
}

}  // namespace

constinit const Command kAverageCommand = {
    .name = "average",
    .summary = "Writes the mean of checkpoints as a model folder",
    .synopsis = "A B ... --out DIR",
    .example =
        "tactus average runs/quickstart-20260101-120000/checkpoints/step-000150 models/quickstart --out runs/mean",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
