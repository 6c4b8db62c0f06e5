#include "tools/job/run_inputs.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/environment/open_task.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/sequence_fit.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/rhythm.h"
#include "common/storage/storage_uri.h"
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
  if (!IsUri(path) && !IsFolder(path)) {
    return absl::NotFoundError(
        absl::StrCat("model.path is \"", path, "\": expected a model folder, seen from the working directory."));
  }
  ASSIGN_OR_RETURN(const ModelFolder model, OpenModelFolder(path));
  RETURN_IF_ERROR(CheckSequenceFits(run, model.config));
  RETURN_IF_ERROR(CheckCredit(run.credit(), model.config));
  const absl::Status environment = ProbeEnvironment(run);
  if (!absl::IsUnavailable(environment) && !absl::IsDeadlineExceeded(environment)) RETURN_IF_ERROR(environment);
  // What a server that is away would say of its prompts is told when it is there.
  const bool readable = environment.ok() || run.task().name() != "environment";
  if (readable) RETURN_IF_ERROR(PromptSource::Create(run, model.config.vocab_size).status());
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptEncoder> encoder, PromptEncoder::Create(run.model()));
  ASSIGN_OR_RETURN(ChatFacts facts, FindChatFacts(model.path, encoder->tokenizer(), &encoder->chat(),
                                                  model.config.eos_token_ids, model.config.vocab_size));
  if (!environment.ok()) {
    facts.remarks.push_back(absl::StrCat("environment.address: ", environment.message(),
                                         readable ? "" : "; its prompts were not checked",
                                         "; a run waits until it answers"));
  }
  return std::move(facts.remarks);
}

}  // namespace tactus
