#include "learner/checkpoint/optimizer_files.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/folder/safetensors.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

// The three tensors of a parameter, in the order of TrainTensors.
constexpr const char* kKinds[] = {"master.", "exp_avg.", "exp_avg_sq."};
constexpr size_t kNumKinds = std::size(kKinds);
constexpr char kStem[] = "optimizer", kSuffix[] = ".safetensors";
constexpr char kWritten[] = "written", kFailed[] = "failed";  // the first words of a note
constexpr size_t kMaxNoteBytes = size_t{1} << 16;

std::string NotePath(const std::string& folder, int rank, int world) {
  return absl::StrCat(folder, "/", OptimizerFile(rank, world), ".note");
}

// Elements [begin, end) of a parameter, and where they stand when the ranges stand end to end.
struct Part {
  const ParameterSpec* spec = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
  size_t place = 0;

  size_t size() const { return static_cast<size_t>(end - begin); }
  bool whole() const { return begin == 0 && end == spec->numel; }
  std::string Name(const char* kind) const {
    return whole() ? absl::StrCat(kind, spec->name) : absl::StrCat(kind, spec->name, "[", begin, ":", end, "]");
  }
};

// What of [first, last) of a parameter is in the ranges.
void ForParts(const ParameterSpec& spec, int64_t first, int64_t last, std::span<const FlatRange> ranges,
              absl::FunctionRef<void(const Part&)> visit) {
  int64_t place = 0;  // of the range's begin
  for (const FlatRange& range : ranges) {
    const int64_t begin = std::max(range.begin - spec.offset, first), end = std::min(range.end - spec.offset, last);
    if (begin < end) visit({&spec, begin, end, static_cast<size_t>(place + spec.offset + begin - range.begin)});
    place += range.size();
  }
}

std::vector<Part> PartsOf(const ParameterLayout& layout, std::span<const FlatRange> ranges) {
  std::vector<Part> parts;
  for (const ParameterSpec& spec : layout.specs) {
    ForParts(spec, 0, spec.numel, ranges, [&](const Part& part) { parts.push_back(part); });
  }
  return parts;
}

// A tensor as a file has it.
struct Stored {
  const SafetensorsFile* file = nullptr;
  const TensorInfo* tensor = nullptr;
  int64_t begin = 0;  // of the parameter's elements
  int64_t end = 0;
};
using Found = std::map<std::string, std::vector<Stored>>;  // by kind and parameter

absl::StatusOr<std::vector<SafetensorsFile>> OpenFiles(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (absl::StartsWith(name, kStem) && absl::EndsWith(name, kSuffix)) paths.push_back(it->path().string());
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot list ", folder));
  std::ranges::sort(paths);
  std::vector<SafetensorsFile> files;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
    files.push_back(std::move(file));
  }
  return files;
}

// "NAME[begin:end]" is a part of NAME, of which `stored` says which; anything else is NAME itself.
std::string ParameterOf(const TensorInfo& tensor, Stored& stored) {
  stored.begin = 0;
  stored.end = tensor.numel;
  absl::string_view text = tensor.name;
  const size_t bracket = text.rfind('['), colon = text.rfind(':');
  if (bracket == absl::string_view::npos || colon == absl::string_view::npos || colon < bracket) return tensor.name;
  absl::string_view last = text.substr(colon + 1);
  int64_t begin = 0, end = 0;
  if (!absl::ConsumeSuffix(&last, "]") || !absl::SimpleAtoi(text.substr(bracket + 1, colon - bracket - 1), &begin) ||
      !absl::SimpleAtoi(last, &end)) {
    return tensor.name;
  }
  stored.begin = begin;
  stored.end = end;
  return std::string(text.substr(0, bracket));
}

Found FindTensors(std::span<const SafetensorsFile> files) {
  Found found;
  for (const SafetensorsFile& file : files) {
    for (const TensorInfo& tensor : file.tensors()) {
      Stored stored{.file = &file, .tensor = &tensor};
      found[ParameterOf(tensor, stored)].push_back(stored);
    }
  }
  return found;
}

// Whether they are each element of the parameter once; sorts them.
bool Covers(const ParameterSpec& spec, std::vector<Stored>& stored) {
  std::ranges::sort(stored, {}, &Stored::begin);
  int64_t end = 0;
  for (const Stored& part : stored) {
    const bool whole = part.begin == 0 && part.end == spec.numel;
    const bool shaped = part.tensor->shape == spec.shape || (!whole && part.tensor->shape.size() == 1);
    if (part.begin != end || part.end - part.begin != part.tensor->numel || !shaped ||
        part.tensor->dtype != TensorDType::kF32) {
      return false;
    }
    end = part.end;
  }
  return end == spec.numel;
}

}  // namespace

