// SPDX-License-Identifier: Apache-2.0
#include "calibration/prepare.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "core/thread_count.h"
#include "io/files.h"
#include "text/chat_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <omp.h>
#include <unordered_set>

namespace indexcache {
namespace {

constexpr std::size_t kBatchDocuments = 4096;
constexpr std::size_t kBatchBytes = std::size_t{16} << 20;
constexpr std::int64_t kLongestSequence = std::int64_t{1} << 24;

[[noreturn]] void refuse(const std::string& what, const char* option, const std::string& why,
                         const std::string& remedy) {
  throw UsageError({what, option, why, remedy});
}

void check(const PrepareOptions& options) {
  const PackingOptions& packing = options.packing;
  if (packing.seq_len < 2 || packing.seq_len > kLongestSequence) {
    refuse(fmt::format("invalid --seq-len {}", packing.seq_len), "--seq-len", "",
           fmt::format("a length from 2 to {} tokens", kLongestSequence));
  }
  if (packing.min_length < 2 || packing.min_length > packing.seq_len) {
    refuse(fmt::format("invalid --min-length {}", packing.min_length), "--min-length",
           "a loss requires two tokens, and no sequence is longer than --seq-len",
           fmt::format("a length from 2 to {}", packing.seq_len));
  }
  if (!options.weights.empty() && options.weights.size() != options.inputs.size()) {
    refuse(fmt::format("{} weights were given for {} inputs", options.weights.size(),
                       options.inputs.size()),
           "--input-weights", "", "one weight per input, in the same order");
  }
  for (const double weight : options.weights) {
    if (!(weight > 0) || !std::isfinite(weight)) {
      refuse(fmt::format("invalid weight {}: expected a positive number", weight),
             "--input-weights", "", "leave out the inputs that you do not want");
    }
  }
  if (!(options.holdout >= 0 && options.holdout < 1)) {
    refuse(fmt::format("invalid --holdout {}", options.holdout), "--holdout", "",
           "a share such as 0.25, or 0 for none");
  }
  if (packing.sequences == 1 && options.holdout > 0) {
    refuse("one sequence cannot be split into search and held-out data", "--sequences", "",
           "more sequences, or --holdout 0");
  }
  for (std::size_t i = 0; i < options.strata.size(); ++i) {
    if (options.strata[i] > (i == 0 ? 0 : options.strata[i - 1])) continue;
    refuse("the length boundaries are not in increasing order", "--strata", "",
           "for example --strata 2048,8192");
  }
}

}  // namespace

// One call of prepare().
class Preparation {
 public:
  Preparation(const PrepareOptions& options, const Tokenizer* tokenizer, std::int64_t vocabulary,
              const PrepareProgress& progress)
      : tokenizer_(tokenizer), progress_(progress) {
    set_.options_ = options;
    set_.files_ = find_source_files(options.inputs, options.format);
    set_.spool_ = std::make_unique<TokenSpool>();
    parser_options_.field = options.field;
    parser_options_.vocabulary = vocabulary;
    if (tokenizer != nullptr) choose_marks(*tokenizer);
    report().passed_over = static_cast<std::int64_t>(set_.files_.passed_over);
    report().hidden = static_cast<std::int64_t>(set_.files_.hidden);
    report().other_kinds = set_.files_.other_kinds;
    for (const std::string& input : options.inputs) report().sources.push_back({input});
    for (const SourceFile& file : set_.files_.files) ++report().sources[file.source].files;
  }

  PreparedSet run() {
    read_documents();
    build_sequences();
    return std::move(set_);
  }

 private:
  PrepareReport& report() { return set_.report_; }
  const PrepareOptions& options() const { return set_.options_; }

  // The ids that "auto", "none" or the content of an added token stand for.
  std::vector<TokenId> mark(const std::string& choice, const char* option,
                            std::vector<TokenId> automatic) const {
    if (choice == "auto") return automatic;
    if (choice == "none") return {};
    if (const auto id = tokenizer_->added_token(choice)) return {*id};
    throw UsageError({fmt::format("\"{}\" is not an added token of the tokenizer", choice), option,
                      "", "auto, none, or the token as tokenizer.json writes it"});
  }

  void choose_marks(const Tokenizer& tokenizer) {
    const auto& prefix = tokenizer.prefix();
    parser_options_.start =
        mark(options().bos, "--bos", prefix.empty() ? family_start(tokenizer) : prefix);
    parser_options_.end = mark(options().eos, "--eos", tokenizer.suffix());
    parser_options_.mark_ids = options().bos != "auto" && options().bos != "none";
    if (options().chat_format == "auto") {
      if (options().no_chat.empty()) parser_options_.chat = ChatFormat::of(tokenizer);
    } else {
      parser_options_.chat = ChatFormat::named(options().chat_format);
      parser_options_.chat->check(tokenizer);
    }
    parser_options_.chat_reason = !options().no_chat.empty()
                                      ? options().no_chat
                                      : "\"messages\" require a chat format, and the tokenizer has "
                                        "the role markers of no built-in one "
                                        "(deepseek-v3.2, glm-5 to glm-5.3)";
    report().start = tokenizer.decode(parser_options_.start);
    report().end = tokenizer.decode(parser_options_.end);
  }

