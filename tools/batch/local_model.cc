#include "tools/batch/local_model.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/load_engine.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/config/run_config.h"
#include "common/ops/cpu/parallel.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

// "dtype", as newer versions of transformers write it, or "torch_dtype". Neither = float32.
absl::StatusOr<StorageDType> FolderDtype(const std::string& path) {
  const std::string file = path + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, size_t{1} << 20));
  ASSIGN_OR_RETURN(const auto json, ParseStrictJson(text, file));
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto it = json.find(key);
    if (it != json.end() && it->is_string()) {
      return it->template get<std::string>() == "bfloat16" ? StorageDType::kBFloat16 : StorageDType::kFloat32;
    }
  }
  return StorageDType::kFloat32;
}

absl::StatusOr<StorageDType> ReadDtype(const std::string& text, const std::string& path) {
  if (text == "auto") return FolderDtype(path);
  if (text == "float32") return StorageDType::kFloat32;
  if (text == "bfloat16") return StorageDType::kBFloat16;
  return absl::InvalidArgumentError(
      absl::StrCat("--dtype cannot be \"", text, "\": expected auto, float32 or bfloat16."));
}

}  // namespace

absl::StatusOr<LocalModel> OpenLocalModel(const Flags& flags) {
  const int threads = static_cast<int>(flags.Int("threads"));
  ops::SetThreads(threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  LocalModel model;
  ASSIGN_OR_RETURN(model.folder, OpenModelFolder(flags.Text("model")));
  ASSIGN_OR_RETURN(model.dtype, ReadDtype(flags.Text("dtype"), flags.Text("model")));
  return model;
}

absl::StatusOr<std::unique_ptr<Engine>> OpenLocalEngine(const Flags& flags, const LocalModel& model, int batch,
                                                        int64_t max_sequence_tokens, ops::AttentionProbe probe) {
  EngineSetup setup;
  setup.engine.probe = std::move(probe);
  setup.weights_dtype = model.dtype;
  setup.engine.max_sequences = batch;
  setup.kv_cache_mib = flags.Int("kv-cache-mib");
  setup.max_sequence_tokens = max_sequence_tokens;
  return LoadEngine(model.folder, setup);
}

absl::StatusOr<CreditAssigner> DefaultCredit(const std::vector<std::string>& overrides) {
  constexpr char kText[] = "model { path: 'unused' } task { name: 'countdown' } service { plaintext: true }";
  ASSIGN_OR_RETURN(const config::RunConfig run, config::ParseRunConfig(kText, "defaults", overrides));
  return CreditAssigner::FromProto(run.credit());
}

}  // namespace tactus
