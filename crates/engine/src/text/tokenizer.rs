//! CLIP's byte-pair tokenizer, from `vocab.json` + `merges.txt` or from `tokenizer.json`.

use std::path::Path;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::{Lowercase, NFC, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::tokenizer_files::TokenizerFiles;
use crate::error::{Error, Result};

/// What CLIP takes for a word: its special tokens, English endings, letters, one digit, anything else that is not space.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// What the last symbol of a word carries.
const END_OF_WORD: &str = "</w>";

/// Token ids of one prompt, padded to the model's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// `model_max_length` ids: begin, content, end, padding.
    pub ids: Vec<u32>,
    /// How many content tokens did not fit and were cut off.
    pub truncated: usize,
}

/// A tokenizer as a published repository's `tokenizer/` folder describes it.
///
/// Whatever the folder holds, the text is cut as transformers' `CLIPTokenizer` does (`models/clip/tokenization_clip.py`): NFC, runs of
/// white space made one blank, lower case, words, bytes, merges.
#[derive(Debug)]
pub struct Tokenizer {
    pipeline: tokenizers::Tokenizer,
    begin: u32,
    end: u32,
    padding: u32,
    max_length: usize,
}

impl Tokenizer {
    /// Reads `directory` (`vocab.json` + `merges.txt`, or `tokenizer.json`; `tokenizer_config.json`, `special_tokens_map.json`).
    pub fn open(directory: &Path) -> Result<Self> {
        let files = TokenizerFiles::read(directory)?;
        let broken = |reason: String| Error::Malformed { path: directory.to_owned(), reason };
        let failed = |error: tokenizers::Error| broken(error.to_string());

        let model = BPE::builder()
            .vocab_and_merges(files.vocabulary, files.merges)
            .continuing_subword_prefix(String::new())
            .end_of_word_suffix(END_OF_WORD.to_owned())
            .unk_token(files.unknown.clone())
            .build()
            .map_err(failed)?;
        let normalizer = Normalizers::new(vec![
            NFC.into(),
            Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(failed)?.into(),
            Lowercase.into(),
        ]);
        let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true).map_err(failed)?;
        let bytes = ByteLevel::new(false, true, true);
        let pre_tokenizer = PreTokenizers::new(vec![PreTokenizerWrapper::Split(words), PreTokenizerWrapper::ByteLevel(bytes)]);

        let mut pipeline = tokenizers::Tokenizer::new(model);
        pipeline.with_normalizer(Some(NormalizerWrapper::Sequence(normalizer))).map_err(failed)?;
        pipeline.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(pre_tokenizer)));
        pipeline.add_tokens(files.added).map_err(failed)?;

        let id = |key: &str, token: &str| {
            pipeline.token_to_id(token).ok_or_else(|| broken(format!("{key} {token:?} is not in the vocabulary")))
        };
        let (begin, end, padding) =
            (id("bos_token", &files.begin)?, id("eos_token", &files.end)?, id("pad_token", &files.padding)?);
        Ok(Self { begin, end, padding, max_length: files.max_length, pipeline })
    }

    /// The ids of `text`. A prompt may contain the end token; what is too long is cut, and the end token kept.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self
            .pipeline
            .encode_fast(text, false)
            .map_err(|error| Error::request("prompt", format!("cannot be split into tokens: {error}")))?;
        let content = encoding.get_ids();
        let kept = content.len().min(self.max_length - 2);
        let mut ids = Vec::with_capacity(self.max_length);
        ids.push(self.begin);
        ids.extend_from_slice(&content[..kept]);
        ids.push(self.end);
        ids.resize(self.max_length, self.padding);
        Ok(Tokens { ids, truncated: content.len() - kept })
    }

    /// Length every prompt is padded to (77).
    pub fn max_length(&self) -> usize {
        self.max_length
    }
}
