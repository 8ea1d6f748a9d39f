//! Names as published, and names that are not.

use std::collections::BTreeMap;

use super::names::{Fate, Form, Layout, Place, SvdComponent, fate};

/// Component, diffusers' name, the file's name (with the part of a joined tensor, or a mark that it is transposed).
const PUBLISHED: &str = include_str!("../../../tests/fixtures/svd_single_file/published.tsv");
const LAYOUT: Layout = Layout { layers: 2, vae_levels: 4 };

fn rows() -> impl Iterator<Item = (Place, &'static str)> {
    PUBLISHED.lines().map(|line| {
        let [component, name, stored, _] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let component = [SvdComponent::UNet, SvdComponent::Vae, SvdComponent::ImageEncoder]
            .into_iter()
            .find(|known| known.name() == component)
            .unwrap();
        let forms = [("[q]", Form::Third(0)), ("[k]", Form::Third(1)), ("[v]", Form::Third(2)), ("[T]", Form::Transposed)];
        let marked = forms.into_iter().find_map(|(mark, form)| Some((stored.strip_suffix(mark)?, form)));
        let (stored, form) = marked.unwrap_or((stored, Form::Whole));
        (Place { component, name: name.to_owned(), form }, stored)
    })
}

#[test]
fn every_published_name_has_its_place() {
    let mut expected: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
    for (place, stored) in rows() {
        expected.entry(stored).or_default().push(place);
    }
    // 1428 of the UNet, 374 of the autoencoder, 392 of the image encoder
    assert_eq!(expected.len(), 1428 + 374 + 392);
    assert_eq!(Layout::of(expected.keys().copied()), Some(LAYOUT));
    for (stored, mut places) in expected {
        places.sort_by_key(|place| match place.form {
            Form::Third(index) => index,
            Form::Whole | Form::Transposed => 0,
        });
        assert_eq!(fate(stored, LAYOUT), Fate::Places(places), "{stored}");
    }
}

#[test]
fn leftovers_are_known_and_nothing_else_is() {
    for name in [
        "first_stage_model.encoder.conv_in.weight",
        "conditioner.embedders.3.encoder.decoder.conv_in.weight",
        "conditioner.embedders.3.encoder.post_quant_conv.bias",
        "conditioner.embedders.0.open_clip.model.logit_scale",
        "conditioner.embedders.0.open_clip.model.token_embedding.weight",
        "conditioner.embedders.0.open_clip.model.text_projection",
        "conditioner.embedders.0.open_clip.model.positional_embedding",
        "conditioner.embedders.0.open_clip.model.ln_final.weight",
        "conditioner.embedders.0.open_clip.model.transformer.resblocks.0.ln_1.weight",
        "model_ema.decay",
    ] {
        assert_eq!(fate(name, LAYOUT), Fate::Leftover, "{name}");
    }
    for name in [
        "",
        "model.diffusion_model.",
        "model.diffusion_model.input_blocks.1.0.in_layers.1.weight",
        "model.diffusion_model.input_blocks.1.2.in_layers.0.weight",
        "model.diffusion_model.input_blocks.99999999999999999999.0.in_layers.0.weight",
        "model.diffusion_model.input_blocks.3.0.in_layers.0.weight",
        "model.diffusion_model.input_blocks.0.0.op.weight",
        "model.diffusion_model.output_blocks.1.1.conv.weight",
        "model.diffusion_model.middle_block.3.in_layers.0.weight",
        "model.diffusion_model.out.1.weight",
        "first_stage_model.decoder.up.4.block.0.norm1.weight",
        "first_stage_model.decoder.mid.block_0.norm1.weight",
        "first_stage_model.decoder.conv_out.time_mix_conv.scale",
        "conditioner.embedders.3.encoder.quant_conv.scale",
        "conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.0.attn.in_proj",
        "conditioner.embedders.1.model.ln_final.weight",
        "lora_unet_out_0",
    ] {
        assert_eq!(fate(name, LAYOUT), Fate::Unknown, "{name}");
    }
}

#[test]
fn other_models_have_no_layout() {
    let sdxl =
        ["model.diffusion_model.input_blocks.1.0.in_layers.0.weight", "first_stage_model.decoder.up.0.block.0.norm1.weight"];
    assert_eq!(Layout::of(sdxl.into_iter()), None);
    let names = || rows().map(|(_, stored)| stored);
    assert_eq!(Layout::of(names().filter(|name| !name.contains("time_stack"))), None);
    assert_eq!(Layout::of(names().filter(|name| !name.starts_with("first_stage_model."))), None);
    assert_eq!(Layout::of(std::iter::empty()), None);
}
