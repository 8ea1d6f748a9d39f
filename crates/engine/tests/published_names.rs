//! The constructors, at full published size and without a single weight, ask for exactly the tensors that SDXL base 1.0 and SVD-XT have.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "only manifests are needed here")]
mod support;

use std::collections::BTreeMap;

use framewright_engine::Result;
use framewright_engine::ops::Ops;
use framewright_engine::svd::{SvdUNet, TemporalVae};
use framewright_engine::text::TextEncoder;
use framewright_engine::unet::UNet;
use framewright_engine::vae::Vae;
use framewright_engine::vision::ImageEncoder;
use framewright_engine::weights::{Declarations, Scope};
use serde::de::DeserializeOwned;

/// Builds a component of SDXL and compares what it asked for with what is published; `parameters` are those of the published file.
fn check<C: DeserializeOwned, N>(component: &str, parameters: usize, load: impl Fn(&Ops, &Scope<'_>, &C) -> Result<N>) {
    check_in("published", component, parameters, load);
}

/// The same of a model whose configurations and names are in `folder`.
fn check_in<C: DeserializeOwned, N>(
    folder: &str,
    component: &str,
    parameters: usize,
    load: impl Fn(&Ops, &Scope<'_>, &C) -> Result<N>,
) {
    let folder = support::fixtures().join(folder);
    let config: C = serde_json::from_value(support::json(folder.join(format!("{component}.json")))).unwrap();
    let source = Declarations::default();
    load(&Ops::declaring(), &Scope::root(&source), &config).unwrap();

    let asked = source.asked();
    let by_name: BTreeMap<_, _> = asked.iter().cloned().collect();
    assert_eq!(by_name.len(), asked.len(), "{component} asks for a tensor twice");
    let published: BTreeMap<_, _> = support::manifest(&folder.join(format!("{component}.tsv"))).into_iter().collect();
    let differences = |left: &BTreeMap<String, Vec<usize>>, right: &BTreeMap<String, Vec<usize>>| -> Vec<String> {
        left.iter()
            .filter(|(name, shape)| right.get(*name) != Some(shape))
            .map(|(name, shape)| format!("{name} {shape:?}"))
            .collect()
    };
    assert_eq!(differences(&by_name, &published), Vec::<String>::new(), "{component}: asked for, but not published so");
    assert_eq!(differences(&published, &by_name), Vec::<String>::new(), "{component}: published, but not asked for so");
    let count: usize = by_name.values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!(count, parameters, "{component}");
}

#[test]
fn unet() {
    check("unet", 2_567_463_684, UNet::load);
}

#[test]
fn vae() {
    check("vae", 83_653_863, Vae::load);
}

#[test]
fn text_encoder() {
    check("text_encoder", 123_060_480, |ops, scope, config| TextEncoder::load(ops, scope, config, false));
}

#[test]
fn text_encoder_2() {
    check("text_encoder_2", 694_659_840, |ops, scope, config| TextEncoder::load(ops, scope, config, true));
}

#[test]
fn svd_unet() {
    check_in("svd_published", "unet", 1_524_623_082, SvdUNet::load);
}

#[test]
fn svd_vae() {
    check_in("svd_published", "vae", 97_742_847, TemporalVae::load);
}

#[test]
fn svd_image_encoder() {
    check_in("svd_published", "image_encoder", 632_076_800, ImageEncoder::load);
}
