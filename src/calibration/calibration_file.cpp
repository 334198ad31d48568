// SPDX-License-Identifier: Apache-2.0
#include "calibration/calibration_file.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "core/quote.h"
#include "io/files.h"
#include "io/hdf5.h"
#include "io/json_text.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-calibration/1";
constexpr std::int64_t kSpanFields = 5;      // sequence, start, document, offset, length
constexpr std::int64_t kDocumentFields = 2;  // file, number

[[noreturn]] void refuse_file(const std::string& where, const std::string& why) {
  throw InputError({"the calibration file cannot be used", where, why,
                    "prepare it again: `indexcache-search prepare --help`"});
}

const char* name_of(Packing packing) {
  return packing == Packing::none ? "none" : packing == Packing::concat ? "concat" : "documents";
}

Json settings_json(const PrepareOptions& options) {
  const PackingOptions& packing = options.packing;
  return Json{{"inputs", options.inputs},
              {"weights", options.weights},
              {"field", options.field},
              {"separator", options.separator},
              {"format", options.format ? Json(name_of(*options.format)) : Json()},
              {"chat_format", options.chat_format},
              {"bos", options.bos},
              {"eos", options.eos},
              {"seq_len", packing.seq_len},
              {"sequences", packing.sequences},
              {"pack", name_of(packing.packing)},
              {"long", packing.long_documents == LongDocuments::split ? "split" : "truncate"},
              {"min_length", packing.min_length},
              {"seed", options.seed},
              {"holdout", options.holdout},
              {"strata", options.strata},
              {"allow_shortfall", options.allow_shortfall},
              {"skip_invalid", options.skip_invalid}};
}

Json files_json(const PreparedSet& set) {
  Json files = Json::array();
  for (const SourceFile& file : set.files().files) {
    files.push_back({{"path", file.path.string()},
                     {"kind", name_of(file.kind)},
                     {"source", file.source},
                     {"sha256", sha256_of_file(file.path)}});
  }
  return files;
}

// Writes the rows of both sides and collects what describes them.
class Writer {
 public:
  Writer(const std::filesystem::path& temporary, const std::filesystem::path& path,
         const PreparedSet& set)
      : file_(temporary, path), set_(set) {}

  void write_sequences() {
    std::int64_t width = 0;
    for (const bool held_out : {false, true}) {
      for (std::size_t s = 0; s < set_.size(held_out); ++s) {
        width = std::max(width, set_.sequence(held_out, s).length());
      }
    }
    file_.create_rows("/tokens", static_cast<std::int64_t>(set_.size(false) + set_.size(true)),
                      width);
    for (const bool held_out : {false, true}) {
      for (std::size_t s = 0; s < set_.size(held_out); ++s) {
        write_sequence(set_.sequence(held_out, s), held_out);
      }
    }
  }

  std::string finish(const Json& description, const std::string& tokenizer_sha256) {
    const auto rows = static_cast<std::int64_t>(lengths_.size());
    file_.write("/lengths", {rows}, lengths_);
    file_.write("/holdout", {rows}, held_out_);
    file_.write("/spans", {static_cast<std::int64_t>(spans_.size()) / kSpanFields, kSpanFields},
                spans_);
    file_.write("/documents",
                {static_cast<std::int64_t>(documents_.size()) / kDocumentFields, kDocumentFields},
                documents_);
    file_.write_text("/description", json_text(description, 1));
    std::string fingerprint = hasher_.hex();
    file_.attribute("schema", kSchema);
    file_.attribute("fingerprint", fingerprint);
    file_.attribute("tokenizer_sha256", tokenizer_sha256);
    file_.attribute("pack", name_of(set_.options().packing.packing));
    file_.close();
    return fingerprint;
  }

 private:
  void write_sequence(const PackedSequence& sequence, bool held_out) {
    check_interrupt();
    const std::vector<TokenId> ids = set_.tokens(sequence);
    hasher_.add(ids);
    const auto row = static_cast<std::int64_t>(lengths_.size());
    file_.write_row("/tokens", row, ids);
    lengths_.push_back(static_cast<std::int64_t>(ids.size()));
    held_out_.push_back(held_out ? 1 : 0);
    std::int64_t start = 0;
    for (const Piece& piece : sequence.pieces) {
      spans_.insert(spans_.end(),
                    {row, start, number_of(piece.document), piece.begin, piece.length});
      start += piece.length;
    }
  }

