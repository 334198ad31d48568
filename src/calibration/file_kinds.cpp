// SPDX-License-Identifier: Apache-2.0
#include "calibration/file_kinds.h"

#include "core/error.h"
#include "core/quote.h"
#include "io/byte_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace indexcache {
namespace {

struct Ending {
  std::string_view ending;
  FileKind kind;
  bool in_folders = true;
  bool packed = true;  // whether it may be compressed
};

constexpr Ending kEndings[] = {{".txt", FileKind::text},
                               {".text", FileKind::text},
                               {".raw", FileKind::text},
                               {".md", FileKind::text, false},
                               {".markdown", FileKind::text, false},
                               {".rst", FileKind::text, false},
                               {".jsonl", FileKind::jsonl},
                               {".ndjson", FileKind::jsonl},
                               {".json", FileKind::json, false},
                               {".npy", FileKind::npy},
                               {".h5", FileKind::hdf5, true, false},
                               {".hdf5", FileKind::hdf5, true, false}};

struct Conversion {
  std::string_view ending;
  std::string_view command;
};

constexpr Conversion kConversions[] = {
    {".parquet",
     "python3 -c \"import pandas; pandas.read_parquet('FILE').to_json('NEW.jsonl', "
     "orient='records', lines=True)\""},
    {".arrow",
     "python3 -c \"import datasets; datasets.Dataset.from_file('FILE').to_json('NEW.jsonl')\""},
    {".csv",
     "python3 -c \"import pandas; pandas.read_csv('FILE').to_json('NEW.jsonl', "
     "orient='records', lines=True)\""},
    {".tsv",
     "python3 -c \"import pandas; pandas.read_csv('FILE', sep='\\t').to_json('NEW.jsonl', "
     "orient='records', lines=True)\""},
    {".xz", "unxz --keep FILE"},
    {".bz2", "bunzip2 --keep FILE"},
    {".zip", "unzip FILE -d FOLDER"},
    {".tar", "tar -xf FILE -C FOLDER"},
    {".tgz", "tar -xf FILE -C FOLDER"},
    {".html", "pandoc -t plain -o NEW.txt FILE"},
    {".docx", "pandoc -t plain -o NEW.txt FILE"},
    {".pdf", "pdftotext FILE NEW.txt"}};

constexpr const char* kFormats = "--format txt, jsonl or json, if the file contains that";

}  // namespace

const char* name_of(FileKind kind) {
  static constexpr const char* kNames[] = {"text", "jsonl", "hdf5", "npy", "json"};
  return kNames[static_cast<int>(kind)];
}

std::optional<FileKind> kind_named(const std::string& name) {
  for (const FileKind kind :
       {FileKind::text, FileKind::jsonl, FileKind::hdf5, FileKind::npy, FileKind::json}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

std::string ending_of(const std::filesystem::path& path) {
  std::string ending = without_packing(path).extension().string();
  std::ranges::transform(ending, ending.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return ending;
}

std::optional<FileKind> known_kind(const std::filesystem::path& path, Named named) {
  const std::string ending = ending_of(path);
  const bool packed = without_packing(path) != path;
  for (const Ending& known : kEndings) {
    if (known.ending != ending || (packed && !known.packed)) continue;
    if (named == Named::by_user || known.in_folders) return known.kind;
  }
  return std::nullopt;
}

std::string conversion_of(const std::string& ending) {
  const auto* found = std::ranges::find(kConversions, ending, &Conversion::ending);
  return found == std::end(kConversions) ? "" : "convert it: " + std::string(found->command);
}

FileKind kind_of(const std::filesystem::path& path) {
  if (const auto kind = known_kind(path, Named::by_user)) return *kind;
  const std::string ending = ending_of(path);
  const std::string conversion = conversion_of(ending);
  if (!conversion.empty()) {
    throw InputError(
        {fmt::format("the file type {} is not supported", ending), path.string(), "", conversion});
  }
  throw InputError({"unknown file type", path.string(),
                    ending.empty() ? "its name has no extension"
                                   : "its name ends in " + quote(path.extension().string()),
                    kFormats});
}

}  // namespace indexcache
