//! Honest and hostile files.

use std::fs;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;

use super::*;

/// A file from a raw header and data.
fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A well-formed file of f32 tensors that count up from one.
fn counting(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let data: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape)| {
            let count = shape.iter().product::<usize>();
            (*name, *shape, floats(&(1..=count).map(|value| value as f32).collect::<Vec<_>>()))
        })
        .collect();
    let views = data.iter().map(|(name, shape, data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
    serialize(views, None).unwrap()
}

fn opened(files: &[(&str, Vec<u8>)], variant: Variant) -> Result<(tempfile::TempDir, Checkpoint)> {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    let checkpoint = Checkpoint::open("unet", directory.path(), "model", variant)?;
    Ok((directory, checkpoint))
}

fn values(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Vec<f32> {
    checkpoint.take(name, shape).unwrap().into_values().unwrap()
}

#[test]
fn every_float_type_becomes_f32() {
    let numbers = [0.0_f32, 1.5, -2.25, 65504.0, 6.0e-8, -0.0, f32::INFINITY];
    let half = |value: f32| half::f16::from_f32(value).to_le_bytes();
    let bfloat = |value: f32| half::bf16::from_f32(value).to_le_bytes();
    let count = 700; // more than one block of the half conversion
    let cycle = || (0..count).map(|index| numbers[index % numbers.len()]);
    for (dtype, data, round) in [
        ("F32", cycle().flat_map(f32::to_le_bytes).collect::<Vec<u8>>(), (|value| value) as fn(f32) -> f32),
        ("F64", cycle().flat_map(|value| f64::from(value).to_le_bytes()).collect(), |value| value),
        ("F16", cycle().flat_map(half).collect(), |value| half::f16::from_f32(value).to_f32()),
        ("BF16", cycle().flat_map(bfloat).collect(), |value| half::bf16::from_f32(value).to_f32()),
    ] {
        let header =
            json!({"__metadata__": {"format": "pt"}, "w": {"dtype": dtype, "shape": [count], "data_offsets": [0, data.len()]}});
        let (_kept, checkpoint) = opened(&[("model.safetensors", raw(&header.to_string(), &data))], Variant::Plain).unwrap();
        let expected: Vec<u32> = cycle().map(|value| round(value).to_bits()).collect();
        let given: Vec<u32> = values(&checkpoint, "w", &[count]).into_iter().map(f32::to_bits).collect();
        assert_eq!(given, expected, "{dtype}");
    }
}

#[test]
fn a_tensor_longer_than_a_piece_is_read_whole() {
    let count = (5 << 20) / 4 * 2 + 3;
    let data: Vec<u8> = (0..count as u32).flat_map(|value| (value as f32).to_le_bytes()).collect();
    let header = json!({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, data.len()]}});
    let (_kept, checkpoint) = opened(&[("model.safetensors", raw(&header.to_string(), &data))], Variant::Plain).unwrap();
    assert!(values(&checkpoint, "w", &[count]).into_iter().eq((0..count).map(|index| index as f32)));
}