  std::int64_t number_of(std::size_t document) {
    const auto [known, is_new] = numbers_.try_emplace(document, numbers_.size());
    if (is_new) {
      const Origin& origin = set_.documents()[document].origin;
      documents_.insert(documents_.end(), {static_cast<std::int64_t>(origin.file), origin.number});
    }
    return static_cast<std::int64_t>(known->second);
  }

  Hdf5Writer file_;
  const PreparedSet& set_;
  TokenHasher hasher_;
  std::map<std::size_t, std::size_t> numbers_;
  std::vector<std::int64_t> lengths_, held_out_, spans_, documents_;
};

// The rows of /spans, checked against the lengths of the sequences.
struct Span5 {
  std::int64_t sequence, start, document, offset, length;
};

std::vector<Span5> read_spans(const Hdf5Reader& file, const std::string& path,
                              const std::vector<std::int64_t>& lengths) {
  const IntegerDataset stored = file.integers("/spans");
  if (stored.shape.size() != 2 || stored.shape[1] != kSpanFields) {
    refuse_file(path + ": /spans", "it is not [parts, 5]");
  }
  std::vector<Span5> spans;
  std::vector<std::int64_t> covered(lengths.size(), 0);
  for (std::size_t i = 0; i < stored.values.size(); i += kSpanFields) {
    const std::int64_t* v = &stored.values[i];
    const Span5 span{v[0], v[1], v[2], v[3], v[4]};
    const bool known = span.sequence >= 0 && span.sequence < std::ssize(lengths);
    if (!known || span.length < 1 || span.document < 0 || span.offset < 0 ||
        span.start != covered[static_cast<std::size_t>(span.sequence)]) {
      refuse_file(path + ": /spans",
                  fmt::format("row {} does not follow the previous row", i / kSpanFields));
    }
    covered[static_cast<std::size_t>(span.sequence)] += span.length;
    spans.push_back(span);
  }
  if (covered != lengths) refuse_file(path + ": /spans", "the parts do not fill the sequences");
  return spans;
}

// Sequences that share a document, directly or through others, get the same number.
std::vector<std::size_t> groups_of(const std::vector<Span5>& spans, std::size_t sequences) {
  std::vector<std::size_t> parent(sequences);
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](std::size_t s) {
    while (parent[s] != s) s = parent[s] = parent[parent[s]];
    return s;
  };
  std::map<std::int64_t, std::size_t> first;  // sequence of each document
  for (const Span5& span : spans) {
    const auto sequence = static_cast<std::size_t>(span.sequence);
    const std::size_t other = first.try_emplace(span.document, sequence).first->second;
    parent[root(sequence)] = root(other);
  }
  for (std::size_t s = 0; s < sequences; ++s) parent[s] = root(s);
  return parent;
}

// Makes every part a sequence of its own.
void separate(StoredTokens& stored, std::vector<Span5>& spans) {
  TokenSet parts{stored.tokens.source, {}};
  std::vector<bool> held_out;
  for (Span5& span : spans) {
    const auto& ids = stored.tokens.sequences[static_cast<std::size_t>(span.sequence)];
    const auto begin = ids.begin() + span.start;
    parts.sequences.emplace_back(begin, begin + span.length);
    if (!stored.held_out.empty()) {
      held_out.push_back(stored.held_out[static_cast<std::size_t>(span.sequence)]);
    }
    span.sequence = std::ssize(parts.sequences) - 1;
  }
  stored.tokens = std::move(parts);
  stored.held_out = std::move(held_out);
}

// What a prepared file says beyond its tokens.
void add_description(const std::filesystem::path& path, StoredTokens& stored) {
  const Hdf5Reader file(path);
  if (!file.attribute("schema")) return;
  CalibrationSummary summary = read_summary(path);
  stored.tokenizer_sha256 = std::move(summary.tokenizer_sha256);
  stored.description = std::move(summary.description);
  stored.held_out = std::move(summary.held_out);
  std::vector<Span5> spans = read_spans(file, path.string(), summary.lengths);
  if (file.attribute("pack") == name_of(Packing::documents)) separate(stored, spans);
  stored.tokens.groups = groups_of(spans, stored.tokens.sequences.size());
}

}  // namespace