std::string OptimizerFile(int rank, int world) {
  return absl::StrCat(kStem, world == 1 ? "" : absl::StrFormat("-%05d-of-%05d", rank + 1, world), kSuffix);
}

absl::StatusOr<FileDigest> WriteOptimizerFile(const std::string& folder, int rank, int world,
                                              const ParameterLayout& layout, const TrainTensors& tensors) {
  const size_t numel = static_cast<size_t>(NumelOf(tensors.ranges));
  const std::string path = absl::StrCat(folder, "/", OptimizerFile(rank, world));
  const std::vector<Part> parts = PartsOf(layout, tensors.ranges);
  const std::span<const float> buffers[] = {tensors.master, tensors.first_moment, tensors.second_moment};
  std::vector<TensorToWrite> list;
  for (size_t kind = 0; kind < kNumKinds; ++kind) {
    if (buffers[kind].size() != numel) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": a buffer of ", buffers[kind].size(), " floats is given for ", numel));
    }
    for (const Part& part : parts) {
      const std::span<const float> values = buffers[kind].subspan(part.place, part.size());
      RETURN_IF_ERROR(CheckFinite(*part.spec, part.begin, values, absl::StrCat("checkpoint (", kKinds[kind], "*)")));
      const std::vector<int64_t> flat_shape = {part.end - part.begin};
      list.push_back({part.Name(kKinds[kind]), part.whole() ? part.spec->shape : flat_shape, values});
    }
  }
  return WriteSafetensors(path, list, StorageDType::kFloat32);
}

absl::Status NoteOptimizerFile(const std::string& folder, int rank, int world,
                               const absl::StatusOr<FileDigest>& written) {
  const std::string note = written.ok() ? absl::StrCat(kWritten, " ", written->bytes, " ", written->sha256_hex)
                                        : absl::StrCat(kFailed, " ", static_cast<int>(written.status().code()), " ",
                                                       written.status().message());
  return WriteFileAtomic(NotePath(folder, rank, world), note);
}

absl::StatusOr<FileDigest> TakeOptimizerNote(const std::string& folder, int rank, int world) {
  const std::string path = NotePath(folder, rank, world);
  ASSIGN_OR_RETURN(const std::string note, ReadFile(path, kMaxNoteBytes));
  ::unlink(path.c_str());
  const std::vector<std::string> words = absl::StrSplit(note, absl::MaxSplits(' ', 2));
  FileDigest digest;
  int code = 0;
  if (words.size() == 3 && words[0] == kWritten && absl::SimpleAtoi(words[1], &digest.bytes)) {
    digest.sha256_hex = words[2];
    return digest;
  }
  if (words.size() == 3 && words[0] == kFailed && absl::SimpleAtoi(words[1], &code)) {
    return absl::Status(static_cast<absl::StatusCode>(code),
                        absl::StrCat("rank ", rank, " could not write its share of the checkpoint: ", words[2]));
  }
  return absl::InternalError(absl::StrCat(path, " is no note of a rank"));
}

absl::StatusOr<std::array<std::vector<float>, 3>> ReadOptimizerFiles(const std::string& folder,
                                                                     const ParameterLayout& layout,
                                                                     std::span<const FlatRange> ranges) {
  ASSIGN_OR_RETURN(const std::vector<SafetensorsFile> files, OpenFiles(folder));
  Found found = FindTensors(files);
  if (found.size() != kNumKinds * layout.specs.size()) {
    return absl::InvalidArgumentError(absl::StrCat(folder, " has masters and moments of ", found.size(),
                                                   " tensors; this model needs ", kNumKinds * layout.specs.size()));
  }
  std::array<std::vector<float>, kNumKinds> out;
  for (size_t kind = 0; kind < kNumKinds; ++kind) {
    out[kind].assign(static_cast<size_t>(NumelOf(ranges)), 0.0f);
    for (const ParameterSpec& spec : layout.specs) {
      const std::string name = absl::StrCat(kKinds[kind], spec.name);
      const auto stored = found.find(name);
      if (stored == found.end() || !Covers(spec, stored->second)) {
        return absl::InvalidArgumentError(
            absl::StrCat(folder, ": tensor ", name, " is missing, not F32 or of another shape"));
      }
      absl::Status status;
      for (const Stored& source : stored->second) {
        ForParts(spec, source.begin, source.end, ranges, [&](const Part& part) {
          const std::span<float> to = std::span(out[kind]).subspan(part.place, part.size());
          status.Update(source.file->ReadFloats(*source.tensor, part.begin - source.begin, to));
          status.Update(CheckFinite(spec, part.begin, to, absl::StrCat(folder, " (", kKinds[kind], "*)")));
        });
      }
      RETURN_IF_ERROR(status);
    }
  }
  return out;
}

}  // namespace tactus