#[test]
fn hostile_files_are_named_and_refused() {
    let good = counting(&[("a", &[2, 3]), ("b", &[4])]);
    let tensor =
        |shape: serde_json::Value, from: u64, to: u64| json!({"dtype": "F32", "shape": shape, "data_offsets": [from, to]});
    let huge_header = [&u64::MAX.to_le_bytes(), b"{}".as_slice()].concat();
    let long_header = [&50_000_000_u64.to_le_bytes(), b"{}".as_slice()].concat();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("shorter than the length field", vec![1, 2, 3]),
        ("truncated in the header", good[..20].to_vec()),
        ("truncated in the data", good[..good.len() - 1].to_vec()),
        ("longer than described", [good.as_slice(), &[0]].concat()),
        ("header length of 2^64 - 1", huge_header),
        ("header longer than the file", long_header),
        ("header that is not JSON", raw("{\"a\": ", &[])),
        ("header that is not text", [&2_u64.to_le_bytes(), &[0xff, 0xfe][..]].concat()),
        ("header that is a list", raw("[]", &[])),
        ("deeply nested header", raw(&"[".repeat(100_000), &[])),
        (
            "overlapping tensors",
            raw(&json!({"a": tensor(json!([2]), 0, 8), "b": tensor(json!([2]), 4, 12)}).to_string(), &[0; 12]),
        ),
        ("a hole", raw(&json!({"a": tensor(json!([2]), 0, 8), "b": tensor(json!([2]), 12, 20)}).to_string(), &[0; 20])),
        ("offsets beyond the file", raw(&json!({"a": tensor(json!([1_u64 << 40]), 0, 1_u64 << 42)}).to_string(), &[0; 8])),
        ("offsets backwards", raw(&json!({"a": tensor(json!([2]), 8, 0)}).to_string(), &[0; 8])),
        ("shape longer than data", raw(&json!({"a": tensor(json!([3]), 0, 8)}).to_string(), &[0; 8])),
        ("shape that overflows", raw(&json!({"a": tensor(json!([1_u64 << 40, 1_u64 << 40]), 0, 8)}).to_string(), &[0; 8])),
        ("negative shape", raw(&json!({"a": tensor(json!([-2]), 0, 8)}).to_string(), &[0; 8])),
        ("unknown type", raw("{\"a\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[0,8]}}", &[0; 8])),
        ("type of another length", raw("{\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,8]}}", &[0; 8])),
        (
            "one name twice",
            raw(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                &[0; 8],
            ),
        ),
    ] {
        match opened(&[("model.safetensors", bytes)], Variant::Plain) {
            Err(Error::Malformed { path, .. }) => assert!(path.ends_with("model.safetensors"), "{what}: {path:?}"),
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what} was taken"),
        }
    }
}

#[test]
fn missing_misshapen_and_foreign_tensors_are_named() {
    let header =
        r#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"n":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}}"#;
    let (_kept, checkpoint) = opened(&[("model.safetensors", raw(header, &[0; 32]))], Variant::Plain).unwrap();
    for (name, shape, said) in [
        ("b", vec![1], "unet: b is missing; expected shape [1]"),
        ("a", vec![3, 2], "unet: a has shape [2, 3], expected [3, 2]"),
        ("n", vec![1], "n is I64"),
    ] {
        let error = checkpoint.take(name, &shape).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn whatever_is_left_over_is_counted_and_named() {
    let names = ["a", "b", "c", "d", "e", "text_model.embeddings.position_ids", "logit_scale"];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (*name, [1].as_slice())).collect();
    let (_kept, checkpoint) = opened(&[("model.safetensors", counting(&tensors))], Variant::Plain).unwrap();
    checkpoint.take("b", &[1]).unwrap();
    let error = checkpoint.finish().unwrap_err().to_string();
    assert!(error.contains("4 tensors") && error.contains("a, c, d, …"), "{error}");
    for name in ["a", "c", "d", "e"] {
        checkpoint.take(name, &[1]).unwrap();
    }
    checkpoint.finish().unwrap();
    assert_eq!(checkpoint.parameters(), 5);
    // A refused take is no use.
    let (_kept, checkpoint) = opened(&[("model.safetensors", counting(&[("a", &[2])]))], Variant::Plain).unwrap();
    assert!(checkpoint.take("a", &[3]).is_err());
    assert!(checkpoint.finish().is_err());
}

#[test]
fn older_names_and_shapes() {
    let bytes = counting(&[
        ("mid_block.attentions.0.query.weight", &[2, 2, 1, 1]),
        ("mid_block.attentions.0.proj_attn.bias", &[2]),
        ("embeddings.token_embedding.weight", &[3, 2]),
        ("conv.weight", &[2, 2, 1, 1]),
    ]);
    let (_kept, checkpoint) = opened(&[("model.safetensors", bytes)], Variant::Plain).unwrap();
    assert!(checkpoint.has("mid_block.attentions.0.to_q.weight") && !checkpoint.has("mid_block.attentions.0.to_k.weight"));
    assert_eq!(values(&checkpoint, "mid_block.attentions.0.to_q.weight", &[2, 2]), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values(&checkpoint, "mid_block.attentions.0.to_out.0.bias", &[2]), [1.0, 2.0]);
    assert_eq!(values(&checkpoint, "text_model.embeddings.token_embedding.weight", &[3, 2]).len(), 6);
    assert!(checkpoint.take("conv.weight", &[2, 2, 1]).is_err());
    assert_eq!(values(&checkpoint, "conv.weight", &[2, 2, 1, 1]).len(), 4);
    checkpoint.finish().unwrap();
}

#[test]
fn variants_fall_back_on_each_other() {
    let of = |name: &'static str| (name, counting(&[(name, &[1])]));
    let (plain, half) = (of("model.safetensors"), of("model.fp16.safetensors"));
    for (files, variant, chosen) in [
        (vec![plain.clone(), half.clone()], Variant::Plain, "model.safetensors"),
        (vec![plain.clone(), half.clone()], Variant::Half, "model.fp16.safetensors"),
        (vec![plain], Variant::Half, "model.safetensors"),
        (vec![half], Variant::Plain, "model.fp16.safetensors"),
    ] {
        let (_kept, checkpoint) = opened(&files, variant).unwrap();
        assert!(checkpoint.has(chosen), "{variant:?}");
        assert_eq!(checkpoint.files().len(), 1);
    }
    let error = opened(&[("model.bin", vec![0])], Variant::Plain).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains(".bin"), "{error}");
}

