#include "common/model/folder/model_config.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/model/folder/families/family.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

// Generous for every published dense decoder, and small enough that no product below leaves int64:
// vocab * hidden <= 2^39, hidden * intermediate * layers <= 2^47.
constexpr int64_t kMaxVocab = int64_t{1} << 22;
constexpr int64_t kMaxHidden = int64_t{1} << 17;
constexpr int64_t kMaxIntermediate = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxPosition = int64_t{1} << 28;
constexpr int64_t kMaxParameters = int64_t{1} << 38;
constexpr size_t kMaxEosIds = 64;
constexpr int64_t kOffsetMultiple = 16;  // floats: a cache line

absl::StatusOr<const ModelFamily*> ParseFamily(const ConfigFields& fields) {
  ASSIGN_OR_RETURN(const std::string type, fields.String("model_type", ""));
  std::vector<absl::string_view> known;
  for (const ModelFamily* family : kModelFamilies) {
    if (type == family->model_type) return family;
    known.push_back(family->model_type);
  }
  return fields.Error("model_type", absl::StrCat("is \"", type, "\"; expected one of ", absl::StrJoin(known, ", ")));
}

// The value is the family's, or 0, where config.json gives none.
absl::Status ParseHeadDim(const ConfigFields& fields, ModelConfig& config) {
  if (fields.Get("head_dim") != nullptr) {
    ASSIGN_OR_RETURN(config.head_dim, fields.Int("head_dim", 1, kMaxHeadDim));
  } else if (config.head_dim == 0 && config.hidden_size % config.num_heads != 0) {
    return fields.Error("hidden_size", absl::StrCat("is ", config.hidden_size, "; expected a multiple of the ",
                                                    config.num_heads, " attention heads, as no head_dim is given"));
  } else if (config.head_dim == 0) {
    config.head_dim = config.hidden_size / config.num_heads;
  }
  if (config.head_dim % 16 != 0 || config.head_dim > kMaxHeadDim) {
    return fields.Error("head_dim", absl::StrCat("is ", config.head_dim, "; expected a multiple of 16 up to ",
                                                 kMaxHeadDim, ", as the attention kernels need"));
  }
  return absl::OkStatus();
}

// `config` enters as the family's base, and what is in it stays where the file is silent.
absl::Status ParseSizes(const ConfigFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.vocab_size, fields.Int("vocab_size", 1, kMaxVocab));
  ASSIGN_OR_RETURN(config.hidden_size, fields.Int("hidden_size", 1, kMaxHidden));
  ASSIGN_OR_RETURN(config.intermediate_size, fields.Int("intermediate_size", 1, kMaxIntermediate));
  ASSIGN_OR_RETURN(config.num_layers, fields.Int("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config.num_heads, fields.Int("num_attention_heads", 1, kMaxHeads));
  // null is not silence: it means one for each query head.
  if (fields.Has("num_key_value_heads") || config.num_kv_heads == 0) config.num_kv_heads = config.num_heads;
  ASSIGN_OR_RETURN(config.num_kv_heads, fields.Int("num_key_value_heads", 1, kMaxHeads, config.num_kv_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    return fields.Error("num_key_value_heads", absl::StrCat("is ", config.num_kv_heads, "; expected a divisor of the ",
                                                            config.num_heads, " attention heads"));
  }
  RETURN_IF_ERROR(ParseHeadDim(fields, config));
  ASSIGN_OR_RETURN(config.max_position, fields.Int("max_position_embeddings", 1, kMaxPosition, config.max_position));
  ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Positive("rms_norm_eps", 1.0, config.rms_norm_eps));
  ASSIGN_OR_RETURN(config.tie_word_embeddings, fields.Bool("tie_word_embeddings", false));
  return absl::OkStatus();
}

// True when some layer looks at a window of the past only. `layer_types` decides where it is given, as in transformers.
absl::StatusOr<bool> SlidingWindowInUse(const ConfigFields& fields, const ModelConfig& config) {
  if (const Json* types = fields.Get("layer_types"); types != nullptr) {
    if (!types->is_array()) return fields.Error("layer_types", "is not a list");
    for (const Json& type : *types) {
      if (type != "full_attention") return true;
    }
    return false;
  }
  ASSIGN_OR_RETURN(const bool used, fields.Bool("use_sliding_window", false));
  if (!used || fields.Get("sliding_window") == nullptr) return false;
  ASSIGN_OR_RETURN(const int64_t first, fields.Int("max_window_layers", 0, int64_t{1} << 20, 28));
  return first < config.num_layers;
}

// Refuses what the decoder does not compute: a model read wrongly would train without any error in sight.
absl::Status RefuseUnsupported(const ConfigFields& fields, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const bool sliding, SlidingWindowInUse(fields, config));
  if (sliding) return fields.Error("use_sliding_window", "asks for sliding-window attention; expected full attention");
  ASSIGN_OR_RETURN(const std::string activation, fields.String("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return fields.Error("hidden_act", absl::StrCat("is \"", activation, "\"; expected silu"));
  }
  ASSIGN_OR_RETURN(const bool mlp_bias, fields.Bool("mlp_bias", false));
  if (mlp_bias) return fields.Error("mlp_bias", "is true; expected no bias in the MLP");
  ASSIGN_OR_RETURN(const bool attention_bias, fields.Bool("attention_bias", false));
  if (attention_bias && !config.qkv_bias) {
    return fields.Error("attention_bias", "is true, which puts a bias on o_proj; expected none");
  }
  for (const char* experts : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    ASSIGN_OR_RETURN(const int64_t count, fields.Int(experts, 0, int64_t{1} << 30, 0));
    if (count > 0) return fields.Error(experts, "asks for a mixture of experts; expected a dense model");
  }
  if (fields.Get("quantization_config") != nullptr) {
    return fields.Error("quantization_config", "is given; expected weights in F32, BF16 or F16");
  }
  return absl::OkStatus();
}

