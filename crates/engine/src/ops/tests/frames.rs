//! What reaches over the frames of a clip, against plain f64 loops and against the same operation on clips laid out otherwise.

use super::*;
use crate::ops::{
    Blend, Epilogue, FrameConv, GroupNorm, Interrupt, KeysValues, LayerNorm, Linear, Mask, Output, QueriesKeysValues, Slice,
    attention, frame_attention,
};
use crate::weights::Scope;

/// `[clips, frames, positions, channels]` as `[clips, positions, frames, channels]`.
fn by_position(values: &[f32], clips: usize, frames: usize, positions: usize) -> Vec<f32> {
    let channels = values.len() / (clips * frames * positions);
    let mut turned = Vec::with_capacity(values.len());
    for clip in 0..clips {
        for position in 0..positions {
            for frame in 0..frames {
                let from = ((clip * frames + frame) * positions + position) * channels;
                turned.extend_from_slice(&values[from..from + channels]);
            }
        }
    }
    turned
}

#[test]
fn convolutions_over_frames() {
    for (clips, frames, positions, in_channels, out_channels, output) in [
        (1, 1, 6, 8, 33, Output::Stream),
        (2, 2, 5, 7, 4, Output::Stream),
        (2, 7, 13, 40, 24, Output::Operand),
        (1, 5, 300, 3, 3, Output::Stream),
        (1, 3, 4, 450, 32, Output::Stream),
        (2, 4, 18, 64, 40, Output::Stream),
    ] {
        let shape = Shape::new(clips * frames, 1, positions, in_channels);
        let result = shape.with_channels(out_channels);
        let (input, bias) = (random(1, shape.elements()), random(3, out_channels));
        let weight = weights(2, out_channels * in_channels * 3, in_channels * 3);
        let (per_clip, residual) = (random(4, clips * out_channels), random(5, result.elements()));
        let share = 0.3_f32;
        let (mut plain, mut full) = (Vec::new(), Vec::new());
        for (index, residual) in residual.iter().enumerate() {
            let (position, out) = (index / out_channels, index % out_channels);
            let (row, position) = (position / positions, position % positions);
            let mut sum = f64::from(bias[out]);
            for tap in 0..3 {
                let Some(frame) = (row % frames + tap).checked_sub(1).filter(|frame| *frame < frames) else { continue };
                let from = ((row / frames * frames + frame) * positions + position) * in_channels;
                for channel in 0..in_channels {
                    sum += f64::from(input[from + channel]) * f64::from(weight[(out * in_channels + channel) * 3 + tap]);
                }
            }
            plain.push(sum);
            let sum = sum + f64::from(per_clip[row / frames * out_channels + out]) + f64::from(*residual);
            full.push(f64::from(share) * f64::from(*residual) + (1.0 - f64::from(share)) * sum);
        }
        let source =
            Tensors::default().with("weight", &[out_channels, in_channels, 3, 1, 1], weight).with("bias", &[out_channels], bias);
        for (ops, tolerance) in backends() {
            let conv = FrameConv::load(&ops, &Scope::root(&source), in_channels, out_channels).unwrap();
            let input = ops.upload(shape, &input).unwrap();
            let what = format!("{clips} clips of {frames} frames, {positions} positions, {in_channels} to {out_channels}");
            let given = conv.forward(&ops, &input, frames, Epilogue { output, ..Epilogue::default() }).unwrap();
            check(&ops, &what, &given, result, &plain, tolerance);
            let per_clip = ops.upload(Shape::vectors(clips, out_channels), &per_clip).unwrap();
            let residual = ops.upload(result, &residual).unwrap();
            let blend = Some(Blend { with: &residual, share });
            let epilogue = Epilogue { per_row: Some(&per_clip), residual: Some(&residual), blend, output, ..Epilogue::default() };
            let given = conv.forward(&ops, &input, frames, epilogue).unwrap();
            check(&ops, &what, &given, result, &full, tolerance);
            assert!(conv.forward(&ops, &input, 0, Epilogue::default()).is_err());
            assert!(conv.forward(&ops, &input, clips * frames + 1, Epilogue::default()).is_err());
        }
    }
}

#[test]
fn vectors_belong_to_runs_of_rows() {
    let (rows, positions, channels) = (6, 5, 40);
    let shape = Shape::sequence(rows, positions, channels);
    let source = Tensors::default().with("weight", &[channels, channels], weights(1, channels * channels, channels));
    let (input, vectors) = (random(2, shape.elements()), random(3, 2 * channels));
    for (ops, _) in backends() {
        let layer = Linear::load(&ops, &Scope::root(&source), channels, channels, false).unwrap();
        let input = ops.upload(shape, &input).unwrap();
        let with = |vectors: &Activation| layer.forward(&ops, &input, Epilogue { per_row: Some(vectors), ..Epilogue::default() });
        let few = ops.upload(Shape::vectors(2, channels), &vectors).unwrap();
        let repeated: Vec<f32> = (0..rows).flat_map(|row| vectors[row / 3 * channels..][..channels].to_vec()).collect();
        let all = ops.upload(Shape::vectors(rows, channels), &repeated).unwrap();
        assert_eq!(bits(&ops, &with(&few).unwrap()), bits(&ops, &with(&all).unwrap()), "{}", ops.description());
        let odd = ops.upload(Shape::vectors(4, channels), &repeated[..4 * channels]).unwrap();
        assert!(with(&odd).is_err());
    }
}

