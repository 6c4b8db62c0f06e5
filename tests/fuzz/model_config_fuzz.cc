// config.json and, after a NUL, generation_config.json. What is accepted has a layout whose sizes add up.
#include "common/model/folder/model_config.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {

void FuzzModelConfigFiles(absl::string_view input) {
  const auto [config_json, generation_json] = SplitAtNul(input);
  const absl::StatusOr<ModelConfig> config = ParseModelConfig(config_json, generation_json, "config.json");
  if (!config.ok()) return;
  Require(config->num_heads % config->num_kv_heads == 0 && config->head_dim % 16 == 0, "the kernels' sizes hold");
  for (const int32_t eos : config->eos_token_ids) Require(eos >= 0 && eos < config->vocab_size, "an eos id is a token");
  int64_t end = 0;
  for (const ParameterSpec& spec : MakeParameterLayout(*config).specs) {
    Require(spec.numel > 0 && spec.offset >= end, "parameters do not overlap");
    end = spec.offset + spec.numel;
  }
}

}  // namespace tactus::fuzz
