#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "common/base/file.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/folder/safetensors.h"
#include "tests/model/golden_models.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json Config(bool tied) {
  return {{"model_type", "qwen3"},         {"vocab_size", 33},       {"hidden_size", 24},
          {"intermediate_size", 40},       {"num_hidden_layers", 2}, {"num_attention_heads", 2},
          {"num_key_value_heads", 1},      {"head_dim", 16},         {"tie_word_embeddings", tied},
          {"custom", {{"b", 1}, {"a", 2}}}};
}

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / "tactus_folder_test" /
            testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
  }

  std::string Path(const std::string& name) { return (root_ / name).string(); }

  void Put(const std::string& name, const std::string& content) {
    fs::create_directories(fs::path(Path(name)).parent_path());
    ASSERT_TRUE(WriteFileAtomic(Path(name), content).ok());
  }

  // A folder with config.json and, after it, weights numbered through the whole buffer.
  ModelFolder Recipe(const std::string& name, bool tied) {
    Put(name + "/config.json", Config(tied).dump());
    auto folder = OpenModelFolder(Path(name), WeightsExpected::kOptional);
    EXPECT_TRUE(folder.ok()) << folder.status();
    return *folder;
  }

  static std::vector<float> Numbered(const ParameterLayout& layout) {
    std::vector<float> flat(static_cast<size_t>(layout.total_numel), 0.0f);
    for (const ParameterSpec& spec : layout.specs) {
      for (int64_t i = 0; i < spec.numel; ++i) flat[static_cast<size_t>(spec.offset + i)] = 0.001f * (spec.offset + i);
    }
    return flat;
  }

  static std::vector<TensorToWrite> Tensors(const ParameterLayout& layout, std::span<const float> flat) {
    std::vector<TensorToWrite> tensors;
    for (const ParameterSpec& spec : layout.specs) {
      tensors.push_back(
          {spec.name, spec.shape, flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel))});
    }
    return tensors;
  }

  void WriteWeights(const std::string& name, const std::vector<TensorToWrite>& tensors) {
    ASSERT_TRUE(WriteSafetensors(Path(name), tensors, StorageDType::kFloat32).ok());
  }

  std::string OpenError(const std::string& name) {
    const auto folder = OpenModelFolder(Path(name));
    return folder.ok() ? "accepted" : std::string(folder.status().message());
  }

  fs::path root_;
};

TEST_F(FolderTest, WritesWhatItReads) {
  for (const bool tied : {true, false}) {
    const ModelFolder recipe = Recipe(tied ? "tied" : "untied", tied);
    EXPECT_FALSE(HasWeights(recipe.path));
    Put((tied ? std::string("tied") : "untied") + "/tokenizer.json", "{\"x\": 1}");
    Put((tied ? std::string("tied") : "untied") + "/chat_template.jinja", "t");
    Put((tied ? std::string("tied") : "untied") + "/chat_template.json", "{}");
    const std::vector<float> flat = Numbered(recipe.layout);
    const std::string out = Path("out/model");
    ASSERT_TRUE(WriteModelFolder(out, recipe, flat, StorageDType::kFloat32).ok());
    EXPECT_TRUE(HasWeights(out));
    EXPECT_EQ(*ReadFile(out + "/tokenizer.json"), "{\"x\": 1}");
    EXPECT_EQ(*ReadFile(out + "/chat_template.jinja"), "t");
    EXPECT_EQ(*ReadFile(out + "/chat_template.json"), "{}");
    EXPECT_FALSE(fs::exists(out + "/merges.txt"));
    const json config = json::parse(*ReadFile(out + "/config.json"));
    EXPECT_EQ(config["torch_dtype"], "float32");
    EXPECT_EQ(config["custom"], Config(tied)["custom"]);
    const auto folder = OpenModelFolder(out);
    ASSERT_TRUE(folder.ok()) << folder.status();
    std::vector<float> loaded(flat.size(), -1.0f);
    ASSERT_TRUE(LoadParameters(*folder, loaded).ok());
    EXPECT_EQ(loaded, flat);  // the padding too: it is 0
  }
}

