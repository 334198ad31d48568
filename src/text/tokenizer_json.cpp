// SPDX-License-Identifier: Apache-2.0
// tokenizer.json of Hugging Face tokenizers -> TokenizerDefinition.
#include "core/error.h"
#include "core/quote.h"
#include "io/files.h"
#include "io/json.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"

#include <fmt/format.h>

#include <map>

namespace indexcache {
namespace {

constexpr const char* kRemedy =
    "tokenize first and provide token ids (input_ids in .jsonl, .npy or .h5)";

class DefinitionReader {
 public:
  explicit DefinitionReader(const std::string& where) : path_(where) {}

  TokenizerDefinition read(std::string_view text) {
    json_ = parse_large_json(text, path_, "give the tokenizer.json that belongs to the model");
    definition_.sha256 = indexcache::sha256(text);
    if (!json_.is_object() || !json_.contains("model")) fail("model", "the key is missing");
    try {
      read_parts();
    } catch (const LargeJson::exception& error) {
      fail("structure", excerpt(error.what()));
    }
    return std::move(definition_);
  }

 private:
  void read_parts() {
    read_model(json_["model"]);
    read_added_tokens(key(json_, "added_tokens"));
    read_normalizer(key(json_, "normalizer"), "normalizer");
    read_pre_tokenizers(key(json_, "pre_tokenizer"));
    read_post_processor(key(json_, "post_processor"), "post_processor");
  }

  [[noreturn]] void fail(const std::string& where, const std::string& why) const {
    throw InputError({"the tokenizer cannot be read", path_ + ": " + where, why, kRemedy});
  }

  [[noreturn]] void refuse(const std::string& where, const std::string& why) const {
    throw InputError(
        {"the tokenizer uses an unsupported feature", path_ + ": " + where, why, kRemedy});
  }

  // null stands for what is absent.
  static const LargeJson& key(const LargeJson& object, const char* name) {
    static const LargeJson kNull;
    const auto found = object.find(name);
    return found == object.end() ? kNull : *found;
  }

  std::string type_of(const LargeJson& object, const std::string& where) const {
    const LargeJson& type = object.is_object() ? key(object, "type") : object;
    if (!type.is_string()) fail(where, "it has no \"type\"");
    return type.get<std::string>();
  }

  bool flag(const LargeJson& object, const char* name, const std::string& where,
            bool absent = false) const {
    const LargeJson& value = key(object, name);
    if (value.is_null()) return absent;
    if (!value.is_boolean()) fail(where + "." + name, "it is not true or false");
    return value.get<bool>();
  }

  // Claims `id` for a token of these bytes.
  void place(TokenId id, std::string bytes, const std::string& where) {
    if (id < 0 || id > (1 << 26)) fail(excerpt(where), fmt::format("{} is not a token id", id));
    const auto at = static_cast<std::size_t>(id);
    if (definition_.tokens.size() <= at) {
      definition_.tokens.resize(at + 1);
      taken_.resize(at + 1, false);
    }
    if (taken_[at] && definition_.tokens[at] != bytes) {
      fail(excerpt(where), fmt::format("the id {} belongs to two tokens", id));
    }
    taken_[at] = true;
    definition_.tokens[at] = std::move(bytes);
  }

  void read_model(const LargeJson& model) {
    // Files of the first versions name no type.
    if (model.contains("type") && type_of(model, "model") != "BPE") {
      refuse("model.type",
             fmt::format("it is {}; only BPE is supported", described(model["type"])));
    }
    if (!key(model, "dropout").is_null() && key(model, "dropout") != 0.0) {
      refuse("model.dropout", "merges that are dropped at random have no fixed result");
    }
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const LargeJson& affix = key(model, name);
      if (!affix.is_null() && affix != LargeJson("")) {
        refuse(fmt::format("model.{}", name), fmt::format("it is {}", described(affix)));
      }
    }
    if (flag(model, "byte_fallback", "model")) {
      refuse("model.byte_fallback", "the vocabulary is not byte-level");
    }
    definition_.ignore_merges = flag(model, "ignore_merges", "model");
    read_vocabulary(key(model, "vocab"));
    read_merges(key(model, "merges"));
  }

