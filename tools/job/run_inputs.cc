#include "tools/job/run_inputs.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/sequence_fit.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/rhythm.h"
#include "common/tokenizer/chat/chat_facts.h"
#include "learner/prompt_source.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

absl::Status CheckCredit(const config::CreditOptions& options, const ModelConfig& model) {
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(options));
  if (credit.MeasuresAttention()) return credit.Probe(model.num_layers, model.num_heads).status();
  const std::vector<int32_t> layers(options.layers().begin(), options.layers().end());
  return RhythmLayers(layers, model.num_layers).status();  // the records name them even so
}

}  // namespace

absl::StatusOr<std::vector<std::string>> CheckRunInputs(const config::RunConfig& run) {
  const std::string& path = run.model().path();
  if (!IsFolder(path)) {
    return absl::NotFoundError(
        absl::StrCat("model.path is \"", path, "\": expected a model folder, seen from the working directory."));
  }
  ASSIGN_OR_RETURN(const ModelFolder model, OpenModelFolder(path));
  RETURN_IF_ERROR(CheckSequenceFits(run, model.config));
  RETURN_IF_ERROR(CheckCredit(run.credit(), model.config));
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptSource> source, PromptSource::Create(run, model.config.vocab_size));
  const PromptEncoder& encoder = source->encoder();
  ASSIGN_OR_RETURN(ChatFacts facts, FindChatFacts(path, encoder.tokenizer(), &encoder.chat(),
                                                  model.config.eos_token_ids, model.config.vocab_size));
  return std::move(facts.remarks);
}

}  // namespace tactus