TEST_F(FolderTest, BFloat16FolderHoldsRoundedValuesAndSaysSo) {
  json config = Config(true);
  config["dtype"] = "float32";
  Put("m/config.json", config.dump());
  const ModelFolder recipe = *OpenModelFolder(Path("m"), WeightsExpected::kOptional);
  const std::vector<float> flat = Numbered(recipe.layout);
  ASSERT_TRUE(WriteModelFolder(Path("out"), recipe, flat, StorageDType::kBFloat16).ok());
  const json written = json::parse(*ReadFile(Path("out/config.json")));
  EXPECT_EQ(written["dtype"], "bfloat16");
  EXPECT_FALSE(written.contains("torch_dtype"));
  std::vector<float> loaded(flat.size());
  ASSERT_TRUE(LoadParameters(*OpenModelFolder(Path("out")), loaded).ok());
  for (size_t i = 0; i < flat.size(); ++i) ASSERT_EQ(loaded[i], BFloat16ToFloat(FloatToBFloat16(flat[i])));
}

TEST_F(FolderTest, EncodedWeightsMakeTheSameFolder) {
  const ModelFolder recipe = Recipe("m", false);
  const std::vector<float> flat = Numbered(recipe.layout);
  std::vector<char> encoded;
  for (const ParameterSpec& spec : recipe.layout.specs) {
    const char* const begin = reinterpret_cast<const char*>(flat.data() + spec.offset);
    encoded.insert(encoded.end(), begin, begin + spec.numel * 4);
  }
  ASSERT_TRUE(WriteModelFolder(Path("floats"), recipe, flat, StorageDType::kFloat32).ok());
  const auto digests =
      WriteModelFolder(Path("encoded"), recipe, std::span<const char>(encoded), StorageDType::kFloat32);
  ASSERT_TRUE(digests.ok()) << digests.status();
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(Path("encoded"))) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(digests->at(name), DigestOf(*ReadFile(entry.path().string()))) << name;
    ++files;
  }
  EXPECT_EQ(digests->size(), files);
  EXPECT_EQ(*ReadFile(Path("encoded/model.safetensors")), *ReadFile(Path("floats/model.safetensors")));
  const std::span<const char> bytes(encoded);
  for (const std::span<const char>& wrong : {bytes.first(bytes.size() - 4), bytes.first(0)}) {
    EXPECT_EQ(WriteModelFolder(Path("wrong"), recipe, wrong, StorageDType::kFloat32).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(WriteModelFolder(Path("wrong"), recipe, bytes, StorageDType::kBFloat16).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(FolderTest, ReadsShards) {
  const ModelFolder recipe = Recipe("m", false);
  const std::vector<float> flat = Numbered(recipe.layout);
  const std::vector<TensorToWrite> all = Tensors(recipe.layout, flat);
  const std::vector<TensorToWrite> first(all.begin(), all.begin() + 5), second(all.begin() + 5, all.end());
  WriteWeights("m/model-00001-of-00002.safetensors", first);
  WriteWeights("m/model-00002-of-00002.safetensors", second);
  json map;
  for (const auto& tensor : first) map[tensor.name] = "model-00001-of-00002.safetensors";
  for (const auto& tensor : second) map[tensor.name] = "model-00002-of-00002.safetensors";
  Put("m/model.safetensors.index.json", json({{"metadata", {{"total_size", 1}}}, {"weight_map", map}}).dump());
  std::vector<float> loaded(flat.size());
  const auto folder = OpenModelFolder(Path("m"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  ASSERT_TRUE(LoadParameters(*folder, loaded).ok());
  EXPECT_EQ(loaded, flat);

  const auto with_map = [&](const json& weight_map) {
    Put("m/model.safetensors.index.json", json({{"weight_map", weight_map}}).dump());
    return OpenError("m");
  };
  json moved = map;
  moved[first[0].name] = "model-00002-of-00002.safetensors";
  EXPECT_THAT(with_map(moved), HasSubstr("does not place there"));
  json extra = map;
  extra["model.more"] = "model-00002-of-00002.safetensors";
  EXPECT_THAT(with_map(extra), HasSubstr("holds 20 tensors; model.safetensors.index.json places 21"));
  for (const char* file : {"../m/model-00001-of-00002.safetensors", "/etc/passwd", "x.bin", ""}) {
    json outside = map;
    outside[first[0].name] = file;
    EXPECT_THAT(with_map(outside),
                AllOf(HasSubstr(first[0].name), HasSubstr("expected the name of a .safetensors file in this folder")))
        << file;
  }
  EXPECT_THAT(with_map(json::object()), HasSubstr("index.json: weight_map: is empty"));
  EXPECT_THAT(with_map(json::array()), HasSubstr("index.json: weight_map: expected an object"));
  EXPECT_THAT(with_map({{"a", 1}}), HasSubstr("weight_map.a: expected a string"));
  EXPECT_THAT(with_map({{"a", "gone.safetensors"}}), HasSubstr("m/gone.safetensors"));
}

TEST_F(FolderTest, RefusesMissingUnknownAndMisshapenTensors) {
  const ModelFolder recipe = Recipe("m", false);
  const std::vector<float> flat = Numbered(recipe.layout);
  const std::vector<TensorToWrite> all = Tensors(recipe.layout, flat);
  EXPECT_THAT(OpenError("m"), HasSubstr("m/model.safetensors"));  // no weights at all

  std::vector<TensorToWrite> tensors(all.begin(), all.end() - 1);
  WriteWeights("m/model.safetensors", tensors);
  EXPECT_THAT(OpenError("m"), HasSubstr("tensor lm_head.weight is missing"));

  tensors = all;
  const std::vector<float> two(2);
  tensors.push_back({"model.layers.2.mlp.up_proj.weight", {2}, two});
  WriteWeights("m/model.safetensors", tensors);
  EXPECT_THAT(OpenError("m"), HasSubstr("tensor model.layers.2.mlp.up_proj.weight is unknown"));

  tensors.back().name = "model.layers.0.self_attn.rotary_emb.inv_freq";
  WriteWeights("m/model.safetensors", tensors);
  EXPECT_EQ(OpenError("m"), "accepted");

  tensors = all;
  std::swap(tensors[0].shape[0], tensors[0].shape[1]);
  WriteWeights("m/model.safetensors", tensors);
  EXPECT_THAT(OpenError("m"), HasSubstr("model.embed_tokens.weight has shape [24, 33]; config.json makes it [33, 24]"));
}

TEST_F(FolderTest, TiedModelMayStoreAnEqualHead) {
  const ModelFolder recipe = Recipe("m", true);
  std::vector<float> flat = Numbered(recipe.layout);
  std::vector<TensorToWrite> tensors = Tensors(recipe.layout, flat);
  std::vector<float> head(tensors[0].values.begin(), tensors[0].values.end());
  tensors.push_back({"lm_head.weight", {33, 24}, head});
  WriteWeights("m/model.safetensors", tensors);
  std::vector<float> loaded(flat.size());
  const auto folder = OpenModelFolder(Path("m"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  ASSERT_TRUE(LoadParameters(*folder, loaded).ok());
  EXPECT_EQ(loaded, flat);
  head.back() += 1;
  WriteWeights("m/model.safetensors", tensors);
  EXPECT_THAT(std::string(LoadParameters(*folder, loaded).message()),
              HasSubstr("lm_head.weight differs from model.embed_tokens.weight"));
  tensors.back().shape = {24, 33};
  WriteWeights("m/model.safetensors", tensors);
  EXPECT_THAT(OpenError("m"), HasSubstr("lm_head.weight has shape"));
}

TEST_F(FolderTest, NamesTheTensorThatIsNotFinite) {
  const ModelFolder recipe = Recipe("m", true);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> flat = Numbered(recipe.layout);
    const ParameterSpec& spec = *recipe.layout.Find("model.layers.1.self_attn.k_norm.weight");
    flat[static_cast<size_t>(spec.offset + 3)] = bad;
    WriteWeights("m/model.safetensors", Tensors(recipe.layout, flat));
    const absl::Status status = LoadParameters(*OpenModelFolder(Path("m")), flat);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::isnan(bad) ? "model.layers.1.self_attn.k_norm.weight holds NaN at element 3"
                                          : "k_norm.weight holds infinity at element 3"));
  }
}

TEST_F(FolderTest, ErrorsNameTheFile) {
  EXPECT_EQ(OpenModelFolder(Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(OpenError("none"), HasSubstr("none/config.json"));
  Put("m/config.json", "{");
  EXPECT_THAT(OpenError("m"), HasSubstr("m/config.json: not valid JSON"));
  const ModelFolder recipe = Recipe("m", true);
  std::vector<float> small(3);
  EXPECT_EQ(LoadParameters(recipe, small).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteModelFolder(Path("out"), recipe, small, StorageDType::kFloat32).status().code(),
            absl::StatusCode::kInvalidArgument);
  Put("m/model.safetensors", "junk");
  EXPECT_FALSE(OpenModelFolder(Path("m"), WeightsExpected::kOptional).ok());  // weights that are there are checked
}

// Folders as transformers writes them: tied and untied, sharded, float32 and bfloat16, both rope styles.
TEST_F(FolderTest, LoadsEveryReferenceModel) {
  for (const GoldenModel& model : GoldenModels()) {
    const auto folder = OpenModelFolder(GoldenModelPath(model.name));
    ASSERT_TRUE(folder.ok()) << folder.status();
    std::vector<float> flat(static_cast<size_t>(folder->layout.total_numel));
    EXPECT_TRUE(LoadParameters(*folder, flat).ok()) << model.name;
  }
  EXPECT_GE(GoldenModels().size(), 5u);
  for (const auto& [name, why] : RefusedGoldenModels()) {
    EXPECT_THAT(std::string(OpenModelFolder(GoldenModelPath(name)).status().message()), HasSubstr(why));
  }
}

TEST_F(FolderTest, InitialisesByTheRecipe) {
  const ModelFolder recipe = Recipe("m", false);
  std::vector<float> flat(static_cast<size_t>(recipe.layout.total_numel), 9.0f);
  InitialiseParameters(recipe.config, recipe.layout, 5, flat);
  const auto deviation = [&](const std::string& name) {
    const ParameterSpec& spec = *recipe.layout.Find(name);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < spec.numel; ++i) {
      const double value = flat[static_cast<size_t>(spec.offset + i)];
      sum += value;
      squares += value * value;
    }
    const double n = static_cast<double>(spec.numel);
    EXPECT_NEAR(sum / n, 0, 5 * 0.02 / std::sqrt(n)) << name;
    return std::sqrt(squares / n);
  };
  // The relative standard error of a deviation over n values is 1/sqrt(2n): five of them, n >= 768.
  EXPECT_NEAR(deviation("model.embed_tokens.weight"), 0.02, 0.02 * 5 / std::sqrt(2 * 792.0));
  EXPECT_NEAR(deviation("model.layers.0.mlp.up_proj.weight"), 0.02, 0.02 * 5 / std::sqrt(2 * 960.0));
  EXPECT_NEAR(deviation("model.layers.1.self_attn.o_proj.weight"), 0.01, 0.01 * 5 / std::sqrt(2 * 768.0));
  EXPECT_NEAR(deviation("model.layers.1.mlp.down_proj.weight"), 0.01, 0.01 * 5 / std::sqrt(2 * 960.0));
  for (const char* name : {"model.norm.weight", "model.layers.0.self_attn.q_norm.weight"}) {
    const ParameterSpec& spec = *recipe.layout.Find(name);
    for (int64_t i = 0; i < spec.numel; ++i) EXPECT_EQ(flat[static_cast<size_t>(spec.offset + i)], 1.0f);
  }
  std::vector<float> again(flat.size()), other(flat.size());
  InitialiseParameters(recipe.config, recipe.layout, 5, again);
  InitialiseParameters(recipe.config, recipe.layout, 6, other);
  EXPECT_EQ(again, flat);
  EXPECT_NE(other, flat);
  EXPECT_TRUE(CheckFinite(recipe.layout, flat, "x").ok());
}

}  // namespace
}  // namespace tactus