  // A document of a batch, or why there is none.
  struct Parsed {
    ParsedDocument document;
    std::optional<Error> error;
    bool wrong_form = false;  // the error is one of all documents like it
    std::string hash;
  };

  void read_documents() {
    DocumentReader reader(set_.files_.files, options().separator);
    const DocumentParser parser(tokenizer_, parser_options_);
    const int threads = thread_count(options().threads);
    std::vector<Tokenizer::Scratch> scratch(static_cast<std::size_t>(threads));
    while (true) {
      check_interrupt();
      const std::vector<RawDocument> batch = read_batch(reader);
      if (batch.empty()) break;
      std::vector<Parsed> parsed(batch.size());
#pragma omp parallel for schedule(dynamic) num_threads(threads)
      for (std::size_t i = 0; i < batch.size(); ++i) {
        parsed[i] =
            parse(parser, batch[i], scratch[static_cast<std::size_t>(omp_get_thread_num())]);
      }
      for (std::size_t i = 0; i < batch.size(); ++i) keep(batch[i].origin, parsed[i]);
      if (progress_) progress_(static_cast<std::int64_t>(read_), set_.spool_->size());
    }
    for (const auto& [form, count] : forms_) report().forms.emplace_back(name_of(form), count);
    if (forms_.contains(Form::messages)) report().chat_format = parser_options_.chat->name();
  }

  static std::vector<RawDocument> read_batch(DocumentReader& reader) {
    std::vector<RawDocument> batch;
    std::size_t bytes = 0;
    RawDocument document;
    while (batch.size() < kBatchDocuments && bytes < kBatchBytes && reader.next(document)) {
      bytes += document.bytes.size() + 8 * document.ids.size();
      batch.push_back(std::move(document));
      document = {};
    }
    return batch;
  }

  Parsed parse(const DocumentParser& parser, const RawDocument& raw,
               Tokenizer::Scratch& scratch) const {
    Parsed parsed;
    try {
      const std::string file = set_.files_.files[raw.origin.file].path.string();
      parsed.document = parser.parse(raw, file, scratch);
      parsed.hash = sha256(std::as_bytes(std::span(parsed.document.ids))).substr(0, 32);
    } catch (const FormError& error) {
      parsed.error = error;
      parsed.wrong_form = true;
    } catch (const Error& error) {
      parsed.error = error;
    } catch (const std::exception& error) {  // must not leave a parallel loop
      parsed.error = InternalError({"a document could not be read", "", error.what(), ""});
    }
    return parsed;
  }

  [[noreturn]] static void refuse_document(Problem problem, bool wrong_form) {
    if (!wrong_form) {
      if (!problem.remedy.empty()) problem.remedy += "; ";
      problem.remedy += "--skip-invalid drops and counts such documents";
    }
    throw InputError(std::move(problem));
  }

  // Counts a document, and spools it unless it is dropped.
  void keep(const Origin& origin, const Parsed& parsed) {
    ++read_;
    SourceAccount& account = report().sources[origin.source];
    ++account.read;
    if (parsed.error) {
      if (parsed.error->code() != ExitCode::input) throw *parsed.error;
      const Problem& problem = parsed.error->problem();
      if (!options().skip_invalid) refuse_document(problem, parsed.wrong_form);
      if (report().first_invalid.empty()) {
        report().first_invalid = parsed.error->describe();
        report().first_reason =
            problem.where + ": " + (problem.why.empty() ? problem.what : problem.why);
      }
      ++account.invalid;
      return;
    }
    const ParsedDocument& document = parsed.document;
    const auto length = static_cast<std::int64_t>(document.ids.size());
    account.tokens_read += length;
    account.replaced += document.replaced ? 1 : 0;
    if (length == 0) {
      ++account.empty;
    } else if (length < options().packing.min_length) {
      ++account.too_short;
    } else if (!hashes_.insert(parsed.hash).second) {
      ++account.duplicate;
    } else {
      ++forms_[document.form];
      report().had_start += document.had_start ? 1 : 0;
      report().double_start += document.double_start ? 1 : 0;
      set_.documents_.push_back({origin, set_.spool_->size(), length});
      set_.spool_->append(document.ids);
    }
  }

  void build_sequences() {
    std::vector<EligibleDocument> candidates;
    for (std::size_t d = 0; d < set_.documents_.size(); ++d) {
      const PreparedSet::Document& document = set_.documents_[d];
      candidates.push_back({d, document.origin.source, document.length});
    }
    Decks decks =
        deal(candidates, {options().seed, options().holdout, options().weights, options().strata});
    const std::size_t all = options().packing.sequences;
    std::size_t held = 0;
    if (options().holdout > 0 && all > 0) {
      const double share = options().holdout * static_cast<double>(all);
      held = std::clamp<std::size_t>(static_cast<std::size_t>(std::lround(share)), 1, all - 1);
    }
    fill(false, all - held, decks.search);
    if (options().holdout > 0) fill(true, held, decks.holdout);
    for (const PreparedSet::Document& document : set_.documents_) {
      ++report().sources[document.origin.source].unused;
    }
    for (SourceAccount& account : report().sources) account.unused -= account.used;
  }

