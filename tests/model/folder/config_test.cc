#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/model/folder/model_config.h"

namespace tactus {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json Llama() {
  return {{"model_type", "llama"},          {"vocab_size", 100},           {"hidden_size", 64},
          {"intermediate_size", 96},        {"num_hidden_layers", 2},      {"num_attention_heads", 4},
          {"num_key_value_heads", 2},       {"rms_norm_eps", 1e-5},        {"rope_theta", 5000.0},
          {"max_position_embeddings", 512}, {"tie_word_embeddings", true}, {"eos_token_id", 2}};
}

json With(json base, const json& changes) {
  base.update(changes);
  return base;
}

absl::StatusOr<ModelConfig> Parse(const json& config, const std::string& generation = "") {
  return ParseModelConfig(config.dump(), generation, "m/config.json");
}

std::string Refusal(const json& changes) {
  const auto config = Parse(With(Llama(), changes));
  if (config.ok()) return "accepted";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("m/config.json"));
  return std::string(config.status().message());
}

TEST(ModelConfigTest, ReadsLlama) {
  const auto config = Parse(Llama());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 100);
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->intermediate_size, 96);
  EXPECT_EQ(config->num_layers, 2);
  EXPECT_EQ(config->num_heads, 4);
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->rms_norm_eps, 1e-5);
  EXPECT_EQ(config->rope_theta, 5000);
  EXPECT_EQ(config->rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(config->max_position, 512);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_FALSE(config->qkv_bias);
  EXPECT_FALSE(config->qk_norm);
  EXPECT_FALSE(config->norms_after);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2));
}

TEST(ModelConfigTest, FallsBackAsTransformersDoes) {
  json small = Llama();
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "rope_theta", "max_position_embeddings",
                          "tie_word_embeddings", "eos_token_id"}) {
    small.erase(key);
  }
  small["rope_scaling"] = nullptr;
  const auto config = Parse(small);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->rope_theta, 10000);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_TRUE(config->eos_token_ids.empty());
}

TEST(ModelConfigTest, QwenFamiliesAddBiasOrNorms) {
  const auto qwen2 = Parse(With(
      Llama(),
      {{"model_type", "qwen2"}, {"use_sliding_window", false}, {"sliding_window", 4096}, {"attention_bias", true}}));
  ASSERT_TRUE(qwen2.ok()) << qwen2.status();
  EXPECT_TRUE(qwen2->qkv_bias);
  EXPECT_FALSE(qwen2->qk_norm);
  const auto qwen3 = Parse(With(
      Llama(), {{"model_type", "qwen3"}, {"head_dim", 32}, {"layer_types", {"full_attention", "full_attention"}}}));
  ASSERT_TRUE(qwen3.ok()) << qwen3.status();
  EXPECT_FALSE(qwen3->qkv_bias);
  EXPECT_TRUE(qwen3->qk_norm);
  EXPECT_FALSE(qwen3->qk_norm_whole);
  EXPECT_EQ(qwen3->head_dim, 32);
  EXPECT_EQ(Parse(With(Llama(), {{"model_type", "qwen3"}}))->head_dim, 128);
}

// What a field that is left out means is the family's own: the values of transformers 5.17's configuration classes.
TEST(ModelConfigTest, EachFamilyFallsBackAsTransformersDoes) {
  const json bare = {{"vocab_size", 100},      {"hidden_size", 4096},       {"intermediate_size", 96},
                     {"num_hidden_layers", 2}, {"sliding_window", nullptr}, {"num_attention_heads", 64}};
  struct Expected {
    const char* model_type;
    int64_t kv_heads, head_dim, max_position;
    double rms_norm_eps;
  };
  for (const Expected& expected : {Expected{"llama", 64, 64, 2048, 1e-6}, Expected{"qwen2", 32, 64, 32768, 1e-6},
                                   Expected{"qwen3", 32, 128, 32768, 1e-6}, Expected{"mistral", 8, 64, 131072, 1e-6},
                                   Expected{"olmo2", 64, 64, 2048, 1e-5}}) {
    const auto config = Parse(With(bare, {{"model_type", expected.model_type}}));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->num_kv_heads, expected.kv_heads) << expected.model_type;
    EXPECT_EQ(config->head_dim, expected.head_dim) << expected.model_type;
    EXPECT_EQ(config->max_position, expected.max_position) << expected.model_type;
    EXPECT_EQ(config->rms_norm_eps, expected.rms_norm_eps) << expected.model_type;
  }
  const auto null = Parse(With(bare, {{"model_type", "mistral"}, {"num_key_value_heads", nullptr}}));
  EXPECT_EQ(null->num_kv_heads, 64);
}

