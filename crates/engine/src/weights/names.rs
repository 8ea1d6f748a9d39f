//! The other names that a tensor goes by in published files, and the tensors that nobody needs.

/// Tensors that published files hold and no network takes: suffix or full name, and why they are harmless.
const HARMLESS: [(&str, &str); 4] = [
    ("embeddings.position_ids", "0, 1, 2, … as a buffer, written by older libraries"),
    ("logit_scale", "CLIP's training temperature"),
    ("text_projection.weight", "a text tower saved with its projection where only hidden states are read"),
    ("visual_projection.weight", "the same for an image tower"),
];

/// Older names of the VAE's attention (`AttentionBlock` before diffusers 0.18).
const ATTENTION: [(&str, &str); 4] =
    [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

/// The prefix that newer libraries leave out when they save a bare text tower.
const TEXT_PREFIX: &str = "text_model.";

/// Whether `name` may be left over.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|(suffix, _)| name.strip_suffix(suffix).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// Other names for `name`, likeliest first.
pub(super) fn aliases(name: &str) -> impl Iterator<Item = String> {
    let bare = name.strip_prefix(TEXT_PREFIX).map(ToOwned::to_owned);
    let legacy = ATTENTION
        .iter()
        .filter(|_| name.contains("attentions."))
        .find(|(current, _)| name.contains(current))
        .map(|(current, old)| name.replacen(current, old, 1));
    bare.into_iter().chain(legacy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_names() {
        let all = |name: &str| aliases(name).collect::<Vec<_>>();
        assert_eq!(all("text_model.final_layer_norm.bias"), ["final_layer_norm.bias"]);
        assert_eq!(all("encoder.mid_block.attentions.0.to_q.weight"), ["encoder.mid_block.attentions.0.query.weight"]);
        assert_eq!(all("decoder.mid_block.attentions.0.to_out.0.bias"), ["decoder.mid_block.attentions.0.proj_attn.bias"]);
        assert!(all("text_projection.weight").is_empty());
        assert!(all("conv_in.weight").is_empty());
    }

    #[test]
    fn leftovers() {
        for name in ["text_model.embeddings.position_ids", "embeddings.position_ids", "logit_scale"] {
            assert!(is_harmless(name), "{name}");
        }
        for name in ["my_logit_scale", "conv_in.weight", "position_ids", "add_embedding.linear_1.weight"] {
            assert!(!is_harmless(name), "{name}");
        }
    }
}
