// The flags of every command that runs a model on this machine, and what they open. Blocking reads; not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/engine.h"
#include "common/config/flags.h"
#include "common/model/folder/hf_folder.h"
#include "common/tasks/held_out_prompts.h"
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

struct ModelFlags {
  std::string model, dtype = "auto";
  int threads = 0;
  int64_t kv_cache_mib = 1024;

  void Declare(CLI::App& app) {
    AddRequired(app, "--model DIR", model, "a Hugging Face model folder");
    AddChoice(app, "--dtype TYPE", dtype, "float32, bfloat16, or auto: what config.json says",
              {"auto", "float32", "bfloat16"});
    AddFlag(app, "--threads N", threads, "CPU threads; 0 = all cores", 0, 4096);
    AddFlag(app, "--kv-cache-mib N", kv_cache_mib, "memory of the key/value cache", 1, 16e6);
  }
};

// How many answers are drawn, and how.
struct DrawFlags {
  int samples = 1, batch = 32;
  uint64_t seed = kHeldOutSeed;

  void Declare(CLI::App& app) {
    AddFlag(app, "--samples K", samples, "answers per prompt", 1, 4096);
    AddFlag(app, "--seed S", seed, "keys the draws", 0, 9e15);
    DeclareBatch(app);
  }
  void DeclareBatch(CLI::App& app) { AddFlag(app, "--batch B", batch, "sequences computed at once", 1, 65536); }
};

struct LocalModel {
  ModelFolder folder;
  StorageDType dtype = StorageDType::kFloat32;
};

// Opens --model with --dtype and applies --threads to the process. InvalidArgument or NotFound names file and field.
absl::StatusOr<LocalModel> OpenLocalModel(const ModelFlags& flags);

// The ids that end an answer (chat_facts.h), and on standard error a warning for what the folder's files disagree
// about. `chat` is null where there is no template.
absl::StatusOr<std::vector<TokenId>> StopTokens(const ModelFolder& folder, const Tokenizer& tokenizer,
                                                const ChatTemplate* chat);

// The engine of --kv-cache-mib for `batch` sequences of at most max_sequence_tokens (0 = the model's longest). probe:
// what of the attention it can measure.
absl::StatusOr<std::unique_ptr<Engine>> OpenLocalEngine(const ModelFlags& flags, const LocalModel& model, int batch,
                                                        int64_t max_sequence_tokens, ops::AttentionProbe probe = {});

}  // namespace tactus
