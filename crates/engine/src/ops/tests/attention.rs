//! Attention.

use super::*;
use crate::ops::{Interrupt, KeysValues, Mask, RowKeysValues, Slice, attention};

struct Case {
    rows: usize,
    queries: usize,
    keys: Vec<usize>,
    heads: usize,
    channels: usize,
    mask: Mask,
}

/// One head's vectors: position i at `values[i · stride + offset ..]`.
fn exact_head(q: &[f32], k: &[f32], v: &[f32], channels: usize, causal_position: Option<usize>) -> Vec<f64> {
    let dot = |key: &[f32]| q.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let seen = causal_position.map_or(usize::MAX, |position| position + 1);
    let scores: Vec<f64> = k.chunks_exact(channels).take(seen).map(|key| dot(key) / (channels as f64).sqrt()).collect();
    let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.iter().map(|score| (score - maximum).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    let mut result = vec![0.0; channels];
    for (weight, value) in exponentials.iter().zip(v.chunks_exact(channels)) {
        for (result, value) in result.iter_mut().zip(value) {
            *result += weight / sum * f64::from(*value);
        }
    }
    result
}

/// The channels of one head of one row, position by position.
fn head(values: &[f32], positions: usize, stride: usize, row: usize, offset: usize, channels: usize) -> Vec<f32> {
    (0..positions).flat_map(|position| values[(row * positions + position) * stride + offset..][..channels].to_vec()).collect()
}

fn check_case(case: &Case) {
    let Case { rows, queries, ref keys, heads, channels, mask } = *case;
    let inner = heads * channels;
    // queries are the middle of a joined activation, keys and values two parts of another
    let (query_stride, key_stride) = (inner + 7, 2 * inner + 3);
    let query_values: Vec<f32> = random(1, rows * queries * query_stride).iter().map(|value| value * 1.5).collect();
    let key_values: Vec<Vec<f32>> =
        keys.iter().enumerate().map(|(row, count)| random(2 + row as u64, count * key_stride)).collect();
    let mut exact = vec![0.0; rows * queries * inner];
    for row in 0..rows {
        for index in 0..heads {
            let q = head(&query_values, queries, query_stride, row, 4 + index * channels, channels);
            let k = head(&key_values[row], keys[row], key_stride, 0, 1 + index * channels, channels);
            let v = head(&key_values[row], keys[row], key_stride, 0, 2 + inner + index * channels, channels);
            for (position, q) in q.chunks_exact(channels).enumerate() {
                let result = exact_head(q, &k, &v, channels, (mask == Mask::Causal).then_some(position));
                exact[(row * queries + position) * inner + index * channels..][..channels].copy_from_slice(&result);
            }
        }
    }
    let shape = Shape::sequence(rows, queries, inner);
    for (ops, tolerance) in backends() {
        let what = format!("attention of {rows} × {queries} queries, {keys:?} keys, {heads} × {channels}, {mask:?}");
        let activation = ops.upload(Shape::sequence(rows, queries, query_stride), &query_values).unwrap();
        let keys_activations: Vec<_> = key_values
            .iter()
            .zip(keys)
            .map(|(values, count)| ops.upload(Shape::sequence(1, *count, key_stride), values).unwrap())
            .collect();
        let per_row: Vec<_> = keys_activations
            .iter()
            .map(|activation| RowKeysValues {
                keys: Slice { activation, offset: 1 },
                values: Slice { activation, offset: 2 + inner },
            })
            .collect();
        let query_slice = Slice { activation: &activation, offset: 4 };
        let result =
            attention(&ops, query_slice, KeysValues::PerRow(&per_row), heads, channels, mask, &Interrupt::default()).unwrap();
        check(&ops, &what, &result, shape, &exact, tolerance);
        if keys.iter().all(|count| *count == keys[0]) {
            let joined = ops.upload(Shape::sequence(rows, keys[0], key_stride), &key_values.concat()).unwrap();
            let keys_values = KeysValues::SameRows {
                keys: Slice { activation: &joined, offset: 1 },
                values: Slice { activation: &joined, offset: 2 + inner },
            };
            let same = attention(&ops, query_slice, keys_values, heads, channels, mask, &Interrupt::default()).unwrap();
            assert_eq!(bits(&ops, &same), bits(&ops, &result), "{what} on {}", ops.description());
        }
    }
}

#[test]
fn heads_and_lengths_of_every_size() {
    let none = Mask::None;
    for (rows, queries, keys, heads, channels, mask) in [
        (1, 1, vec![1], 1, 8, none),
        (2, 117, vec![77, 154], 2, 64, none),
        (3, 13, vec![1, 33, 300], 3, 10, none),
        (1, 200, vec![200], 1, 40, none),
        (1, 57, vec![129], 2, 80, none),
        (1, 30, vec![70], 1, 512, none),
        (2, 77, vec![77, 77], 3, 64, Mask::Causal),
        (1, 300, vec![300], 2, 16, Mask::Causal),
        (1, 9, vec![20], 2, 5, none),
    ] {
        check_case(&Case { rows, queries, keys, heads, channels, mask });
    }
}

#[test]
fn bf16_operands_are_attended_to_as_well() {
    for path in KernelPath::available() {
        let ops = Ops::cpu(Precision::Bf16, Some(path)).unwrap();
        // channels that fill a load of the matrix unit, and some that do not; queries that fill a task, and some that do not
        for (heads, channels, positions) in [(2, 8, 70), (2, 64, 150), (1, 32, 64), (3, 40, 37), (1, 160, 300)] {
            let inner = heads * channels;
            let shape = Shape::sequence(2, positions, 3 * inner);
            let values = random(1, shape.elements());
            let stream = ops.upload(shape, &values).unwrap();
            let operand = crate::ops::upsample::upsample_nearest(&ops, &stream, 1, positions).unwrap();
            let result = |activation: &Activation| {
                let slice = |part| Slice { activation, offset: part * inner };
                let keys_values = KeysValues::SameRows { keys: slice(1), values: slice(2) };
                let result = attention(&ops, slice(0), keys_values, heads, channels, Mask::None, &Interrupt::default());
                ops.download(&result.unwrap()).unwrap()
            };
            let (wide, narrow) = (result(&stream), result(&operand));
            let error: f32 = wide.iter().zip(&narrow).map(|(a, b)| (a - b).powi(2)).sum();
            let size: f32 = wide.iter().map(|a| a.powi(2)).sum();
            let what = format!("{heads} × {channels}, {positions} positions on {}", ops.description());
            assert!(error.sqrt() < 1e-2 * size.sqrt(), "{what}: {}", (error / size).sqrt());
            assert_ne!(wide, narrow, "{what}");
        }
    }
}

#[test]
fn slices_that_do_not_fit_are_errors() {
    for (ops, _) in backends() {
        let activation = ops.upload(Shape::sequence(2, 3, 24), &[0.0; 144]).unwrap();
        let slice = |offset| Slice { activation: &activation, offset };
        let run = |offset, heads, channels| {
            let keys_values = KeysValues::SameRows { keys: slice(0), values: slice(8) };
            attention(&ops, slice(offset), keys_values, heads, channels, Mask::None, &Interrupt::default())
        };
        assert!(run(16, 1, 8).is_ok());
        assert!(run(17, 1, 8).is_err());
        assert!(run(usize::MAX, 1, 8).is_err());
        assert!(run(0, 4, 8).is_err());
        assert!(run(0, 0, 8).is_err());
        let one = RowKeysValues { keys: slice(0), values: slice(8) };
        assert!(attention(&ops, slice(0), KeysValues::PerRow(&[one]), 1, 8, Mask::None, &Interrupt::default()).is_err());
        assert!(attention(&ops, slice(0), KeysValues::PerRow(&[one, one]), 1, 8, Mask::None, &Interrupt::default()).is_err());
    }
}

#[test]
fn attention_stops_between_blocks_of_queries() {
    for (ops, _) in backends() {
        let activation = ops.upload(Shape::sequence(1, 3000, 24), &vec![0.5; 72_000]).unwrap();
        let slice = |offset| Slice { activation: &activation, offset };
        let interrupt = Interrupt::default();
        let run = || {
            let keys_values = KeysValues::SameRows { keys: slice(8), values: slice(16) };
            attention(&ops, slice(0), keys_values, 1, 8, Mask::None, &interrupt)
        };
        run().unwrap();
        assert!(interrupt.ticks() > 0);
        if !ops.description().starts_with("candle") {
            assert!(interrupt.ticks() > 40, "{} on {}", interrupt.ticks(), ops.description());
        }
        interrupt.cancel();
        assert!(matches!(run(), Err(Error::Cancelled)), "{}", ops.description());
    }
}
