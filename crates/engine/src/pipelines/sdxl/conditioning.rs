//! Prompts to conditioning: tokens, both encoders, and the UNet's keys and values.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::ops::{Interrupt, Ops};
use crate::pipelines::machine::Conditioning;
use crate::pipelines::model_files;
use crate::text::{TextEncoder, TextEncoderConfig, Tokenizer};
use crate::unet::UNet;
use crate::weights::packed::Packed;
use crate::weights::{Checkpoint, Variant};

/// The last prompts that are kept encoded. A request of several pictures wants the same two again and again; SDXL's keys and values
/// take 50 MB a prompt in f32, so there are not more.
pub(super) const KEPT: usize = 4;

/// SDXL's two tokenizers and encoders. Each prompt goes through both; their penultimate states lie side by side in the context, and
/// the second one's projected pooled state is the pooled embedding.
#[derive(Debug)]
pub(super) struct TextStack {
    first: Branch,
    second: Branch,
}

#[derive(Debug)]
struct Branch {
    tokenizer: Tokenizer,
    encoder: TextEncoder,
}

/// A prompt as the UNet takes it.
#[derive(Clone, Debug)]
pub(super) struct EncodedPrompt {
    pub(super) conditioning: Arc<Conditioning>,
    /// Tokens that did not fit.
    pub(super) truncated: usize,
}

/// What an [`EncodedPrompt`] follows from, given the model. `text: None` stands for zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PromptKey {
    pub(super) text: Option<String>,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// The last encoded prompts.
#[derive(Debug, Default)]
pub(super) struct PromptCache {
    entries: Mutex<VecDeque<(PromptKey, EncodedPrompt)>>,
}

impl Branch {
    fn load(
        model: &Path,
        ops: &Ops,
        variant: Variant,
        (component, tokenizer, projection): (&str, &str, bool),
        packed: Option<Packed<'_>>,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let directory = model.join(component);
        let path = directory.join("config.json");
        let config: TextEncoderConfig = model_files::parse(&path, &model_files::read(&path)?)?;
        let checkpoint = Checkpoint::open(component, &directory, "model", variant)?;
        let encoder = checkpoint.fill(packed, interrupt, |scope| TextEncoder::load(ops, scope, &config, projection))?;
        let tokenizer = Tokenizer::open(&model.join(tokenizer))?;
        if tokenizer.max_length() > config.max_position_embeddings {
            let reason = format!(
                "its tokenizer gives {} tokens, max_position_embeddings is {}",
                tokenizer.max_length(),
                config.max_position_embeddings
            );
            return Err(Error::checkpoint(component, reason));
        }
        Ok(Self { tokenizer, encoder })
    }
}

impl TextStack {
    /// Loads both tokenizers and encoders of the model in `directory`.
    pub(super) fn load(
        directory: &Path,
        ops: &Ops,
        variant: Variant,
        packed: Option<Packed<'_>>,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let first = Branch::load(directory, ops, variant, ("text_encoder", "tokenizer", false), packed, interrupt)?;
        let second = Branch::load(directory, ops, variant, ("text_encoder_2", "tokenizer_2", true), packed, interrupt)?;
        let lengths = (first.tokenizer.max_length(), second.tokenizer.max_length());
        if lengths.0 != lengths.1 {
            let reason = format!("prompts are {} tokens long, the first tokenizer's {}", lengths.1, lengths.0);
            return Err(Error::checkpoint("tokenizer_2", reason));
        }
        Ok(Self { first, second })
    }

    /// Width of the context.
    pub(super) fn context_width(&self) -> usize {
        self.first.encoder.config().hidden_size + self.second.encoder.config().hidden_size
    }

    /// Width of the pooled embedding.
    pub(super) fn pooled_width(&self) -> usize {
        self.second.encoder.config().projection_dim
    }

    /// The conditioning of each key: from the cache, the rest encoded together.
    pub(super) fn condition(
        &self,
        keys: &[PromptKey],
        cache: &PromptCache,
        unet: &UNet,
        ops: &Ops,
        interrupt: &Interrupt,
    ) -> Result<Vec<EncodedPrompt>> {
        let mut found: Vec<Option<EncodedPrompt>> = keys.iter().map(|key| cache.get(key)).collect();
        let texts: Vec<&str> =
            keys.iter().zip(&found).filter(|(_, found)| found.is_none()).filter_map(|(key, _)| key.text.as_deref()).collect();
        let mut states = self.encode(&texts, ops, interrupt)?.into_iter();
        for (key, found) in keys.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let states = match key.text {
                Some(_) => states.next(),
                None => None,
            }
            .unwrap_or_else(|| self.zeros());
            let (height, width) = (key.height as f32, key.width as f32);
            let conditioning = Conditioning {
                context: unet.context(ops, &states.context, interrupt)?,
                pooled: states.pooled,
                time_ids: vec![height, width, 0.0, 0.0, height, width],
            };
            let prompt = EncodedPrompt { conditioning: Arc::new(conditioning), truncated: states.truncated };
            cache.put(key.clone(), prompt.clone());
            *found = Some(prompt);
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn zeros(&self) -> PromptStates {
        let context = vec![0.0; self.first.tokenizer.max_length() * self.context_width()];
        PromptStates { context, pooled: vec![0.0; self.pooled_width()], truncated: 0 }
    }

    fn encode(&self, texts: &[&str], ops: &Ops, interrupt: &Interrupt) -> Result<Vec<PromptStates>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let encode = |branch: &Branch| {
            let tokens = texts.iter().map(|text| branch.tokenizer.encode(text)).collect::<Result<Vec<_>>>()?;
            let truncated: Vec<usize> = tokens.iter().map(|tokens| tokens.truncated).collect();
            let ids: Vec<Vec<u32>> = tokens.into_iter().map(|tokens| tokens.ids).collect();
            Ok::<_, Error>((branch.encoder.encode(ops, &ids, interrupt)?, truncated))
        };
        let (first, first_truncated) = encode(&self.first)?;
        let (second, second_truncated) = encode(&self.second)?;
        let widths = (self.first.encoder.config().hidden_size, self.second.encoder.config().hidden_size);
        let truncated = first_truncated.into_iter().zip(second_truncated).map(|(first, second)| first.max(second));
        Ok(first
            .into_iter()
            .zip(second)
            .zip(truncated)
            .map(|((first, second), truncated)| {
                let tokens = first.penultimate.chunks_exact(widths.0).zip(second.penultimate.chunks_exact(widths.1));
                let context = tokens.flat_map(|(first, second)| first.iter().chain(second).copied()).collect();
                PromptStates { context, pooled: second.pooled, truncated }
            })
            .collect())
    }
}

/// What both encoders say of a prompt.
struct PromptStates {
    /// `tokens × context width`.
    context: Vec<f32>,
    pooled: Vec<f32>,
    truncated: usize,
}

impl PromptCache {
    fn get(&self, key: &PromptKey) -> Option<EncodedPrompt> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|(kept, _)| kept == key).map(|(_, prompt)| prompt.clone())
    }

    fn put(&self, key: PromptKey, prompt: EncodedPrompt) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(kept, _)| *kept != key);
        entries.push_front((key, prompt));
        entries.truncate(KEPT);
    }
}
