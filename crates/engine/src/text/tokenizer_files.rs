//! The files of a `tokenizer/` folder, checked before they are believed.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;
use tokenizers::models::bpe::{Merges, Vocab};

use crate::error::{Error, Result, shortened};
use crate::small_file;

/// CLIP's length, where the folder says nothing or nothing usable (libraries write 1e30 for "no limit").
const DEFAULT_MAX_LENGTH: usize = 77;
/// No text tower reads more at once.
const LONGEST: u64 = 4096;
/// CLIP's `vocab.json` has 1 MB, its `merges.txt` 0.5, a `tokenizer.json` about 4. Taken apart, a file takes up to fifty times its
/// length in memory.
const MOST_FILE_BYTES: u64 = 16 << 20;
const END_OF_TEXT: &str = "<|endoftext|>";

/// What a tokenizer is made of.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    pub(super) vocabulary: Vocab,
    pub(super) merges: Merges,
    /// Tokens that are cut out of the text before it is split into words. Of several with one content the last counts.
    pub(super) added: Vec<AddedToken>,
    pub(super) begin: String,
    pub(super) end: String,
    pub(super) unknown: String,
    pub(super) padding: String,
    pub(super) max_length: usize,
}

impl TokenizerFiles {
    /// Reads `directory`. With both kinds of vocabulary there, `tokenizer.json` counts, as in transformers.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let whole_path = directory.join("tokenizer.json");
        let whole = read_object(&whole_path)?;
        let (vocabulary, merges) = match &whole {
            Some(whole) => embedded(&whole_path, whole)?,
            None => separate(directory)?,
        };
        let settings = read_object(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
        let specials = read_object(&directory.join("special_tokens_map.json"))?.unwrap_or_default();
        let config_path = directory.join("tokenizer_config.json");

        // Order of precedence and of adding: transformers' tokenization_utils_base.py and tokenization_utils_tokenizers.py.
        let (mut added, specials) = match settings.get("added_tokens_decoder") {
            Some(decoder) => (decoder_tokens(&config_path, decoder)?, Map::new()),
            None => (listed_tokens(&whole_path, whole.as_ref().and_then(|whole| whole.get("added_tokens")))?, specials),
        };
        let known = added.clone();
        let mut named = Vec::new();
        for (key, default) in
            [("bos_token", "<|startoftext|>"), ("eos_token", END_OF_TEXT), ("unk_token", END_OF_TEXT), ("pad_token", END_OF_TEXT)]
        {
            let value = specials.get(key).or_else(|| settings.get(key)).filter(|value| !value.is_null());
            let token = match value {
                Some(value) => named_token(&config_path, key, value)?,
                None => AddedToken::from(default, true),
            };
            named.push(known.iter().find(|known| known.content == token.content).cloned().unwrap_or(token));
        }
        added.extend(named.iter().cloned());
        let [begin, end, unknown, padding] = [0, 1, 2, 3].map(|index: usize| named[index].content.clone());

        let max_length = match settings.get("model_max_length").and_then(Value::as_u64) {
            Some(length) if length < 3 => {
                let reason = format!("model_max_length {length} leaves no room for a word; at least 3 is needed");
                return Err(Error::Malformed { path: config_path, reason });
            }
            Some(length) if length <= LONGEST => length as usize,
            _ => DEFAULT_MAX_LENGTH,
        };
        Ok(Self { vocabulary, merges, added, begin, end, unknown, padding, max_length })
    }
}

/// `vocab.json` and `merges.txt`.
fn separate(directory: &Path) -> Result<(Vocab, Merges)> {
    let (vocabulary_path, merges_path) = (directory.join("vocab.json"), directory.join("merges.txt"));
    let (Some(vocabulary), Some(merges)) = (read_object(&vocabulary_path)?, small_file::read(&merges_path, MOST_FILE_BYTES)?)
    else {
        let reason = "expected vocab.json and merges.txt, or tokenizer.json".to_owned();
        return Err(Error::Malformed { path: directory.to_owned(), reason });
    };
    let vocabulary = vocabulary_of(&vocabulary_path, &vocabulary)?;
    let lines = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    let merges = lines.map(|line| merge_of(&merges_path, &vocabulary, line)).collect::<Result<_>>()?;
    Ok((vocabulary, merges))
}

/// The model inside a `tokenizer.json`; its other parts are those of every CLIP tokenizer and are not read.
fn embedded(path: &Path, whole: &Map<String, Value>) -> Result<(Vocab, Merges)> {
    let broken = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    let Some(Value::Object(model)) = whole.get("model") else { return Err(broken("no model".to_owned())) };
    for (key, expected) in [("type", "BPE"), ("end_of_word_suffix", "</w>")] {
        if model.get(key).and_then(Value::as_str) != Some(expected) {
            return Err(broken(format!("model.{key} is not {expected:?}, so this is not a CLIP tokenizer")));
        }
    }
    let (Some(Value::Object(vocabulary)), Some(Value::Array(merges))) = (model.get("vocab"), model.get("merges")) else {
        return Err(broken("model.vocab or model.merges is missing".to_owned()));
    };
    let vocabulary = vocabulary_of(path, vocabulary)?;
    let merge = |merge: &Value| match merge {
        Value::String(line) => merge_of(path, &vocabulary, line),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(left), Value::String(right)] => known_merge(path, &vocabulary, left, right),
            _ => Err(broken(format!("{} is not a merge", shortened(&merge.to_string())))),
        },
        _ => Err(broken(format!("{} is not a merge", shortened(&merge.to_string())))),
    };
    let merges = merges.iter().map(merge).collect::<Result<_>>()?;
    Ok((vocabulary, merges))
}

