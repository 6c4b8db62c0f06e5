#include "common/data/parquet_rows.h"

#include <arrow/array.h>
#include <arrow/extension_type.h>
#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/utf8.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/schema.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr int64_t kBatchRows = 64;  // decoded at once: of the longest rows 256 MiB
constexpr int64_t kReadBytes = int64_t{1} << 18;
constexpr int kMaxSchemaDepth = 64;
constexpr int kMaxContainer = 200'000;  // columns times row groups, and the like, that a footer may list
constexpr size_t kMaxShownNames = 20, kMaxShownBytes = 200;
constexpr char kKinds[] = "text, numbers, booleans, or lists and structs of them";

// Arrow's sentence, of one line.
absl::Status Unreadable(const std::string& path, absl::string_view why) {
  why = why.substr(0, why.find('\n'));
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": expected a whole Parquet file: ", why.substr(0, kMaxShownBytes)));
}

absl::Status ToStatus(const std::string& path, const arrow::Status& status) {
  if (status.ok()) return absl::OkStatus();
  if (!status.IsOutOfMemory()) return Unreadable(path, status.message());
  return absl::InvalidArgumentError(absl::StrCat(path, ": a page or ", kBatchRows, " rows claim more than ",
                                                 kParquetMemoryBytes, " bytes of memory: expected less"));
}

template <typename T>
absl::StatusOr<T> ToStatusOr(const std::string& path, arrow::Result<T> result) {
  RETURN_IF_ERROR(ToStatus(path, result.status()));
  return *std::move(result);
}

bool IsUtf8(std::string_view text) {
  static const bool ready = [] {
    arrow::util::InitializeUTF8();
    return true;
  }();
  return ready && arrow::util::ValidateUTF8(text);
}

// An error inside a row, whose path its callers write in front of it.
absl::Status Problem(absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat(": ", what)); }
absl::Status Within(absl::string_view name, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(name, status.message()));
}

absl::Status CheckType(const arrow::DataType& type);

absl::Status CheckMembers(const arrow::FieldVector& fields, absl::string_view before) {
  std::set<absl::string_view> names;
  for (const auto& field : fields) {
    const std::string& name = field->name();
    if (!IsUtf8(name)) return Problem("expected column names in UTF-8");
    const absl::Status status =
        names.insert(name).second ? CheckType(*field->type()) : Problem("stands there twice, expected once");
    if (!status.ok()) return Within(absl::StrCat(before, name.substr(0, kMaxShownBytes)), status);
  }
  return absl::OkStatus();
}

// Of types that the reader of the footer has made: their depth is bounded.
absl::Status CheckType(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::NA:
    case arrow::Type::BOOL:
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64:
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return absl::OkStatus();
    case arrow::Type::DICTIONARY:
      return CheckType(*static_cast<const arrow::DictionaryType&>(type).value_type());
    case arrow::Type::EXTENSION:
      return CheckType(*static_cast<const arrow::ExtensionType&>(type).storage_type());
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST:
      return CheckType(*static_cast<const arrow::BaseListType&>(type).value_type());
    case arrow::Type::STRUCT:
      return CheckMembers(type.fields(), ".");
    default:
      return Problem(absl::StrCat("has the type ", type.ToString().substr(0, kMaxShownBytes), ", expected ", kKinds));
  }
}

// The leaves that lie at or below the fields' paths, in the file's order; all when there are no fields.
absl::StatusOr<std::vector<int>> LeavesOf(const std::string& path, const parquet::SchemaDescriptor& schema,
                                          const std::vector<std::string>& fields) {
  std::vector<int> leaves(static_cast<size_t>(schema.num_columns()));
  std::iota(leaves.begin(), leaves.end(), 0);
  if (leaves.empty()) return Unreadable(path, "it has no columns");
  if (fields.empty()) return leaves;
  std::set<int> wanted;
  for (const std::string& field : fields) {
    const std::vector<std::string> keys = absl::StrSplit(field, '.');
    const auto below = [&](int leaf) {
      const std::vector<std::string> names = schema.Column(leaf)->path()->ToDotVector();
      return names.size() >= keys.size() && std::equal(keys.begin(), keys.end(), names.begin());
    };
    const size_t found = static_cast<size_t>(std::ranges::count_if(leaves, below));
    std::ranges::copy_if(leaves, std::inserter(wanted, wanted.end()), below);
    if (found > 0) continue;
    std::vector<std::string> names;
    for (int i = 0; i < schema.group_node()->field_count() && names.size() < kMaxShownNames; ++i) {
      names.push_back(schema.group_node()->field(i)->name().substr(0, kMaxShownBytes));
    }
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": there is no column \"", field, "\", expected one of ", absl::StrJoin(names, ", ")));
  }
  return std::vector<int>(wanted.begin(), wanted.end());
}

// Makes JSON of one row, within the limits.
class RowMaker {
 public:
  explicit RowMaker(const JsonLimits& limits) : limits_(limits) {}

