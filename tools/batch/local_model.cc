#include "tools/batch/local_model.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/load_engine.h"
#include "common/base/status_macros.h"
#include "common/device/host_limits.h"
#include "common/ops/cpu/parallel.h"
#include "common/tokenizer/chat/chat_facts.h"

namespace tactus {
namespace {

absl::StatusOr<StorageDType> ReadDtype(const std::string& text, const std::string& path) {
  if (text == "auto") return FolderDType(path);
  return text == "bfloat16" ? StorageDType::kBFloat16 : StorageDType::kFloat32;
}

}  // namespace

absl::StatusOr<LocalModel> OpenLocalModel(const ModelFlags& flags) {
  ops::SetThreads(flags.threads > 0 ? flags.threads : OwnHostLimits().cpus);
  LocalModel model;
  ASSIGN_OR_RETURN(model.folder, OpenModelFolder(flags.model));
  ASSIGN_OR_RETURN(model.dtype, ReadDtype(flags.dtype, model.folder.path));
  return model;
}

absl::StatusOr<std::vector<TokenId>> StopTokens(const ModelFolder& folder, const Tokenizer& tokenizer,
                                                const ChatTemplate* chat) {
  ASSIGN_OR_RETURN(ChatFacts facts,
                   FindChatFacts(folder.path, tokenizer, chat, folder.config.eos_token_ids, folder.config.vocab_size));
  for (const std::string& remark : facts.remarks) std::fprintf(stderr, "warning: %s.\n", remark.c_str());
  return std::move(facts.stop_ids);
}

absl::StatusOr<std::unique_ptr<Engine>> OpenLocalEngine(const ModelFlags& flags, const LocalModel& model, int batch,
                                                        int64_t max_sequence_tokens, ops::AttentionProbe probe) {
  EngineSetup setup;
  setup.engine.probe = std::move(probe);
  setup.weights_dtype = model.dtype;
  setup.engine.max_sequences = batch;
  setup.kv_cache_mib = flags.kv_cache_mib;
  setup.max_sequence_tokens = max_sequence_tokens;
  return LoadEngine(model.folder, setup);
}

}  // namespace tactus