#[test]
fn shards_under_every_published_name() {
    for (index, first, second) in [
        ("model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ("model.safetensors.index.fp16.json", "model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"),
        ("model.safetensors.fp16.index.json", "model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"),
    ] {
        let map = json!({"metadata": {"total_size": 12}, "weight_map": {"a": first, "b": second}}).to_string();
        let files = [(index, map.into_bytes()), (first, counting(&[("a", &[1])])), (second, counting(&[("b", &[2])]))];
        let (_kept, checkpoint) = opened(&files, Variant::Plain).unwrap();
        assert_eq!(values(&checkpoint, "b", &[2]), [1.0, 2.0]);
        assert!(checkpoint.finish().unwrap_err().to_string().contains('a'));
        assert_eq!(checkpoint.files().len(), 2);
    }
}

#[test]
fn an_index_that_lies_is_refused() {
    let index = "model.safetensors.index.json";
    let shard = |name: &'static str, tensors: &[(&str, &[usize])]| (name, counting(tensors));
    let map = |entries: serde_json::Value| (index, json!({"weight_map": entries}).to_string().into_bytes());
    let one = shard("one.safetensors", &[("a", &[1])]);
    let two = shard("two.safetensors", &[("a", &[1]), ("b", &[1])]);
    for (what, files, said) in [
        ("a missing shard", vec![map(json!({"a": "one.safetensors", "b": "gone.safetensors"})), one.clone()], "gone.safetensors"),
        (
            "a tensor that is not there",
            vec![map(json!({"a": "one.safetensors", "c": "one.safetensors"})), one.clone()],
            "c should be in",
        ),
        (
            "one tensor in two shards",
            vec![map(json!({"a": "one.safetensors", "b": "two.safetensors"})), one.clone(), two],
            "another shard",
        ),
        ("a path upwards", vec![map(json!({"a": "../one.safetensors"}))], "../one.safetensors"),
        ("an absolute path", vec![map(json!({"a": "/etc/passwd"}))], "/etc/passwd"),
        ("a folder", vec![map(json!({"a": "x/one.safetensors"}))], "x/one.safetensors"),
        ("the folder itself", vec![map(json!({"a": ".."}))], "\"..\""),
        ("no name", vec![map(json!({"a": ""}))], "\"\""),
        ("another kind of file", vec![map(json!({"a": "model.bin"}))], "model.bin"),
        ("a NUL", vec![map(json!({"a": "one\0.safetensors"}))], "one"),
        ("nothing", vec![map(json!({}))], "empty"),
        ("no map", vec![(index, b"{}".to_vec())], "weight_map"),
        ("no JSON", vec![(index, b"weights".to_vec())], index),
        ("a folder for a shard", vec![map(json!({"a": "one.safetensors"}))], "one.safetensors"),
    ] {
        let error = opened(&files, Variant::Plain).expect_err(what).to_string();
        assert!(error.contains(said), "{what}: {error}");
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("model.safetensors")).unwrap();
    assert!(Checkpoint::open("unet", directory.path(), "model", Variant::Plain).is_err());
}