fn vocabulary_of(path: &Path, object: &Map<String, Value>) -> Result<Vocab> {
    let id = |(token, id): (&String, &Value)| {
        let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
        number.map(|id| (token.clone(), id)).ok_or_else(|| Error::Malformed {
            path: path.to_owned(),
            reason: format!(
                "token {:?} has the id {}, which is not a 32-bit number",
                shortened(token),
                shortened(&id.to_string())
            ),
        })
    };
    object.iter().map(id).collect()
}

fn merge_of(path: &Path, vocabulary: &Vocab, line: &str) -> Result<(String, String)> {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        [left, right] => known_merge(path, vocabulary, left, right),
        _ => Err(Error::Malformed {
            path: path.to_owned(),
            reason: format!("{:?} is not two tokens and a blank", shortened(line)),
        }),
    }
}

/// A merge of two tokens of the vocabulary to a third; the tokenizers crate panics on some that are not.
fn known_merge(path: &Path, vocabulary: &Vocab, left: &str, right: &str) -> Result<(String, String)> {
    for token in [left, right, &format!("{left}{right}")] {
        if !vocabulary.contains_key(token) {
            let (left, right, token) = (shortened(left), shortened(right), shortened(token));
            let reason = format!("the merge {left:?} {right:?} needs the token {token:?}, which the vocabulary lacks");
            return Err(Error::Malformed { path: path.to_owned(), reason });
        }
    }
    Ok((left.to_owned(), right.to_owned()))
}

/// `added_tokens_decoder`: id → token, in the order of ids.
fn decoder_tokens(path: &Path, decoder: &Value) -> Result<Vec<AddedToken>> {
    let Value::Object(decoder) = decoder else {
        return Err(Error::Malformed { path: path.to_owned(), reason: "added_tokens_decoder is not an object".to_owned() });
    };
    let mut numbered: Vec<(u64, &Value)> = decoder.iter().map(|(id, token)| (id.parse().unwrap_or(u64::MAX), token)).collect();
    numbered.sort_by_key(|(id, _)| *id);
    numbered.into_iter().map(|(_, token)| object_token(path, "added_tokens_decoder", token, false)).collect()
}

/// `added_tokens` of a `tokenizer.json`.
fn listed_tokens(path: &Path, list: Option<&Value>) -> Result<Vec<AddedToken>> {
    let tokens = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    tokens.iter().map(|token| object_token(path, "added_tokens", token, false)).collect()
}

/// A special token, as a string or as an object.
fn named_token(path: &Path, key: &str, value: &Value) -> Result<AddedToken> {
    match value {
        Value::String(content) => Ok(AddedToken::from(content.clone(), true)),
        object => object_token(path, key, object, true),
    }
}

fn object_token(path: &Path, key: &str, value: &Value, special: bool) -> Result<AddedToken> {
    let content = value.get("content").and_then(Value::as_str).filter(|content| !content.is_empty());
    let Some(content) = content else {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: format!("{key}: {} is not a token", shortened(&value.to_string())),
        });
    };
    let flag = |name: &str, default: bool| value.get(name).and_then(Value::as_bool).unwrap_or(default);
    let special = special || flag("special", false);
    if flag("lstrip", false) && content.starts_with(char::is_whitespace) {
        // After a token that takes the blanks behind it, the tokenizers crate would panic at one that begins with them.
        let reason = format!("{key}: {:?} begins with a blank, and lstrip takes those away", shortened(content));
        return Err(Error::Malformed { path: path.to_owned(), reason });
    }
    Ok(AddedToken::from(content, special)
        .normalized(flag("normalized", !special))
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false))
        .single_word(flag("single_word", false)))
}

/// The object in `path`; `None` when there is no such file.
fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(text) = small_file::read(path, MOST_FILE_BYTES)? else { return Ok(None) };
    let object = serde_json::from_str(&text);
    object.map(Some).map_err(|error| Error::Malformed { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_whose_own_beginning_is_stripped_is_refused() {
        let read = |token: &Value| object_token(Path::new("tokenizer.json"), "added_tokens", token, false);
        let error = read(&json!({"content": " x", "lstrip": true})).unwrap_err().to_string();
        assert!(error.contains("added_tokens: \" x\" begins with a blank"), "{error}");
        assert!(read(&json!({"content": " x"})).is_ok());
        assert!(read(&json!({"content": "x", "lstrip": true})).is_ok());
    }
}
