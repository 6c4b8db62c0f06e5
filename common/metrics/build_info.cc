#include "common/metrics/build_info.h"

#include "absl/strings/str_cat.h"

namespace tactus {

const BuildInfo& ThisBuild() {
  static constexpr BuildInfo kBuild = {TACTUS_VERSION,      TACTUS_COMMIT,       TACTUS_TORCH_VERSION,
                                       TACTUS_CUDA_VERSION, TACTUS_NCCL_VERSION, TACTUS_GPU_TARGETS};
  return kBuild;
}

std::string VersionText(absl::string_view program, const BuildInfo& build, const GpuList& gpus) {
  std::string text = absl::StrCat(program, " ", build.version, " (", build.commit, "), torch ", build.torch);
  if (*build.gpu_targets == '\0') return absl::StrCat(text, ", for CPUs only\n");
  absl::StrAppend(&text, ", CUDA ", build.cuda, ", NCCL ", build.nccl, ", for ", build.gpu_targets, "\n");
  if (gpus.gpus.empty()) absl::StrAppend(&text, "Runs on the CPU, as ", gpus.why_none, ".\n");
  for (const GpuInfo& gpu : gpus.gpus) absl::StrAppend(&text, "cuda:", gpu.index, ": ", GpuText(gpu), "\n");
  return text;
}

}  // namespace tactus