  void read_vocabulary(const LargeJson& vocabulary) {
    if (!vocabulary.is_object()) fail("model.vocab", "it is not an object");
    definition_.vocabulary.reserve(vocabulary.size());
    for (const auto& [entry, id] : vocabulary.items()) {
      if (!id.is_number_integer())
        fail("model.vocab." + excerpt(entry), "the id is not an integer");
      const auto number = id.get<std::int64_t>();
      const auto token = static_cast<TokenId>(std::clamp<std::int64_t>(number, -1, 1 << 27));
      auto bytes = bytes_of_entry(entry);
      // What is no spelling of bytes, such as a control token, can only be an added token.
      place(token, bytes ? *bytes : entry, "model.vocab." + entry);
      if (bytes) definition_.vocabulary.emplace(std::move(*bytes), token);
    }
    for (unsigned byte = 0; byte <= 0xF4; ++byte) {
      if (byte == 0xC0 || byte == 0xC1) continue;  // never in UTF-8
      const std::string one(1, static_cast<char>(byte));
      if (!definition_.vocabulary.contains(one)) {
        refuse("model.vocab", fmt::format("it is not byte-level: byte 0x{:02x} (\"{}\") is missing",
                                          byte, entry_of_bytes(one)));
      }
    }
  }

  TokenId merge_part(std::string_view entry, const std::string& where) const {
    const auto bytes = bytes_of_entry(entry);
    const auto found = bytes ? definition_.vocabulary.find(*bytes) : definition_.vocabulary.end();
    if (found == definition_.vocabulary.end()) {
      fail(where, quote(entry) + " is not in the vocabulary");
    }
    return found->second;
  }

  void read_merges(const LargeJson& merges) {
    if (!merges.is_array()) fail("model.merges", "it is not a list");
    definition_.merges.reserve(merges.size());
    std::string where;
    for (const LargeJson& merge : merges) {
      where = fmt::format("model.merges[{}]", definition_.merges.size());
      std::string_view left, right;
      if (merge.is_string()) {
        const std::string_view both = merge.get_ref<const std::string&>();
        const std::size_t space = both.find(' ');
        if (space != std::string_view::npos) {
          left = both.substr(0, space);
          right = both.substr(space + 1);
        }
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        left = merge[0].get_ref<const std::string&>();
        right = merge[1].get_ref<const std::string&>();
      }
      if (left.empty() || right.empty()) fail(where, "it is not a pair: " + described(merge));
      definition_.merges.push_back({merge_part(left, where), merge_part(right, where),
                                    merge_part(std::string(left) + std::string(right), where)});
    }
  }

  // What is in the vocabulary keeps that id; the others are numbered on from its end, whatever the
  // file says (AddedVocabulary of Hugging Face tokenizers).
  TokenId id_of_added(const std::string& content) {
    const LargeJson& vocabulary = json_["model"]["vocab"];
    const auto entry = vocabulary.find(content);
    if (entry != vocabulary.end()) return entry->get<TokenId>();
    return static_cast<TokenId>(vocabulary.size() + added_beyond_++);
  }

  void read_added_tokens(const LargeJson& tokens) {
    if (tokens.is_null()) return;
    if (!tokens.is_array()) fail("added_tokens", "it is not a list");
    std::map<std::string, TokenId> seen;
    for (const LargeJson& entry : tokens) {
      const std::string where = fmt::format("added_tokens[{}]", seen.size());
      const LargeJson& id = key(entry, "id");
      const LargeJson& content = key(entry, "content");
      if (!entry.is_object() || !id.is_number_integer() || !content.is_string()) {
        fail(where, "its id or content is missing");
      }
      AddedToken token{
          static_cast<TokenId>(std::clamp<std::int64_t>(id.get<std::int64_t>(), -1, 1 << 27)),
          content.get<std::string>(),
          flag(entry, "special", where),
          flag(entry, "single_word", where),
          flag(entry, "lstrip", where),
          flag(entry, "rstrip", where),
          flag(entry, "normalized", where, !flag(entry, "special", where))};
      if (!seen.emplace(token.content, token.id).second) {
        fail(where, quote(token.content) + " is listed twice");
      }
      if (const TokenId id_there = id_of_added(token.content); id_there != token.id) {
        fail(where, fmt::format("{} has the id {}, which Hugging Face tokenizers reads as {}",
                                quote(token.content), token.id, id_there));
      }
      place(token.id, token.content, where);
      definition_.added.push_back(std::move(token));
    }
  }

  void read_normalizer(const LargeJson& normalizer, const std::string& where) {
    if (normalizer.is_null()) return;
    const std::string type = type_of(normalizer, where);
    if (type == "Sequence") {
      const LargeJson& steps = key(normalizer, "normalizers");
      for (std::size_t i = 0; i < steps.size(); ++i) {
        read_normalizer(steps[i], fmt::format("{}.normalizers[{}]", where, i));
      }
    } else if (type == "NFC") {
      definition_.nfc = true;
    } else {
      refuse(where, fmt::format("the normalizer {}; only NFC or none is supported", excerpt(type)));
    }
  }

