//! Files that lie, and files that are cut off.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::weights::{HostTensor, TensorSource, WeightFile};

/// A stored zip archive as simple as can be.
fn zip(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let header = file.len() as u32;
        let lengths: Vec<u8> = [bytes.len() as u32; 2].into_iter().flat_map(u32::to_le_bytes).collect();
        let name_length = (name.len() as u16).to_le_bytes();
        file.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend(lengths.iter().chain(&name_length).chain(&[0, 0]));
        file.extend(name.as_bytes().iter().chain(bytes));
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend(lengths.iter().chain(&name_length).chain(&[0; 12]));
        directory.extend(header.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, length) = (file.len() as u32, directory.len() as u32);
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend((members.len() as u16).to_le_bytes().repeat(2));
    file.extend(length.to_le_bytes().iter().chain(&start.to_le_bytes()).chain(&[0, 0]));
    file
}

fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    b"X".iter().chain(&length).chain(text.as_bytes()).copied().collect()
}

fn number(number: i64) -> Vec<u8> {
    b"\x8a\x08".iter().chain(&number.to_le_bytes()).copied().collect()
}

fn tuple(members: &[i64]) -> Vec<u8> {
    b"(".iter().copied().chain(members.iter().flat_map(|member| number(*member))).chain(*b"t").collect()
}

/// A tensor of the storage `key`.
fn tensor(storage: &str, key: &str, offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    let parts = [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        format!("ctorch\n{storage}\n").into_bytes(),
        text(key),
        text("cpu"),
        number(1 << 40),
        b"tQ".to_vec(),
        number(offset),
        tuple(size),
        tuple(stride),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ];
    parts.concat()
}

/// A pickle of a dictionary with these entries.
fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(name, value)| text(name).into_iter().chain(value.clone()));
    b"\x80\x02}(".iter().copied().chain(entries).chain(*b"u.").collect()
}

