//! Stable Video Diffusion in one file, under its authors' names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "only fixtures and devices are needed here")]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::svd::{SvdModel, VideoRequest};
use framewright_engine::pipelines::{Proceed, drive};
use framewright_engine::svd::{SvdUNet, SvdUNetConfig, TemporalVae, TemporalVaeConfig, shapes};
use framewright_engine::vision::{ImageEncoder, ImageEncoderConfig, Picture, RgbPicture};
use framewright_engine::weights::{Checkpoint, PackedCache, RandomWeights, Scope, SvdComponent, SvdFile, TensorSource, Variant};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::de::DeserializeOwned;
use support::{fixtures, json};

/// A tensor of the file.
struct Stored {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// What a case does to the file.
type Change<'a> = &'a dyn Fn(&mut BTreeMap<String, Stored>);

/// A line of the list: component, diffusers' name, the file's name and form, diffusers' shape.
struct Line {
    component: String,
    name: String,
    stored: String,
    shape: Vec<usize>,
}

fn lines() -> Vec<Line> {
    let line = |line: &str| {
        let [component, name, stored, shape] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let shape = shape.split('x').map(|side| side.parse().unwrap()).collect();
        Line { component: component.to_owned(), name: name.to_owned(), stored: stored.to_owned(), shape }
    };
    std::fs::read_to_string(fixtures().join("svd_single_file/tiny.tsv")).unwrap().lines().map(line).collect()
}

/// Values by the formula, as the authors' file would hold them.
fn tensors() -> BTreeMap<String, Stored> {
    let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
    for Line { component, name, stored, shape } in lines() {
        let values = RandomWeights::salted(component.as_str()).values(&name, &shape);
        if let Some(stored) = stored.strip_suffix("[T]") {
            let (rows, columns) = (shape[0], shape[1]);
            let turned = (0..columns * rows).map(|index| values[index % rows * columns + index / rows]).collect();
            tensors.insert(stored.to_owned(), Stored { shape: vec![columns, rows], values: turned });
        } else if let Some((stored, part)) = stored.split_once('[') {
            let third = ["q]", "k]", "v]"].iter().position(|known| *known == part).unwrap();
            let length = values.len();
            let joined = tensors
                .entry(stored.to_owned())
                .or_insert_with(|| Stored { shape: [&[3 * shape[0]][..], &shape[1..]].concat(), values: vec![0.0; 3 * length] });
            joined.values[third * length..][..length].copy_from_slice(&values);
        } else {
            let is_matrix = stored.contains(".attn_1.") && shape.len() == 2;
            let shape = if is_matrix { [&shape[..], &[1, 1]].concat() } else { shape };
            assert!(tensors.insert(stored, Stored { shape, values }).is_none());
        }
    }
    for leftover in ["first_stage_model.encoder.conv_in.weight", "conditioner.embedders.0.open_clip.model.logit_scale"] {
        tensors.insert(leftover.to_owned(), Stored { shape: vec![1], values: vec![1.0] });
    }
    tensors
}

fn written(directory: &Path, tensors: &BTreeMap<String, Stored>) -> PathBuf {
    let path = directory.join("svd.safetensors");
    let data: Vec<(&String, &Stored, Vec<u8>)> = tensors
        .iter()
        .map(|(name, stored)| (name, stored, stored.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = data.iter().map(|(name, stored, data)| (name, TensorView::new(Dtype::F32, stored.shape.clone(), data).unwrap()));
    serialize_to_file(views, None, &path).unwrap();
    path
}

fn config<C: DeserializeOwned>(component: &str) -> C {
    serde_json::from_value(json("svd_single_file/tiny.json")[component].clone()).unwrap()
}

/// Every tensor of a component has the values of the formula under diffusers' name.
fn check_values(component: SvdComponent, checkpoint: &Checkpoint) {
    let weights = RandomWeights::salted(component.name());
    let mut count = 0;
    for line in lines().into_iter().filter(|line| line.component == component.name()) {
        let given = checkpoint.take(&line.name, &line.shape).unwrap().into_values().unwrap();
        assert_eq!(given, weights.values(&line.name, &line.shape), "{}", line.name);
        count += 1;
    }
    assert_eq!(checkpoint.tensors().count(), count);
}

#[test]
fn the_networks_come_out_of_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = SvdFile::open(&written(directory.path(), &tensors())).unwrap();
    let ops = Ops::declaring();

    let checkpoint = file.checkpoint(SvdComponent::UNet).unwrap();
    let unet = shapes::unet_config(&checkpoint, 14).unwrap();
    assert_eq!(unet, config::<SvdUNetConfig>("unet"));
    SvdUNet::load(&ops, &Scope::root(&checkpoint), &unet).unwrap();
    checkpoint.finish().unwrap();
    check_values(SvdComponent::UNet, &checkpoint);

    let checkpoint = file.checkpoint(SvdComponent::Vae).unwrap();
    let vae = shapes::vae_config(&checkpoint).unwrap();
    assert_eq!(vae, config::<TemporalVaeConfig>("vae"));
    TemporalVae::load(&ops, &Scope::root(&checkpoint), &vae).unwrap();
    checkpoint.finish().unwrap();
    check_values(SvdComponent::Vae, &checkpoint);

    let checkpoint = file.checkpoint(SvdComponent::ImageEncoder).unwrap();
    let encoder = shapes::image_encoder_config(&checkpoint).unwrap();
    assert_eq!(encoder, config::<ImageEncoderConfig>("image_encoder"));
    ImageEncoder::load(&ops, &Scope::root(&checkpoint), &encoder).unwrap();
    checkpoint.finish().unwrap();
    check_values(SvdComponent::ImageEncoder, &checkpoint);
}

#[test]
fn other_files_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |change: Change<'_>| {
        let mut tensors = tensors();
        change(&mut tensors);
        let file = SvdFile::open(&written(directory.path(), &tensors))?;
        for component in [SvdComponent::UNet, SvdComponent::Vae, SvdComponent::ImageEncoder] {
            let checkpoint = file.checkpoint(component)?;
            match component {
                SvdComponent::UNet => shapes::unet_config(&checkpoint, 14).map(|_| ())?,
                SvdComponent::Vae => shapes::vae_config(&checkpoint).map(|_| ())?,
                SvdComponent::ImageEncoder => shapes::image_encoder_config(&checkpoint).map(|_| ())?,
            }
        }
        Ok::<_, framewright_engine::Error>(())
    };
    let scalar = || Stored { shape: vec![1], values: vec![1.0] };
    refused(&|_| {}).unwrap();
    let cases: [(&str, Change<'_>); 6] = [
        ("model.diffusion_model.surprise has no place", &|tensors| {
            tensors.insert("model.diffusion_model.surprise".to_owned(), scalar());
        }),
        ("not a file of Stable Video Diffusion", &|tensors| tensors.retain(|name, _| !name.contains("time_stack"))),
        ("conv_in.weight is missing", &|tensors| {
            tensors.remove("model.diffusion_model.input_blocks.0.0.weight");
        }),
        ("visual.proj has shape [1]", &|tensors| {
            tensors.insert("conditioner.embedders.0.open_clip.model.visual.proj".to_owned(), scalar());
        }),
        ("in_proj_bias has shape [1]", &|tensors| {
            let name = "conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.0.attn.in_proj_bias";
            tensors.insert(name.to_owned(), scalar());
        }),
        ("class_embedding is missing", &|tensors| tensors.retain(|name, _| !name.contains(".visual."))),
    ];
    for (said, change) in cases {
        let error = refused(change).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// The same model in the layout of diffusers.
fn directory_of_the_same() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("model_index.json", json("svd_checkpoints/two_level/model_index.json").to_string());
    write("scheduler/scheduler_config.json", json("svd_published/scheduler.json").to_string());
    for component in [SvdComponent::UNet, SvdComponent::Vae, SvdComponent::ImageEncoder].map(SvdComponent::name) {
        write(&format!("{component}/config.json"), json("svd_single_file/tiny.json")[component].to_string());
        let of_component = lines().into_iter().filter(|line| line.component == component);
        let tensors: Vec<_> = of_component.map(|line| (line.name, line.shape)).collect();
        let path = directory.path().join(component).join(format!("{}.safetensors", support::stem(component)));
        support::write_weights(&path, &tensors, &RandomWeights::salted(component), false);
    }
    directory
}

fn clip(model: &SvdModel) -> Vec<Picture> {
    let bytes = (0..20 * 30 * 3).map(|index| (index * 7 % 256) as u8).collect();
    let defaults = model.info().request(Arc::new(RgbPicture { height: 20, width: 30, bytes }), 1);
    let request = VideoRequest { width: 16, height: 24, num_frames: 2, num_inference_steps: 2, ..defaults };
    let interrupt = Interrupt::default();
    let mut machines = [model.begin(&request, &interrupt).unwrap()];
    drive(model, &mut machines, 2, &interrupt, |_, _| Proceed::Continue).unwrap();
    machines[0].take_frames()
}

#[test]
fn a_clip_of_one_file_is_that_of_a_directory() {
    let (parent, directory) = (tempfile::tempdir().unwrap(), directory_of_the_same());
    let file = written(parent.path(), &tensors());
    let (ops, interrupt) = (Ops::cpu(Precision::F32, None).unwrap(), Interrupt::default());
    let load = |path: &Path| SvdModel::load(path, &ops, Variant::Half, &interrupt).unwrap();
    let (whole, single) = (load(directory.path()), load(&file));
    let expected = clip(&whole);
    assert_eq!(expected.len(), 2);
    assert_eq!(clip(&single), expected);
    assert_eq!((single.info().parameters, single.info().default_num_frames), (whole.info().parameters, 14));
    assert_eq!(single.info().weight_file_bytes, std::fs::metadata(&file).unwrap().len());

    // The extended model is known by its name.
    let extended = parent.path().join("SVD_XT.safetensors");
    std::fs::rename(&file, &extended).unwrap();
    assert_eq!(load(&extended).info().default_num_frames, 25);

    let cache = PackedCache::new(parent.path().join("packed"));
    for packed_now in [true, false] {
        let (shared, used) = SvdModel::load_shared(&extended, &ops, Variant::Plain, &cache, &interrupt).unwrap();
        assert!(used.shared && used.packed_now == packed_now, "{used:?}");
        assert_eq!(clip(&shared), expected);
    }
    let listed = cache.list().unwrap();
    assert_eq!(listed[0].model, Some(extended.canonicalize().unwrap()));
    assert!(listed.len() == 1 && listed[0].current);
    std::fs::remove_file(&extended).unwrap();
    assert!(!cache.list().unwrap()[0].current);
}