TEST(ModelConfigTest, MistralRefusesAWindowThatBinds) {
  const auto refusal = [](const json& changes) {
    return Refusal(With({{"model_type", "mistral"}, {"max_position_embeddings", 4096}}, changes));
  };
  EXPECT_EQ(refusal({{"sliding_window", nullptr}}), "accepted");
  EXPECT_EQ(refusal({{"sliding_window", 4096}}), "accepted");
  EXPECT_EQ(refusal(json::object()), "accepted");  // means 4096
  EXPECT_THAT(refusal({{"sliding_window", 4095}}), HasSubstr("sliding_window is 4095: tokens would not see further"));
  EXPECT_THAT(refusal({{"max_position_embeddings", 4097}}),
              HasSubstr("sliding_window is missing, which means 4096: tokens would not see further"));
  EXPECT_THAT(refusal({{"sliding_window", 0}}), HasSubstr("sliding_window is 0"));
  EXPECT_THAT(refusal({{"sliding_window", "big"}}), HasSubstr("sliding_window is \"big\""));
}

TEST(ModelConfigTest, ReadsLlama3ScalingInBothStyles) {
  const json scaling = {{"factor", 32.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192},
                        {"rope_type", "llama3"}};
  json old_style = With(Llama(), {{"rope_theta", 500000.0}, {"rope_scaling", scaling}});
  json new_style = Llama();
  new_style.erase("rope_theta");
  new_style["rope_parameters"] = With(scaling, {{"rope_theta", 500000.0}});
  for (const json& style : {old_style, new_style}) {
    const auto config = Parse(style);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->rope_theta, 500000);
    EXPECT_EQ(config->rope_scaling.kind, RopeScaling::Kind::kLlama3);
    EXPECT_EQ(config->rope_scaling.factor, 32);
    EXPECT_EQ(config->rope_scaling.low_freq_factor, 1);
    EXPECT_EQ(config->rope_scaling.high_freq_factor, 4);
    EXPECT_EQ(config->rope_scaling.original_max_position, 8192);
  }
  const auto plain = Parse(With(Llama(), {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7.0}}}}));
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->rope_theta, 7);
  EXPECT_EQ(plain->rope_scaling.kind, RopeScaling::Kind::kNone);
}

TEST(ModelConfigTest, GenerationConfigDecidesTheEosIds) {
  EXPECT_THAT(Parse(Llama(), R"({"eos_token_id": [7, 9]})")->eos_token_ids, ElementsAre(7, 9));
  EXPECT_THAT(Parse(Llama(), R"({"eos_token_id": null})")->eos_token_ids, ElementsAre(2));
  EXPECT_THAT(Parse(Llama(), R"({})")->eos_token_ids, ElementsAre(2));
  EXPECT_THAT(std::string(Parse(Llama(), R"({"eos_token_id": 100})").status().message()),
              HasSubstr("generation_config.json): eos_token_id holds 100"));
  EXPECT_THAT(Refusal({{"eos_token_id", -1}}), HasSubstr("eos_token_id"));
  EXPECT_THAT(Refusal({{"eos_token_id", json::array({1, "2"})}}), HasSubstr("eos_token_id"));
}

TEST(ModelConfigTest, RefusesWhatTheDecoderDoesNotCompute) {
  EXPECT_THAT(Refusal({{"model_type", "mixtral"}}),
              HasSubstr("model_type is \"mixtral\"; expected one of llama, qwen2, qwen3"));
  EXPECT_THAT(Refusal({{"hidden_act", "gelu"}}), HasSubstr("hidden_act is \"gelu\"; expected silu"));
  EXPECT_THAT(Refusal({{"mlp_bias", true}}), HasSubstr("mlp_bias"));
  EXPECT_THAT(Refusal({{"attention_bias", true}}), HasSubstr("attention_bias"));
  EXPECT_THAT(Refusal({{"num_experts", 8}}), HasSubstr("num_experts"));
  EXPECT_THAT(Refusal({{"quantization_config", {{"bits", 4}}}}), HasSubstr("quantization_config"));
  EXPECT_THAT(Refusal({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}),
              HasSubstr("rope_type is \"linear\"; expected default or llama3"));
  EXPECT_THAT(Refusal({{"rope_parameters", {{"rope_type", "yarn"}, {"factor", 2.0}}}}), HasSubstr("yarn"));
  EXPECT_THAT(Refusal({{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}}),
              HasSubstr("one rotation per layer type"));
  EXPECT_THAT(Refusal({{"partial_rotary_factor", 0.5}}), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(Refusal({{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 1}}),
              HasSubstr("sliding-window"));
  EXPECT_EQ(Refusal({{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 2}}), "accepted");
  EXPECT_THAT(Refusal({{"layer_types", {"full_attention", "sliding_attention"}}}), HasSubstr("sliding-window"));
  EXPECT_THAT(Refusal({{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}}}),
              HasSubstr("low_freq_factor is missing"));
}