StoredTokens read_stored(const std::filesystem::path& path, std::optional<FileKind> format,
                         const TextNeeds& text_needs) {
  const std::vector<SourceFile> files{{path, format ? *format : kind_of(path), 0}};
  DocumentReader reader(files, "");
  ParserOptions options;
  options.vocabulary = std::int64_t{std::numeric_limits<std::int32_t>::max()} + 1;
  options.text_needs = text_needs;
  const DocumentParser parser(nullptr, options);
  StoredTokens stored;
  stored.tokens.source = path.string();
  Tokenizer::Scratch scratch;
  for (RawDocument document; reader.next(document);) {
    stored.tokens.sequences.push_back(parser.parse(document, path.string(), scratch).ids);
  }
  if (stored.tokens.sequences.empty()) {
    throw InputError({"the calibration file cannot be used", path.string(),
                      "it contains no sequences",
                      "docs/calibration.md describes the supported calibration files"});
  }
  if (files[0].kind == FileKind::hdf5) add_description(path, stored);
  return stored;
}

TokenSet read_tokens(const std::filesystem::path& path) {
  return read_stored(path).tokens;
}

std::string write_calibration(const std::filesystem::path& path, const PreparedSet& set,
                              const Tokenizer* tokenizer, const std::string& tokenizer_name) {
  std::string fingerprint;
  replace_file(path, [&](const std::filesystem::path& temporary) {
    Writer writer(temporary, path, set);
    writer.write_sequences();
    const std::string sha = tokenizer != nullptr ? tokenizer->sha256() : "";
    const Json description{{"schema", kSchema},
                           {"tool", {{"name", kToolName}, {"version", kToolVersion}}},
                           {"tokenizer", {{"path", tokenizer_name}, {"sha256", sha}}},
                           {"settings", settings_json(set.options())},
                           {"files", files_json(set)},
                           {"report", to_json(without_folders(set.report()))}};
    fingerprint = writer.finish(description, sha);
  });
  return fingerprint;
}

CalibrationSummary read_summary(const std::filesystem::path& path) {
  const Hdf5Reader file(path);
  const auto schema = file.attribute("schema");
  if (!schema || *schema != kSchema) {
    throw InputError(
        {"the file was not written by prepare", path.string(),
         schema ? fmt::format("its schema is {}; this version reads {}", quote(*schema), kSchema)
                : "it has no schema: at most, it contains the token ids of another program",
         schema ? "prepare it again: `indexcache-search prepare --help`"
                : "--calibration takes token ids as they are; `indexcache-search prepare --input "
                  "FILE` turns them into a file that `inspect` reads"});
  }
  CalibrationSummary summary{file.attribute("fingerprint").value_or(""),
                             file.attribute("tokenizer_sha256").value_or(""),
                             parse_json(file.text("/description").value_or(""), path.string()),
                             file.integers("/lengths").values,
                             {}};
  const IntegerDataset held_out = file.integers("/holdout");
  if (held_out.values.size() != summary.lengths.size()) {
    refuse_file(path.string() + ": /holdout", "it does not have a value for every sequence");
  }
  summary.held_out.assign(held_out.values.begin(), held_out.values.end());
  if (!summary.description.is_object())
    refuse_file(path.string() + ": /description", "it is not an object");
  return summary;
}

StoredSequence read_sequence(const std::filesystem::path& path, const CalibrationSummary& summary,
                             std::size_t index, std::int64_t ids) {
  const Hdf5Reader file(path);
  StoredSequence sequence;
  const std::int64_t count = std::min(ids, summary.lengths.at(index));
  for (std::int64_t id : file.row("/tokens", static_cast<std::int64_t>(index), 0, count)) {
    sequence.start.push_back(static_cast<TokenId>(id));
  }
  const IntegerDataset documents = file.integers("/documents");
  for (const Span5& span : read_spans(file, path.string(), summary.lengths)) {
    if (span.sequence != static_cast<std::int64_t>(index)) continue;
    const auto at = static_cast<std::size_t>(span.document * kDocumentFields);
    if (at + 1 >= documents.values.size())
      refuse_file(path.string() + ": /documents", "a row is missing");
    const Json& from =
        summary.description.at("files").at(static_cast<std::size_t>(documents.values[at]));
    const auto name = from.value("path", std::string());
    const auto kind = kind_named(from.value("kind", std::string()));
    std::string place = place_of(kind ? *kind : kind_of(name), name, documents.values[at + 1]);
    if (span.offset > 0) place += fmt::format(", from token {}", span.offset);
    sequence.documents.push_back(place);
  }
  return sequence;
}

}  // namespace indexcache