  absl::Status Make(const arrow::RecordBatch& batch, int64_t row, nlohmann::json* out) {
    values_ = bytes_ = 0;
    *out = nlohmann::json::object();
    for (int i = 0; i < batch.num_columns(); ++i) {
      const std::string& name = batch.column_name(i);
      const absl::Status status = Convert(*batch.column(i), row, 2, &(*out)[name]);
      if (!status.ok()) return Within(name, status);
    }
    return absl::OkStatus();
  }

 private:
  // `depth` is that of a list or struct at this place.
  absl::Status Convert(const arrow::Array& array, int64_t i, int depth, nlohmann::json* out);
  template <typename A>
  absl::Status Text(const arrow::Array& array, int64_t i, nlohmann::json* out);
  template <typename A>
  absl::Status List(const arrow::Array& array, int64_t i, int depth, nlohmann::json* out);
  absl::Status Struct(const arrow::StructArray& array, int64_t i, int depth, nlohmann::json* out);
  absl::Status Dictionary(const arrow::DictionaryArray& array, int64_t i, int depth, nlohmann::json* out);

  // A parser has numbers of at least 0 unsigned.
  template <typename A>
  static absl::Status Integer(const arrow::Array& array, int64_t i, nlohmann::json* out) {
    const auto value = static_cast<const A&>(array).Value(i);
    if (value < 0) {
      *out = static_cast<int64_t>(value);
    } else {
      *out = static_cast<uint64_t>(value);
    }
    return absl::OkStatus();
  }
  template <typename A>
  static absl::Status Real(const arrow::Array& array, int64_t i, nlohmann::json* out) {
    *out = static_cast<double>(static_cast<const A&>(array).Value(i));
    return absl::OkStatus();
  }

  const JsonLimits limits_;
  size_t values_ = 0, bytes_ = 0;
};

absl::Status RowMaker::Convert(const arrow::Array& array, int64_t i, int depth, nlohmann::json* out) {
  if (++values_ > limits_.max_values) {
    return Problem(absl::StrCat("expected a row of at most ", limits_.max_values, " values"));
  }
  if (array.IsNull(i)) return absl::OkStatus();  // *out is null
  switch (array.type_id()) {
    case arrow::Type::NA:
      return absl::OkStatus();
    case arrow::Type::BOOL:
      *out = static_cast<const arrow::BooleanArray&>(array).Value(i);
      return absl::OkStatus();
    case arrow::Type::INT8:
      return Integer<arrow::Int8Array>(array, i, out);
    case arrow::Type::INT16:
      return Integer<arrow::Int16Array>(array, i, out);
    case arrow::Type::INT32:
      return Integer<arrow::Int32Array>(array, i, out);
    case arrow::Type::INT64:
      return Integer<arrow::Int64Array>(array, i, out);
    case arrow::Type::UINT8:
      return Integer<arrow::UInt8Array>(array, i, out);
    case arrow::Type::UINT16:
      return Integer<arrow::UInt16Array>(array, i, out);
    case arrow::Type::UINT32:
      return Integer<arrow::UInt32Array>(array, i, out);
    case arrow::Type::UINT64:
      return Integer<arrow::UInt64Array>(array, i, out);
    case arrow::Type::FLOAT:
      return Real<arrow::FloatArray>(array, i, out);
    case arrow::Type::DOUBLE:
      return Real<arrow::DoubleArray>(array, i, out);
    case arrow::Type::STRING:
      return Text<arrow::StringArray>(array, i, out);
    case arrow::Type::LARGE_STRING:
      return Text<arrow::LargeStringArray>(array, i, out);
    case arrow::Type::STRING_VIEW:
      return Text<arrow::StringViewArray>(array, i, out);
    case arrow::Type::LIST:
      return List<arrow::ListArray>(array, i, depth, out);
    case arrow::Type::LARGE_LIST:
      return List<arrow::LargeListArray>(array, i, depth, out);
    case arrow::Type::FIXED_SIZE_LIST:
      return List<arrow::FixedSizeListArray>(array, i, depth, out);
    case arrow::Type::STRUCT:
      return Struct(static_cast<const arrow::StructArray&>(array), i, depth, out);
    case arrow::Type::DICTIONARY:
      return Dictionary(static_cast<const arrow::DictionaryArray&>(array), i, depth, out);
    case arrow::Type::EXTENSION:
      return Convert(*static_cast<const arrow::ExtensionArray&>(array).storage(), i, depth, out);
    default:
      return Problem(absl::StrCat("expected ", kKinds));  // CheckType has refused it
  }
}

template <typename A>
absl::Status RowMaker::Text(const arrow::Array& array, int64_t i, nlohmann::json* out) {
  const std::string_view text = static_cast<const A&>(array).GetView(i);
  bytes_ += text.size();
  if (bytes_ > limits_.max_bytes || text.size() > limits_.max_string) {
    return Problem(absl::StrCat("expected a row of at most ", limits_.max_bytes, " bytes"));
  }
  if (!IsUtf8(text)) return Problem("expected text in UTF-8");
  *out = std::string(text);
  return absl::OkStatus();
}