#[test]
fn attention_over_frames_is_attention_of_turned_clips() {
    for (clips, frames, positions, heads, channels) in [
        (1, 1, 3, 2, 8),
        (2, 2, 17, 1, 64),
        (2, 14, 5, 3, 64),
        (1, 25, 40, 2, 64),
        (1, 32, 3, 1, 10),
        (1, 33, 2, 2, 80),
        (1, 100, 2, 1, 40),
        (2, 9, 4, 2, 5),
    ] {
        let inner = heads * channels;
        let stride = 3 * inner + 3;
        let values: Vec<f32> = random(7, clips * frames * positions * stride).iter().map(|value| value * 1.5).collect();
        let turned = by_position(&values, clips, frames, positions);
        for (ops, tolerance) in backends() {
            let activation = ops.upload(Shape::new(clips * frames, 1, positions, stride), &values).unwrap();
            let slice = |offset| Slice { activation: &activation, offset };
            let parts = QueriesKeysValues { queries: slice(1), keys: slice(inner + 2), values: slice(2 * inner + 3) };
            let given = frame_attention(&ops, parts, frames, heads, channels, &Interrupt::default()).unwrap();
            assert_eq!(given.shape(), Shape::new(clips * frames, 1, positions, inner));
            let given = by_position(&ops.download(&given).unwrap(), clips, frames, positions);

            let shape = Shape::sequence(clips * positions, frames, stride);
            let activation = ops.upload(shape, &turned).unwrap();
            let slice = |offset| Slice { activation: &activation, offset };
            let keys_values = KeysValues::SameRows { keys: slice(inner + 2), values: slice(2 * inner + 3) };
            let expected = attention(&ops, slice(1), keys_values, heads, channels, Mask::None, &Interrupt::default()).unwrap();
            let exact: Vec<f64> = ops.download(&expected).unwrap().into_iter().map(f64::from).collect();
            let given = ops.upload(Shape::sequence(clips * positions, frames, inner), &given).unwrap();
            let what = format!("{clips} clips of {frames} frames, {positions} positions, {heads} × {channels}");
            check(&ops, &what, &given, shape.with_channels(inner), &exact, tolerance);
        }
    }
}

#[test]
fn attention_over_frames_refuses_what_does_not_fit() {
    for (ops, _) in backends() {
        let activation = ops.upload(Shape::new(6, 1, 3, 24), &[0.5; 432]).unwrap();
        let other = ops.upload(Shape::new(6, 1, 2, 24), &[0.5; 288]).unwrap();
        let slice = |offset| Slice { activation: &activation, offset };
        let interrupt = Interrupt::default();
        let run = |keys, frames, heads| {
            let parts = QueriesKeysValues { queries: slice(0), keys, values: slice(16) };
            frame_attention(&ops, parts, frames, heads, 8, &interrupt)
        };
        assert!(run(slice(8), 3, 1).is_ok());
        assert!(run(slice(17), 3, 1).is_err());
        assert!(run(slice(8), 4, 1).is_err());
        assert!(run(slice(8), 0, 1).is_err());
        assert!(run(slice(8), 3, 0).is_err());
        assert!(run(slice(8), 3, 2).is_err());
        assert!(run(Slice { activation: &other, offset: 8 }, 3, 1).is_err());
        interrupt.cancel();
        assert!(matches!(run(slice(8), 3, 1), Err(Error::Cancelled)), "{}", ops.description());
    }
}

#[test]
fn norms_over_frames_and_of_shifted_positions() {
    let (clips, frames, positions, channels) = (2, 3, 70, 24);
    let shape = Shape::new(clips * frames, 7, 10, channels);
    let (weight, bias) = (random(8, channels), random(9, channels));
    let source = Tensors::default().with("weight", &[channels], weight).with("bias", &[channels], bias);
    let (input, vectors) = (random(1, shape.elements()), random(2, clips * frames * channels));
    for (ops, tolerance) in backends() {
        let scope = Scope::root(&source);
        let norm = GroupNorm::load(&ops, &scope, channels, 4, 1e-5).unwrap();
        let activation = ops.upload(shape, &input).unwrap();
        let given = norm.forward_over(&ops, &activation, frames, true, Output::Operand).unwrap();
        assert_eq!(given.shape(), shape);
        let clip = ops.upload(Shape::sequence(clips, frames * positions, channels), &input).unwrap();
        let expected = norm.forward(&ops, &clip, true, Output::Operand).unwrap();
        assert_eq!(bits(&ops, &given), bits(&ops, &expected), "{}", ops.description());
        assert!(norm.forward_over(&ops, &activation, 4, true, Output::Operand).is_err());
        assert!(norm.forward_over(&ops, &activation, 0, true, Output::Operand).is_err());

        let norm = LayerNorm::load(&ops, &scope, channels, 1e-5).unwrap();
        let per_row = ops.upload(Shape::vectors(clips * frames, channels), &vectors).unwrap();
        let given = norm.forward_shifted(&ops, &activation, &per_row, Output::Stream).unwrap();
        let row = |index: usize| &vectors[index / (positions * channels) * channels..][..channels];
        let sums: Vec<f32> = input.iter().enumerate().map(|(index, value)| value + row(index)[index % channels]).collect();
        let expected = norm.forward(&ops, &ops.upload(shape, &sums).unwrap(), Output::Stream).unwrap();
        let exact: Vec<f64> = ops.download(&expected).unwrap().into_iter().map(f64::from).collect();
        check(&ops, "a shifted norm", &given, shape, &exact, tolerance);
        assert!(norm.forward_shifted(&ops, &activation, &activation, Output::Stream).is_err());
    }
}