fn values() -> Vec<u8> {
    (1..=6_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect()
}

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.pth");
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// A file with one pickle and six floats as storage 0.
fn with_pickle(pickle: Vec<u8>) -> Vec<u8> {
    zip(&[("archive/data.pkl", pickle), ("archive/data/0", values()), ("archive/version", b"3\n".to_vec())])
}

fn refusal(bytes: &[u8]) -> String {
    let (_directory, path) = file(bytes);
    WeightFile::open("test", &path).unwrap_err().to_string()
}

#[test]
fn a_state_dictionary_is_read() {
    let whole = tensor("FloatStorage", "0", 0, &[2, 3], &[3, 1]);
    let part = tensor("FloatStorage", "0", 2, &[1, 2], &[77, 1]);
    let (_directory, path) = file(&with_pickle(dictionary(&[("a.weight", whole), ("b", part)])));
    let source = WeightFile::open("test", &path).unwrap();
    assert_eq!(source.tensors().collect::<Vec<_>>(), [("a.weight", &[2, 3][..]), ("b", &[1, 2][..])]);
    let expected = HostTensor::Values { shape: vec![2, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    assert_eq!(source.take("a.weight", &[2, 3]).unwrap(), expected);
    let error = |error: crate::Error| error.to_string();
    assert_eq!(error(source.finish(|_| false).unwrap_err()), "test: 1 tensors of the weights have no place in the network: b");
    source.finish(|name| name == "b").unwrap();
    assert_eq!(error(source.take("b", &[2]).unwrap_err()), "test: b has shape [1, 2], expected [2]");
    assert_eq!(error(source.take("c", &[2]).unwrap_err()), "test: c is missing; expected shape [2]");
    assert_eq!(source.take("b", &[1, 2]).unwrap().into_values().unwrap(), [3.0, 4.0]);
    source.finish(|_| false).unwrap();
}

#[test]
fn averaged_weights_come_first_and_prefixes_go() {
    let of = |offset: i64| dictionary(&[("module.x", tensor("FloatStorage", "0", offset, &[1], &[1]))]);
    let inner = |offset: i64| of(offset)[2..of(offset).len() - 1].to_vec();
    let (_directory, path) =
        file(&with_pickle(dictionary(&[("params", inner(0)), ("params_ema", inner(3)), ("epoch", number(7))])));
    let source = WeightFile::open("test", &path).unwrap().without_prefix("module.").unwrap();
    assert_eq!(source.take("x", &[1]).unwrap().into_values().unwrap(), [4.0]);
    let both = dictionary(&[
        ("module.x", tensor("FloatStorage", "0", 0, &[1], &[1])),
        ("x", tensor("FloatStorage", "0", 1, &[1], &[1])),
    ]);
    let (_directory, path) = file(&with_pickle(both));
    let error = WeightFile::open("test", &path).unwrap().without_prefix("module.").unwrap_err();
    assert!(error.to_string().contains("with and without"), "{error}");
}

#[test]
fn every_cut_of_a_file_is_an_error() {
    let whole = with_pickle(dictionary(&[("a", tensor("FloatStorage", "0", 0, &[6], &[1]))]));
    assert!(file(&whole).1.exists());
    for length in 0..whole.len() {
        let (_directory, path) = file(&whole[..length]);
        assert!(WeightFile::open("test", &path).is_err(), "{length} of {}", whole.len());
    }
}

#[test]
fn no_single_byte_makes_it_panic_or_read_beyond() {
    let whole = with_pickle(dictionary(&[("a", tensor("FloatStorage", "0", 0, &[6], &[1]))]));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.pth");
    for index in 0..whole.len() {
        for byte in [0x00, 0x01, 0x28, 0x2e, 0x52, 0x7f, 0xff, whole[index] ^ 0x80] {
            let mut changed = whole.clone();
            changed[index] = byte;
            fs::write(&path, &changed).unwrap();
            if let Ok(source) = WeightFile::open("test", &path) {
                for (name, shape) in source.tensors() {
                    assert!(shape.iter().product::<usize>() <= whole.len());
                    drop(source.take(name, shape));
                }
            }
        }
    }
}

#[test]
fn lies_about_tensors_are_refused() {
    let one = |value: Vec<u8>| with_pickle(dictionary(&[("a", value)]));
    let of = |offset: i64, size: &[i64], stride: &[i64]| one(tensor("FloatStorage", "0", offset, size, stride));
    for (said, bytes) in [
        ("more than the 24 bytes", of(0, &[7], &[1])),
        ("more than the 24 bytes", of(1, &[6], &[1])),
        ("more than the 24 bytes", of(i64::MAX, &[1], &[1])),
        ("more than the 24 bytes", of(0, &[1 << 40], &[1])),
        ("too many values", of(0, &[1 << 40, 1 << 40], &[1 << 40, 1])),
        ("no or of too many", of(0, &[0, 2], &[2, 1])),
        ("without a place", of(-1, &[1], &[1])),
        ("without dimensions", of(0, &[-1], &[1])),
        ("1 dimensions", of(0, &[2], &[1, 1])),
        ("9 dimensions", of(0, &[1; 9], &[1; 9])),
        ("do not lie in order", of(0, &[2, 3], &[1, 2])),
        ("do not lie in order", of(0, &[2], &[0])),
        ("more than the 24 bytes", one(tensor("DoubleStorage", "0", 0, &[6], &[1]))),
        ("values of type ComplexFloatStorage", one(tensor("ComplexFloatStorage", "0", 0, &[1], &[1]))),
        ("data/../../x, are not in the file", one(tensor("FloatStorage", "../../x", 0, &[1], &[1]))),
        ("not a tensor", one(number(3))),
        ("made by os.system, not a tensor", one([b"cos\nsystem\n(".to_vec(), text("true"), b"tR".to_vec()].concat())),
        ("a twice", with_pickle(dictionary(&[0, 1].map(|offset| ("a", tensor("FloatStorage", "0", offset, &[1], &[1])))))),
        ("no dictionary", with_pickle(b"\x80\x02N.".to_vec())),
    ] {
        let error = refusal(&bytes);
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn lies_of_pickles_and_archives_are_refused() {
    let deep: Vec<u8> = b"\x80\x02N".iter().copied().chain(std::iter::repeat_n(0x85, 1 << 20)).chain(*b".").collect();
    // Doubling: a reader that copies what it recalls would need 2^60 values.
    let doubling: Vec<u8> = b"\x80\x02Nq\0".iter().copied().chain(b"0h\0h\0\x86q\0".repeat(60)).chain(*b".").collect();
    let compressed = {
        let mut bytes = with_pickle(dictionary(&[]));
        let entry = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[entry + 10] = 8;
        bytes
    };
    for (said, bytes) in [
        ("more than the 1048576 values", with_pickle(deep)),
        ("no dictionary", with_pickle(doubling)),
        ("cut off", with_pickle(b"\x80\x02X\xff\xff\xff\xffabc".to_vec())),
        ("cut off", with_pickle(b"\x80\x02}".to_vec())),
        ("takes what is not there", with_pickle(b"\x80\x02R.".to_vec())),
        ("takes what is not there", with_pickle(b"\x80\x02(0t.".to_vec())),
        ("never remembered", with_pickle(b"\x80\x02h\x07.".to_vec())),
        ("no dictionary", with_pickle(b"\x80\x02]N\x88s.".to_vec())),
        ("a key without a value", with_pickle(b"\x80\x02}(Nu.".to_vec())),
        ("instruction 0x69", with_pickle(b"\x80\x02ios\nsystem\n.".to_vec())),
        ("not UTF-8", with_pickle(b"\x80\x02X\x01\0\0\0\xff.".to_vec())),
        ("without one data.pkl", zip(&[("a", Vec::new())])),
        ("without one data.pkl", zip(&[("a/data.pkl", Vec::new()), ("b/data.pkl", Vec::new())])),
        ("two members have one name", zip(&[("a/data.pkl", Vec::new()), ("a/data.pkl", Vec::new())])),
        ("not little-endian", zip(&[("a/data.pkl", Vec::new()), ("a/byteorder", b"big".to_vec())])),
        ("at most 8388608", zip(&[("a/data.pkl", vec![b'N'; (8 << 20) + 1])])),
        ("compressed or encrypted", compressed),
        ("no zip archive ends here", b"PK\x03\x04 and nothing else".to_vec()),
        ("before 1.6", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec()),
        ("a safetensors file", b"abc".to_vec()),
    ] {
        let error = refusal(&bytes);
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn an_empty_dictionary_has_no_tensors() {
    let (_directory, path) = file(&with_pickle(dictionary(&[])));
    let source = WeightFile::open("test", &path).unwrap();
    assert_eq!(source.tensors().count(), 0);
    assert!(!source.has("a"));
    assert_eq!(source.component(), "test");
}