  void fill(bool held_out, std::size_t wanted, Deck& deck) {
    PackingOptions packing = options().packing;
    packing.sequences = wanted;
    Packer packer(packing);
    while (!packer.full()) {
      const auto candidate = deck.next();
      if (!candidate) break;
      deck.took(candidate->source, packer.add(candidate->document, candidate->length));
    }
    if (const auto source = deck.exhausted()) report().exhausted = options().inputs[*source];
    report().wanted[held_out] = wanted;
    set_.sides_[held_out] = packer.finish();
    report().built[held_out] = set_.sides_[held_out].size();
    account_for(set_.sides_[held_out]);
  }

  void account_for(const std::vector<PackedSequence>& sequences) {
    std::map<std::size_t, std::int64_t> used;  // tokens by document
    for (const PackedSequence& sequence : sequences) {
      for (const Piece& piece : sequence.pieces) used[piece.document] += piece.length;
    }
    for (const auto& [number, tokens] : used) {
      const PreparedSet::Document& document = set_.documents_[number];
      SourceAccount& account = report().sources[document.origin.source];
      ++account.used;
      account.tokens_used += tokens;
      account.truncated += tokens < document.length ? 1 : 0;
    }
  }

  const Tokenizer* tokenizer_;
  const PrepareProgress& progress_;
  ParserOptions parser_options_;
  PreparedSet set_;
  std::size_t read_ = 0;
  std::unordered_set<std::string> hashes_;
  std::map<Form, std::int64_t> forms_;
};

namespace {

void refuse_shortfall(const PreparedSet& set) {
  const PrepareReport& report = set.report();
  const bool empty_side =
      report.built[0] == 0 || (set.options().holdout > 0 && report.built[1] == 0);
  if (!empty_side && (set.options().allow_shortfall || !report.falls_short())) return;
  const SourceAccount total = report.total();
  const bool whole_text = set.options().separator.empty() &&
                          std::ranges::any_of(set.files().files, [](const SourceFile& file) {
                            return file.kind == FileKind::text;
                          });
  const std::string cut = whole_text ? ", --separator '\\n\\n' to cut texts into documents" : "";
  throw InputError(
      {"not enough documents to fill the sequences", fmt::format("{}", set.options().inputs[0]),
       fmt::format("{}; {} documents were read: {} used, {} empty, {} invalid, {} too short, {} "
                   "duplicate",
                   shortfall_text(report), total.read, total.used, total.empty, total.invalid,
                   total.too_short, total.duplicate) +
           (report.first_reason.empty() ? "" : "; the first invalid one: " + report.first_reason),
       empty_side ? "more documents" + cut + ", a shorter --seq-len or --min-length, --holdout 0"
                  : "more documents" + cut +
                        ", fewer --sequences, a shorter --seq-len, --long split, --pack concat, or "
                        "--allow-shortfall"});
}

}  // namespace

void resolve_chat_format(PrepareOptions& options, const Tokenizer& tokenizer,
                         const std::filesystem::path& path) {
  if (options.chat_format != "auto") return;
  const ChatChoice choice = choose_chat_format(tokenizer, path);
  options.no_chat = choice.why_not;
  if (!choice.format.empty()) options.chat_format = choice.format;
}

PreparedSet prepare(const PrepareOptions& options, const Tokenizer* tokenizer,
                    std::int64_t vocabulary, const PrepareProgress& progress) {
  check(options);
  PreparedSet set = Preparation(options, tokenizer, vocabulary, progress).run();
  refuse_shortfall(set);
  return set;
}

std::vector<TokenId> PreparedSet::tokens(const PackedSequence& sequence) const {
  std::vector<TokenId> ids;
  for (const Piece& piece : sequence.pieces) {
    spool_->read(documents_[piece.document].first + piece.begin, piece.length, ids);
  }
  return ids;
}

std::vector<std::int64_t> PreparedSet::lengths(bool held_out) const {
  std::vector<std::int64_t> lengths;
  for (const PackedSequence& sequence : sides_[held_out]) {
    if (options_.packing.packing != Packing::documents) {
      lengths.push_back(sequence.length());
      continue;
    }
    for (const Piece& piece : sequence.pieces) lengths.push_back(piece.length);
  }
  return lengths;
}

TokenSet PreparedSet::token_set(bool held_out) const {
  std::string source = options_.inputs[0];
  for (std::size_t i = 1; i < options_.inputs.size(); ++i) {
    source += " + " + std::filesystem::path(options_.inputs[i]).filename().string();
  }
  TokenSet set{source, {}};
  for (const PackedSequence& sequence : sides_[held_out]) {
    if (options_.packing.packing == Packing::documents) {
      for (const Piece& piece : sequence.pieces) set.sequences.push_back(tokens({{piece}}));
    } else {
      set.sequences.push_back(tokens(sequence));
    }
  }
  return set;
}

}  // namespace indexcache
