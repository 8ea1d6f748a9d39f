//! Names of the image encoder: `OpenCLIP`'s, which keeps queries, keys and values in one tensor and the projection transposed.

use super::names::{Form, Place, SvdComponent, numbered, renamed};

const TOP: [(&str, &str); 3] = [
    ("conv1", "vision_model.embeddings.patch_embedding"),
    ("ln_pre", "vision_model.pre_layrnorm"),
    ("ln_post", "vision_model.post_layernorm"),
];
const BARE: [(&str, &str, Form); 3] = [
    ("class_embedding", "vision_model.embeddings.class_embedding", Form::Whole),
    ("positional_embedding", "vision_model.embeddings.position_embedding.weight", Form::Whole),
    ("proj", "visual_projection.weight", Form::Transposed),
];
const LAYER: [(&str, &str); 5] = [
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("attn.out_proj", "self_attn.out_proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];
const JOINED: [(&str, &str); 2] = [("attn.in_proj_weight", "weight"), ("attn.in_proj_bias", "bias")];

/// What the tensor `stored` stands for; nothing when it is not known.
pub(super) fn places(stored: &str) -> Vec<Place> {
    let place = |name: String, form: Form| Place { component: SvdComponent::ImageEncoder, name, form };
    if let Some((_, name, form)) = BARE.iter().find(|(bare, _, _)| *bare == stored) {
        return vec![place((*name).to_owned(), *form)];
    }
    let Some((layer, rest)) = stored.strip_prefix("transformer.resblocks.").and_then(numbered) else {
        return renamed(stored, &TOP).map(|name| place(name, Form::Whole)).into_iter().collect();
    };
    let layer = format!("vision_model.encoder.layers.{layer}");
    if let Some((_, parameter)) = JOINED.iter().find(|(joined, _)| *joined == rest) {
        let parts = ["q_proj", "k_proj", "v_proj"].iter().enumerate();
        return parts.map(|(index, part)| place(format!("{layer}.self_attn.{part}.{parameter}"), Form::Third(index))).collect();
    }
    renamed(rest, &LAYER).map(|name| place(format!("{layer}.{name}"), Form::Whole)).into_iter().collect()
}