template <typename A>
absl::Status RowMaker::List(const arrow::Array& array, int64_t i, int depth, nlohmann::json* out) {
  if (depth > limits_.max_depth) return Problem(absl::StrCat("expected a depth of at most ", limits_.max_depth));
  const A& list = static_cast<const A&>(array);
  const int64_t begin = list.value_offset(i), length = list.value_length(i);
  *out = nlohmann::json::array();
  for (int64_t k = 0; k < length; ++k) {
    const absl::Status status = Convert(*list.values(), begin + k, depth + 1, &out->emplace_back());
    if (!status.ok()) return Within(absl::StrCat("[", k, "]"), status);
  }
  return absl::OkStatus();
}

absl::Status RowMaker::Struct(const arrow::StructArray& array, int64_t i, int depth, nlohmann::json* out) {
  if (depth > limits_.max_depth) return Problem(absl::StrCat("expected a depth of at most ", limits_.max_depth));
  *out = nlohmann::json::object();
  const arrow::DataType& type = *array.type();
  for (int k = 0; k < type.num_fields(); ++k) {
    const std::string& name = type.field(k)->name();
    const absl::Status status = Convert(*array.field(k), i, depth + 1, &(*out)[name]);
    if (!status.ok()) return Within(absl::StrCat(".", name), status);
  }
  return absl::OkStatus();
}

absl::Status RowMaker::Dictionary(const arrow::DictionaryArray& array, int64_t i, int depth, nlohmann::json* out) {
  const int64_t index = array.GetValueIndex(i);
  if (index < 0 || index >= array.dictionary()->length()) return Problem("names no entry of its dictionary");
  return Convert(*array.dictionary(), index, depth, out);
}

absl::Status ReadRows(const std::string& path, const std::vector<std::string>& fields, const JsonLimits& limits,
                      absl::FunctionRef<absl::Status(const JsonField&)> use) {
  arrow::CappedMemoryPool pool(arrow::system_memory_pool(), int64_t{kParquetMemoryBytes});
  ASSIGN_OR_RETURN(const auto file, ToStatusOr(path, arrow::io::ReadableFile::Open(path, &pool)));
  parquet::ReaderProperties properties(&pool);
  properties.enable_buffered_stream();
  properties.set_buffer_size(kReadBytes);
  properties.set_schema_depth_limit(kMaxSchemaDepth);
  properties.set_thrift_container_size_limit(kMaxContainer);
  properties.set_page_checksum_verification(true);
  parquet::ArrowReaderProperties arrow_properties(/*use_threads=*/false);
  arrow_properties.set_batch_size(kBatchRows);
  arrow_properties.set_pre_buffer(false);
  parquet::arrow::FileReaderBuilder builder;
  RETURN_IF_ERROR(ToStatus(path, builder.Open(file, properties)));
  ASSIGN_OR_RETURN(const auto reader,
                   ToStatusOr(path, builder.memory_pool(&pool)->properties(arrow_properties)->Build()));
  const parquet::FileMetaData& footer = *reader->parquet_reader()->metadata();
  ASSIGN_OR_RETURN(const std::vector<int> leaves, LeavesOf(path, *footer.schema(), fields));
  std::vector<int> groups(static_cast<size_t>(footer.num_row_groups()));
  std::iota(groups.begin(), groups.end(), 0);
  ASSIGN_OR_RETURN(const auto batches, ToStatusOr(path, reader->GetRecordBatchReader(groups, leaves)));
  const absl::Status types = CheckMembers(batches->schema()->fields(), "");
  if (!types.ok()) return Within(absl::StrCat(path, ": "), types);
  RowMaker maker(limits);
  nlohmann::json json;
  int64_t number = 0;
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    RETURN_IF_ERROR(ToStatus(path, batches->ReadNext(&batch)));
    if (batch == nullptr) break;
    RETURN_IF_ERROR(ToStatus(path, batch->Validate()));
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      const std::string where = absl::StrCat(path, ":", ++number);
      const absl::Status made = maker.Make(*batch, i, &json);
      if (!made.ok()) return Within(absl::StrCat(where, ": "), made);
      RETURN_IF_ERROR(use(JsonField(json, where)));
    }
  }
  if (number == footer.num_rows()) return absl::OkStatus();
  return Unreadable(path, absl::StrCat("it ends after row ", number, " of ", footer.num_rows()));
}

}  // namespace

absl::Status ForEachParquetRow(const std::string& path, const std::vector<std::string>& fields,
                               const JsonLimits& limits, absl::FunctionRef<absl::Status(const JsonField&)> use) {
  RETURN_IF_ERROR(RegularFileBytes(path).status());
  try {
    return ReadRows(path, fields, limits, use);
  } catch (const std::exception& error) {  // of Arrow, which throws for some kinds of damage
    return Unreadable(path, error.what());
  }
}

}  // namespace tactus