TEST(ModelConfigTest, RefusesAbsurdSizes) {
  EXPECT_THAT(Refusal({{"head_dim", 24}}), HasSubstr("head_dim is 24; expected a multiple of 16"));
  EXPECT_THAT(Refusal({{"hidden_size", 65}}), HasSubstr("hidden_size is 65; expected a multiple of the 4"));
  EXPECT_THAT(Refusal({{"num_key_value_heads", 3}}), HasSubstr("num_key_value_heads is 3; expected a divisor"));
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const json& value :
         {json(0), json(-1), json(INT64_MAX), json(UINT64_MAX), json(1.5), json("64"), json(true), json::array({1})}) {
      EXPECT_THAT(Refusal({{field, value}}), HasSubstr(field)) << value;
    }
  }
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"}) {
    EXPECT_THAT(Refusal({{field, nullptr}}), HasSubstr(std::string(field) + " is missing"));
  }
  EXPECT_THAT(Refusal({{"rms_norm_eps", 0}}), HasSubstr("rms_norm_eps"));
  EXPECT_THAT(Refusal({{"rope_theta", -1}}), HasSubstr("rope_theta"));
  // Each size within its own bound, the product not.
  EXPECT_THAT(
      Refusal(
          {{"hidden_size", 131072}, {"intermediate_size", 1048576}, {"num_hidden_layers", 1024}, {"head_dim", 128}}),
      HasSubstr("more than the limit"));
}

TEST(ModelConfigTest, RefusesWhatIsNotAnObject) {
  for (const char* text : {"", "[]", "3", "{\"model_type\":\"llama\",\"model_type\":\"llama\"}", "{"}) {
    EXPECT_EQ(ParseModelConfig(text, "", "c").status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParseModelConfig(Llama().dump(), "[]", "c").ok());
}

TEST(ParameterLayoutTest, TiedLlamaInOrderWithAlignedOffsets) {
  json odd = With(Llama(), {{"hidden_size", 20},
                            {"head_dim", 16},
                            {"intermediate_size", 7},
                            {"vocab_size", 3},
                            {"num_hidden_layers", 1},
                            {"num_attention_heads", 2},
                            {"num_key_value_heads", 1}});
  const ParameterLayout layout = MakeParameterLayout(*Parse(odd));
  std::vector<std::string> names;
  int64_t end = 0;
  for (const ParameterSpec& spec : layout.specs) {
    names.push_back(spec.name);
    EXPECT_EQ(spec.offset % 16, 0);
    EXPECT_GE(spec.offset, end);
    EXPECT_LT(spec.offset, end + 16);
    end = spec.offset + spec.numel;
  }
  EXPECT_GE(layout.total_numel, end);
  EXPECT_LT(layout.total_numel, end + 16);
  const std::string p = "model.layers.0.";
  EXPECT_THAT(names,
              ElementsAre("model.embed_tokens.weight", p + "self_attn.q_proj.weight", p + "self_attn.k_proj.weight",
                          p + "self_attn.v_proj.weight", p + "self_attn.o_proj.weight", p + "mlp.gate_proj.weight",
                          p + "mlp.up_proj.weight", p + "mlp.down_proj.weight", p + "input_layernorm.weight",
                          p + "post_attention_layernorm.weight", "model.norm.weight"));
  EXPECT_THAT(layout.Find(p + "self_attn.o_proj.weight")->shape, ElementsAre(20, 32));
  EXPECT_THAT(layout.Find(p + "self_attn.k_proj.weight")->shape, ElementsAre(16, 20));
  EXPECT_THAT(layout.Find(p + "mlp.down_proj.weight")->shape, ElementsAre(20, 7));
  EXPECT_EQ(layout.Find("lm_head.weight"), nullptr);
}

TEST(ParameterLayoutTest, FamiliesAddTheirTensors) {
  const ParameterLayout qwen2 =
      MakeParameterLayout(*Parse(With(Llama(), {{"model_type", "qwen2"}, {"tie_word_embeddings", false}})));
  EXPECT_THAT(qwen2.Find("model.layers.1.self_attn.q_proj.bias")->shape, ElementsAre(64));
  EXPECT_THAT(qwen2.Find("model.layers.1.self_attn.v_proj.bias")->shape, ElementsAre(32));
  EXPECT_THAT(qwen2.Find("lm_head.weight")->shape, ElementsAre(100, 64));
  const ParameterLayout qwen3 = MakeParameterLayout(*Parse(With(Llama(), {{"model_type", "qwen3"}})));
  EXPECT_THAT(qwen3.Find("model.layers.0.self_attn.k_norm.weight")->shape, ElementsAre(128));
  EXPECT_EQ(qwen3.Find("model.layers.0.self_attn.q_proj.bias"), nullptr);
  const ParameterLayout olmo2 = MakeParameterLayout(*Parse(With(Llama(), {{"model_type", "olmo2"}})));
  EXPECT_THAT(olmo2.Find("model.layers.0.self_attn.q_norm.weight")->shape, ElementsAre(64));
  EXPECT_THAT(olmo2.Find("model.layers.0.self_attn.k_norm.weight")->shape, ElementsAre(32));
  EXPECT_THAT(olmo2.Find("model.layers.1.post_feedforward_layernorm.weight")->shape, ElementsAre(64));
  EXPECT_NE(olmo2.Find("model.layers.1.post_attention_layernorm.weight"), nullptr);
  EXPECT_EQ(olmo2.Find("model.layers.1.input_layernorm.weight"), nullptr);
}

}  // namespace
}  // namespace tactus