  void read_pre_tokenizers(const LargeJson& pre_tokenizer) {
    const std::string where = "pre_tokenizer";
    if (pre_tokenizer.is_null()) refuse(where, "it is missing, so the model is not byte-level");
    std::vector<const LargeJson*> steps;
    flatten(pre_tokenizer, where, steps);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const std::string step = fmt::format("{}, step {}", where, i + 1);
      const std::string type = type_of(*steps[i], step);
      const bool last = i + 1 == steps.size();
      if (type == "Split" && !last) {
        read_split(*steps[i], step);
      } else if (type == "ByteLevel" && last) {
        definition_.byte_level = {flag(*steps[i], "add_prefix_space", step, true),
                                  flag(*steps[i], "use_regex", step, true)};
      } else {
        refuse(step, fmt::format("{}; only Split steps followed by one ByteLevel are supported",
                                 excerpt(type)));
      }
    }
    if (steps.empty()) refuse(where, "it is empty, so the model is not byte-level");
  }

  void flatten(const LargeJson& step, const std::string& where,
               std::vector<const LargeJson*>& steps) const {
    if (type_of(step, where) != "Sequence") {
      steps.push_back(&step);
      return;
    }
    for (const LargeJson& inner : key(step, "pretokenizers")) flatten(inner, where, steps);
  }

  void read_split(const LargeJson& split, const std::string& where) {
    static const std::map<std::string, SplitBehavior> kBehaviors{
        {"Removed", SplitBehavior::removed},
        {"Isolated", SplitBehavior::isolated},
        {"MergedWithPrevious", SplitBehavior::merged_with_previous},
        {"MergedWithNext", SplitBehavior::merged_with_next},
        {"Contiguous", SplitBehavior::contiguous}};
    const LargeJson& name = key(split, "behavior");
    const auto behavior = kBehaviors.find(name.is_string() ? name.get<std::string>() : "");
    if (behavior == kBehaviors.end()) refuse(where + ".behavior", "it is " + described(name));
    const LargeJson& pattern = key(split, "pattern");
    const LargeJson& regex = pattern.is_object() ? key(pattern, "Regex") : pattern;
    const LargeJson& text = pattern.is_object() ? key(pattern, "String") : regex;
    const bool literal = text.is_string() && pattern.is_object();
    if (!literal && !regex.is_string()) {
      fail(where + ".pattern", "neither a Regex nor a String: " + described(pattern));
    }
    definition_.splits.push_back(
        {Regex((literal ? text : regex).get<std::string>(), path_ + ": " + where,
               literal ? Regex::Syntax::literal : Regex::Syntax::oniguruma),
         behavior->second, flag(split, "invert", where)});
  }

  void read_post_processor(const LargeJson& processor, const std::string& where) {
    if (processor.is_null()) return;
    const std::string type = type_of(processor, where);
    if (type == "Sequence") {
      const LargeJson& steps = key(processor, "processors");
      for (std::size_t i = 0; i < steps.size(); ++i) {
        read_post_processor(steps[i], fmt::format("{}.processors[{}]", where, i));
      }
    } else if (type == "TemplateProcessing") {
      read_template(processor, where);
    } else if (type != "ByteLevel") {  // that one moves offsets, not ids
      refuse(where, fmt::format("the post-processor {}; only TemplateProcessing is supported",
                                excerpt(type)));
    }
  }

  void read_template(const LargeJson& processor, const std::string& where) {
    bool text_seen = false;
    for (const LargeJson& item : key(processor, "single")) {
      const bool is_text = item.is_object() && item.contains("Sequence");
      if (is_text && !text_seen && item["Sequence"].value("id", "") == "A") {
        text_seen = true;
        continue;
      }
      if (is_text || !item.is_object() || !item.contains("SpecialToken")) {
        refuse(where + ".single", "it is not special tokens around one text: " + described(item));
      }
      const std::string name = item["SpecialToken"].value("id", "");
      const LargeJson& ids = key(key(key(processor, "special_tokens"), name.c_str()), "ids");
      if (!ids.is_array() || ids.empty()) fail(where, quote(name) + " has no ids");
      for (const LargeJson& id : ids) {
        if (!id.is_number_integer() || id < 0 || id >= definition_.tokens.size()) {
          fail(where, fmt::format("{} is not a token of the vocabulary", described(id)));
        }
        (text_seen ? definition_.suffix : definition_.prefix).push_back(id.get<TokenId>());
      }
    }
    if (!text_seen) refuse(where + ".single", "it does not contain the text itself");
  }

  std::string path_;
  LargeJson json_;
  std::vector<bool> taken_;
  std::size_t added_beyond_ = 0;  // added tokens that the vocabulary does not hold
  TokenizerDefinition definition_;
};

}  // namespace

TokenizerDefinition read_tokenizer_json(const std::filesystem::path& path) {
  return parse_tokenizer_json(read_file(path), path.string());
}

TokenizerDefinition parse_tokenizer_json(std::string_view text, const std::string& where) {
  return DefinitionReader(where).read(text);
}

}  // namespace indexcache