// `rope` holds rope_type (older files: "type") and, for llama3, its four numbers.
absl::Status ParseScaling(const ConfigFields& rope, ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string old_type, rope.String("type", "default"));
  ASSIGN_OR_RETURN(const std::string type, rope.String("rope_type", old_type.c_str()));
  ASSIGN_OR_RETURN(const double partial, rope.Positive("partial_rotary_factor", 1e3, 1.0));
  if (partial != 1.0) return rope.Error("partial_rotary_factor", "is not 1; expected rotation of whole heads");
  ASSIGN_OR_RETURN(config.rope_theta, rope.Positive("rope_theta", 1e12, config.rope_theta));
  if (type == "default") return absl::OkStatus();
  if (type != "llama3") {
    return rope.Error("rope_type", absl::StrCat("is \"", type.substr(0, 40), "\"; expected default or llama3"));
  }
  RopeScaling& scaling = config.rope_scaling;
  scaling.kind = RopeScaling::Kind::kLlama3;
  for (const char* needed : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    if (rope.Get(needed) == nullptr) return rope.Error(needed, "is missing, which rope_type llama3 needs");
  }
  ASSIGN_OR_RETURN(scaling.factor, rope.Positive("factor", 1e6, 1));
  ASSIGN_OR_RETURN(scaling.low_freq_factor, rope.Positive("low_freq_factor", 1e6, 1));
  ASSIGN_OR_RETURN(scaling.high_freq_factor, rope.Positive("high_freq_factor", 1e6, 1));
  ASSIGN_OR_RETURN(scaling.original_max_position, rope.Int("original_max_position_embeddings", 1, kMaxPosition));
  if (scaling.factor < 1) return rope.Error("factor", "is below 1; expected at least 1");
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    return rope.Error("high_freq_factor", "is not above low_freq_factor");
  }
  return absl::OkStatus();
}

// Up to transformers 4: rope_theta and rope_scaling; from 5 on: rope_parameters with both inside.
absl::Status ParseRope(const ConfigFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.rope_theta, fields.Positive("rope_theta", 1e12, config.rope_theta));
  ASSIGN_OR_RETURN(const double partial, fields.Positive("partial_rotary_factor", 1e3, 1.0));
  if (partial != 1.0) return fields.Error("partial_rotary_factor", "is not 1; expected rotation of whole heads");
  const Json* parameters = fields.Get("rope_parameters");
  const Json* scaling = fields.Get("rope_scaling");
  if (parameters != nullptr && scaling != nullptr && *parameters != *scaling) {
    return fields.Error("rope_scaling", "and rope_parameters are both given and differ; expected one of them");
  }
  const char* name = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  const Json* rope = parameters != nullptr ? parameters : scaling;
  if (rope == nullptr) return absl::OkStatus();
  if (!rope->is_object()) return fields.Error(name, "is not an object");
  for (const auto& [key, value] : rope->items()) {
    if (value.is_object()) return fields.Error(name, "holds one rotation per layer type; expected a single one");
  }
  return ParseScaling(ConfigFields(*rope, absl::StrCat(fields.source(), ": ", name)), config);
}

// An integer or a list of them. Leaves `ids` alone when the field is absent.
absl::Status ParseEos(const ConfigFields& fields, int64_t vocab_size, std::vector<int32_t>& ids) {
  const Json* value = fields.Get("eos_token_id");
  if (value == nullptr) return absl::OkStatus();
  const Json list = value->is_array() ? *value : Json::array({*value});
  if (list.size() > kMaxEosIds) return fields.Error("eos_token_id", absl::StrCat("has more than ", kMaxEosIds, " ids"));
  std::vector<int32_t> found;
  for (const Json& item : list) {
    const int64_t id = item.is_number_integer() ? item.get<int64_t>() : -1;
    if (id < 0 || id >= vocab_size) {
      return fields.Error("eos_token_id", absl::StrCat("holds ", ConfigFields::Short(item),
                                                       "; expected token ids below vocab_size ", vocab_size));
    }
    found.push_back(static_cast<int32_t>(id));
  }
  ids = std::move(found);
  return absl::OkStatus();
}

