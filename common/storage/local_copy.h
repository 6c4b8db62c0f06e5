// What a path that may be a URI (storage_uri.h) names, on this machine's disk: everything else reads files.
//
// Files are fetched into a folder of the cache, which is $TACTUS_CACHE, else tactus in $XDG_CACHE_HOME, else
// ~/.cache/tactus. What is there and has not changed since is not fetched again; what a kill or a broken connection cut
// off goes on where it stopped; processes that want the same wait for the first. The store is asked once a process and
// path, so all that a process reads is of one moment. Thread-safe. Blocks for the transfer, however long that takes,
// but no longer than a store is silent for a minute; a stop that is asked for ends it (Cancelled).
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/storage/storage_uri.h"

namespace tactus {

// A model folder; of a URI its JSON, model*.safetensors, templates and tokenizer files. A checkpoint stands
// for the model in it. Any other path without a scheme is returned as it is. Errors: StorageUri::Parse's; Store's;
// NotFound: there is nothing; DataLoss: a file does not have the hash that the store says; of the disk, naming the
// cache.
absl::StatusOr<std::string> LocalModelFolder(const std::string& path);

// Its config.json alone, which is all that predictions of memory and time need.
absl::StatusOr<std::string> LocalModelConfig(const std::string& path);

// Which files of a folder are data, here and elsewhere: those that end in .jsonl or .parquet.
bool IsDataFile(absl::string_view name);

// The same as LocalModelFolder of data (data_rows.h): a file, a folder, of which IsDataFile's count, or a pattern.
absl::StatusOr<std::string> LocalDataPath(const std::string& path);

// Fetches those files of a folder whose names are `wanted`, and of those below it, into `into`, which is this process's
// alone and which the caller then moves to where it belongs: a call that was cut off goes on, a completed one begins
// again. Errors as above.
absl::Status FetchFolder(const StorageUri& from, const std::string& into,
                         absl::FunctionRef<bool(absl::string_view name)> wanted);

}  // namespace tactus