absl::StatusOr<Json> ParseObject(const std::string& text, const std::string& source) {
  ASSIGN_OR_RETURN(Json json, ParseStrictJson(text, source));
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(source, ": expected a JSON object"));
  return json;
}

// Appends specs one after the other, each starting at the next multiple of 16 floats.
class LayoutBuilder {
 public:
  void Add(std::string name, std::vector<int64_t> shape) {
    ParameterSpec spec;
    spec.name = std::move(name);
    spec.numel = 1;
    for (const int64_t extent : shape) spec.numel *= extent;
    spec.shape = std::move(shape);
    spec.offset = layout_.total_numel;
    layout_.total_numel += (spec.numel + kOffsetMultiple - 1) / kOffsetMultiple * kOffsetMultiple;
    layout_.specs.push_back(std::move(spec));
  }
  ParameterLayout Take() { return std::move(layout_); }

 private:
  ParameterLayout layout_;
};

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& config_json, const std::string& generation_json,
                                             const std::string& source_name) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(config_json, source_name));
  const ConfigFields fields(json, source_name);
  ASSIGN_OR_RETURN(const ModelFamily* const family, ParseFamily(fields));
  ModelConfig config = family->base;
  RETURN_IF_ERROR(ParseSizes(fields, config));
  RETURN_IF_ERROR(RefuseUnsupported(fields, config));
  if (family->check != nullptr) RETURN_IF_ERROR(family->check(fields, config));
  RETURN_IF_ERROR(ParseRope(fields, config));
  RETURN_IF_ERROR(ParseEos(fields, config.vocab_size, config.eos_token_ids));
  if (!generation_json.empty()) {
    const std::string source = absl::StrCat(source_name, " (generation_config.json)");
    ASSIGN_OR_RETURN(const Json generation, ParseObject(generation_json, source));
    RETURN_IF_ERROR(ParseEos(ConfigFields(generation, source), config.vocab_size, config.eos_token_ids));
  }
  if (const int64_t total = MakeParameterLayout(config).total_numel; total > kMaxParameters) {
    return absl::InvalidArgumentError(
        absl::StrCat(source_name, ": the sizes make ", total, " parameters, more than the limit of ", kMaxParameters));
  }
  return config;
}

const ParameterSpec* ParameterLayout::Find(const std::string& name) const {
  for (const ParameterSpec& spec : specs) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

ParameterLayout MakeParameterLayout(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t queries = config.num_heads * config.head_dim;
  const int64_t keys = config.num_kv_heads * config.head_dim;
  LayoutBuilder builder;
  builder.Add("model.embed_tokens.weight", {config.vocab_size, hidden});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    const std::string attention = absl::StrCat(prefix, "self_attn.");
    builder.Add(attention + "q_proj.weight", {queries, hidden});
    builder.Add(attention + "k_proj.weight", {keys, hidden});
    builder.Add(attention + "v_proj.weight", {keys, hidden});
    builder.Add(attention + "o_proj.weight", {hidden, queries});
    if (config.qkv_bias) {
      builder.Add(attention + "q_proj.bias", {queries});
      builder.Add(attention + "k_proj.bias", {keys});
      builder.Add(attention + "v_proj.bias", {keys});
    }
    if (config.qk_norm) {
      builder.Add(attention + "q_norm.weight", {config.qk_norm_whole ? queries : config.head_dim});
      builder.Add(attention + "k_norm.weight", {config.qk_norm_whole ? keys : config.head_dim});
    }
    builder.Add(prefix + "mlp.gate_proj.weight", {config.intermediate_size, hidden});
    builder.Add(prefix + "mlp.up_proj.weight", {config.intermediate_size, hidden});
    builder.Add(prefix + "mlp.down_proj.weight", {hidden, config.intermediate_size});
    // Where the norms stand after attention and MLP, transformers calls the first as others call the MLP's input norm.
    if (!config.norms_after) builder.Add(prefix + "input_layernorm.weight", {hidden});
    builder.Add(prefix + "post_attention_layernorm.weight", {hidden});
    if (config.norms_after) builder.Add(prefix + "post_feedforward_layernorm.weight", {hidden});
  }
  builder.Add("model.norm.weight", {hidden});
  if (!config.tie_word_embeddings) builder.Add("lm_head.weight", {config.vocab_size, hidden});
  return builder.Take();
}

}  // namespace tactus
