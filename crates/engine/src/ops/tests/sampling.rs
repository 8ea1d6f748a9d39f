//! What upscaling and interpolation need besides: slopes, growing channels, transposed convolution, shuffles, resizing, warping, blending.

use super::*;
use crate::ops::blend::{MaskChannel, blend};
use crate::ops::elementwise::{add_to_channels, concatenate};
use crate::ops::resize::resize_bilinear;
use crate::ops::shuffle::{interleave, pixel_shuffle};
use crate::ops::warp::warp;
use crate::ops::{Blend, Conv2d, Conv2dConfig, ConvTranspose2d, Epilogue, Growing, Linear, Output, Padding, Slopes};
use crate::weights::Scope;

/// Rounding alone: nothing here is a product in the working precision.
const EXACT: f64 = 2e-6;

fn at(values: &[f32], shape: Shape, row: usize, y: usize, x: usize, channel: usize) -> f64 {
    f64::from(values[((row * shape.height + y) * shape.width + x) * shape.channels + channel])
}

/// Every index of a shape, in order.
fn indices(shape: Shape) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..shape.elements()).map(move |index| {
        let (channel, position) = (index % shape.channels, index / shape.channels);
        let (x, line) = (position % shape.width, position / shape.width);
        (line / shape.height, line % shape.height, x, channel)
    })
}

#[test]
fn results_are_blended_and_what_is_negative_then_bent() {
    for out_channels in [5, 32, 70] {
        let (in_channels, shape) = (12, Shape::new(2, 3, 5, 12));
        let input = random(1, shape.elements());
        let weight = weights(2, in_channels * out_channels, in_channels);
        let (bias, slopes) = (random(3, out_channels), random(4, out_channels));
        let result = shape.with_channels(out_channels);
        let (residual, other) = (random(5, result.elements()), random(6, result.elements()));
        let share = 0.3_f32;
        let source = Tensors::default()
            .with("layer.weight", &[out_channels, in_channels], weight.clone())
            .with("layer.bias", &[out_channels], bias.clone())
            .with("slopes.weight", &[out_channels], slopes.clone());
        let exact = |slope: &dyn Fn(usize) -> f64, share: f64| -> Vec<f64> {
            let sum = |(index, residual): (usize, &f32)| {
                let (position, out) = (index / out_channels, index % out_channels);
                let pairs = input[position * in_channels..].iter().zip(&weight[out * in_channels..][..in_channels]);
                let product: f64 = pairs.map(|(value, weight)| f64::from(*value) * f64::from(*weight)).sum();
                let sum = product + f64::from(bias[out]) + f64::from(*residual);
                let sum = share * f64::from(other[index]) + (1.0 - share) * sum;
                if sum < 0.0 { sum * slope(out) } else { sum }
            };
            residual.iter().enumerate().map(sum).collect()
        };
        for (ops, tolerance) in backends() {
            let root = Scope::root(&source);
            let linear = Linear::load(&ops, &root.enter("layer"), in_channels, out_channels, true).unwrap();
            let (input, residual) = (ops.upload(shape, &input).unwrap(), ops.upload(result, &residual).unwrap());
            let other = ops.upload(result, &other).unwrap();
            let blend = Some(Blend { with: &other, share });
            let parametric = Slopes::load(&ops, &root.enter("slopes"), out_channels).unwrap();
            let leaky = Slopes::constant(&ops, out_channels, 0.2).unwrap();
            for (what, layer, blend, exact) in [
                ("parametric", Some(&parametric), None, exact(&|out| f64::from(slopes[out]), 0.0)),
                ("leaky", Some(&leaky), None, exact(&|_| f64::from(0.2_f32), 0.0)),
                ("blended", None, blend, exact(&|_| 1.0, f64::from(share))),
                ("parametric after blending", Some(&parametric), blend, exact(&|out| f64::from(slopes[out]), f64::from(share))),
            ] {
                let epilogue = Epilogue { residual: Some(&residual), blend, slopes: layer, ..Epilogue::default() };
                check(&ops, what, &linear.forward(&ops, &input, epilogue).unwrap(), result, &exact, tolerance);
            }
            let longer = Slopes::constant(&ops, out_channels + 1, 0.2).unwrap();
            assert!(linear.forward(&ops, &input, Epilogue { slopes: Some(&longer), ..Epilogue::default() }).is_err());
        }
    }
}

#[test]
fn grown_channels_are_those_of_a_concatenation() {
    // Channels that fill loads of the matrix unit, alone and as a tap of several, and some that do not.
    for (channels, added, out_channels) in [(6, 10, 33), (32, 32, 40), (64, 160, 32)] {
        let shape = Shape::new(2, 5, 4, channels);
        let (room, together) = (channels + added + out_channels, channels + added);
        let (first, second) = (random(1, shape.elements()), random(2, shape.with_channels(added).elements()));
        let config = Conv2dConfig { in_channels: together, out_channels, kernel: 3, stride: 1, padding: Padding::all(1) };
        let source = Tensors::default()
            .with("weight", &[out_channels, together, 3, 3], weights(3, out_channels * together * 9, together * 9))
            .with("bias", &[out_channels], random(4, out_channels));
        for (ops, tolerance) in backends() {
            let conv = Conv2d::load(&ops, &Scope::root(&source), config).unwrap();
            let parts = [ops.upload(shape, &first).unwrap(), ops.upload(shape.with_channels(added), &second).unwrap()];
            let joined = concatenate(&ops, &[&parts[0], &parts[1]]).unwrap();
            let epilogue = Epilogue { output: Output::Operand, ..Epilogue::default() };
            let expected = conv.forward(&ops, &joined, epilogue).unwrap();
            let mut growing = Growing::new(&ops, shape.with_channels(room)).unwrap();
            for _ in 0..2 {
                growing.clear();
                for part in &parts {
                    growing.push(&ops, part).unwrap();
                }
                assert_eq!(growing.shape(), joined.shape());
                let grown = conv.forward_grown(&ops, &growing, epilogue).unwrap();
                if ops.precision() == Precision::F32 {
                    assert_eq!(bits(&ops, &grown), bits(&ops, &expected), "{}", ops.description());
                }
                // Kernels that do not multiply bf16 round what has grown and not what is converted for one product.
                let exact: Vec<f64> = ops.download(&expected).unwrap().into_iter().map(f64::from).collect();
                check(&ops, "grown channels", &grown, expected.shape(), &exact, tolerance);
                growing.push(&ops, &grown).unwrap();
                assert!(growing.push(&ops, &parts[0]).is_err(), "there is no room left");
                assert!(conv.forward_grown(&ops, &growing, epilogue).is_err(), "it takes {together} channels, not {room}");
            }
            assert!(growing.push(&ops, &ops.upload(Shape::new(1, 5, 4, 1), &[0.0; 20]).unwrap()).is_err());
        }
    }
}

#[test]
fn transposed_convolutions_scatter() {
    for (rows, height, width, in_channels, out_channels) in [(1, 3, 4, 5, 7), (2, 1, 1, 16, 4), (1, 6, 5, 34, 52)] {
        let shape = Shape::new(rows, height, width, in_channels);
        let input = random(1, shape.elements());
        let weight = weights(2, in_channels * out_channels * 16, 4 * in_channels);
        let bias = random(3, out_channels);
        let result = Shape::new(rows, 2 * height, 2 * width, out_channels);
        let mut exact: Vec<f64> = indices(result).map(|(.., channel)| f64::from(bias[channel])).collect();
        for (row, y, x, channel) in indices(shape) {
            let value = at(&input, shape, row, y, x, channel);
            for (down, across, out) in
                indices(Shape::new(1, 4, 4, out_channels)).map(|(_, down, across, out)| (down, across, out))
            {
                let (to_y, to_x) = ((2 * y + down).wrapping_sub(1), (2 * x + across).wrapping_sub(1));
                if to_y < result.height && to_x < result.width {
                    let weight = weight[((channel * out_channels + out) * 4 + down) * 4 + across];
                    exact[((row * result.height + to_y) * result.width + to_x) * out_channels + out] += value * f64::from(weight);
                }
            }
        }
        let source =
            Tensors::default().with("weight", &[in_channels, out_channels, 4, 4], weight).with("bias", &[out_channels], bias);
        for (ops, tolerance) in backends() {
            let conv = ConvTranspose2d::load(&ops, &Scope::root(&source), in_channels, out_channels).unwrap();
            let output = conv.forward(&ops, &ops.upload(shape, &input).unwrap()).unwrap();
            check(&ops, "transposed convolution", &output, result, &exact, tolerance);
        }
    }
}

#[test]
fn shuffles_move_every_value_to_its_place() {
    let shape = Shape::new(2, 3, 5, 2);
    let phases = [1, 2, 3, 4].map(|seed| random(seed, shape.elements()));
    let doubled = Shape::new(2, 6, 10, 2);
    let interleaved: Vec<f64> =
        indices(doubled).map(|(row, y, x, c)| at(&phases[y % 2 * 2 + x % 2], shape, row, y / 2, x / 2, c)).collect();
    let wide = Shape::new(2, 3, 5, 18);
    let values = random(5, wide.elements());
    let tripled = Shape::new(2, 9, 15, 2);
    let shuffled: Vec<f64> =
        indices(tripled).map(|(row, y, x, c)| at(&values, wide, row, y / 3, x / 3, c * 9 + y % 3 * 3 + x % 3)).collect();
    for (ops, _) in backends() {
        let uploaded = [0, 1, 2, 3].map(|index: usize| ops.upload(shape, &phases[index]).unwrap());
        check(&ops, "interleave", &interleave(&ops, &uploaded).unwrap(), doubled, &interleaved, 0.0);
        let input = ops.upload(wide, &values).unwrap();
        check(&ops, "pixel shuffle", &pixel_shuffle(&ops, &input, 3).unwrap(), tripled, &shuffled, 0.0);
        assert!(pixel_shuffle(&ops, &input, 2).is_err() && pixel_shuffle(&ops, &input, 0).is_err());
    }
}

#[test]
fn resizing_maps_centres_onto_each_other() {
    for (height, width, to_height, to_width) in
        [(8, 12, 2, 3), (4, 6, 8, 24), (5, 7, 3, 11), (1, 1, 4, 2), (3, 4, 3, 4), (9, 2, 1, 1)]
    {
        let shape = Shape::new(2, height, width, 3);
        let input = random(1, shape.elements());
        let result = Shape::new(2, to_height, to_width, 3);
        let along = |target: usize, from: usize, to: usize| {
            let source = ((target as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let low = (source as usize).min(from - 1);
            (low, (low + 1).min(from - 1), source - low as f64)
        };
        let value = |(row, y, x, channel): (usize, usize, usize, usize)| {
            let (upper, lower, down) = along(y, height, to_height);
            let (left, right, across) = along(x, width, to_width);
            let line = |y: usize| {
                at(&input, shape, row, y, left, channel) * (1.0 - across) + at(&input, shape, row, y, right, channel) * across
            };
            line(upper) * (1.0 - down) + line(lower) * down
        };
        let exact: Vec<f64> = indices(result).map(value).collect();
        for (ops, _) in backends() {
            let input = ops.upload(shape, &input).unwrap();
            check(&ops, "resize", &resize_bilinear(&ops, &input, to_height, to_width).unwrap(), result, &exact, EXACT);
            assert!(resize_bilinear(&ops, &input, 0, 1).is_err());
        }
    }
}

#[test]
fn warping_looks_where_the_flow_points_and_no_further_than_the_border() {
    let shape = Shape::new(2, 6, 9, 3);
    let input = random(1, shape.elements());
    let flow_shape = shape.with_channels(5);
    // Some far outside, some exactly on a position, most between.
    let mut flow: Vec<f32> = random(2, flow_shape.elements()).into_iter().map(|value| value * 4.0).collect();
    flow[1..3].copy_from_slice(&[1.0e9, -1.0e9]);
    flow[6..8].copy_from_slice(&[2.0, 1.0]);
    let along = |target: f64, length: usize| {
        let target = target.clamp(0.0, (length - 1) as f64);
        let low = target as usize;
        (low, (low + 1).min(length - 1), target - low as f64)
    };
    let value = |(row, y, x, channel): (usize, usize, usize, usize)| {
        let (left, right, across) = along(x as f64 + at(&flow, flow_shape, row, y, x, 1), shape.width);
        let (upper, lower, down) = along(y as f64 + at(&flow, flow_shape, row, y, x, 2), shape.height);
        let line = |y: usize| {
            at(&input, shape, row, y, left, channel) * (1.0 - across) + at(&input, shape, row, y, right, channel) * across
        };
        line(upper) * (1.0 - down) + line(lower) * down
    };
    let exact: Vec<f64> = indices(shape).map(value).collect();
    for (ops, _) in backends() {
        let (input, flow) = (ops.upload(shape, &input).unwrap(), ops.upload(flow_shape, &flow).unwrap());
        check(&ops, "warp", &warp(&ops, &input, &flow, 1).unwrap(), shape, &exact, EXACT);
        assert!(warp(&ops, &input, &flow, 4).is_err());
        assert!(warp(&ops, &input, &input, 2).is_err());
    }
}

#[test]
fn a_flow_that_is_no_number_harms_nobody() {
    let shape = Shape::new(1, 2, 2, 1);
    for ops in cpu_backends() {
        let input = ops.upload(shape, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let flow = [f32::NAN, f32::NAN, f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0];
        let flow = ops.upload(shape.with_channels(2), &flow).unwrap();
        assert_eq!(ops.download(&warp(&ops, &input, &flow, 0).unwrap()).unwrap(), [1.0, 4.0, 1.0, 4.0]);
    }
}

#[test]
fn blends_and_joins() {
    let shape = Shape::new(2, 3, 7, 5);
    let (first, second) = (random(1, shape.elements()), random(2, shape.elements()));
    let masks = random(3, shape.with_channels(2).elements());
    let kept = shape.with_channels(3);
    let blended: Vec<f64> = indices(kept)
        .map(|(row, y, x, channel)| {
            let share = exact_sigmoid(at(&masks, shape.with_channels(2), row, y, x, 1));
            at(&first, shape, row, y, x, channel) * share + at(&second, shape, row, y, x, channel) * (1.0 - share)
        })
        .collect();
    let wide = shape.with_channels(12);
    let joined: Vec<f64> = indices(wide)
        .map(|(row, y, x, channel)| match channel {
            0..5 => at(&first, shape, row, y, x, channel),
            5..7 => at(&masks, shape.with_channels(2), row, y, x, channel - 5),
            _ => at(&second, shape, row, y, x, channel - 7),
        })
        .collect();
    let added: Vec<f64> = indices(shape)
        .map(|(row, y, x, channel)| {
            at(&first, shape, row, y, x, channel) + if channel < 2 { at(&second, shape, row, y, x, channel) } else { 0.0 }
        })
        .collect();
    for (ops, _) in backends() {
        let upload = |shape: Shape, values: &[f32]| ops.upload(shape, values).unwrap();
        let (mut first, second) = (upload(shape, &first), upload(shape, &second));
        let masks = upload(shape.with_channels(2), &masks);
        let mask = |channel| MaskChannel { activation: &masks, channel };
        check(&ops, "blend", &blend(&ops, &first, &second, mask(1), 3).unwrap(), kept, &blended, EXACT);
        assert!(blend(&ops, &first, &second, mask(2), 3).is_err() && blend(&ops, &first, &second, mask(1), 6).is_err());
        let parts = [&first, &masks, &second];
        check(&ops, "concatenate", &concatenate(&ops, &parts).unwrap(), wide, &joined, 0.0);
        assert!(concatenate(&ops, &[]).is_err());
        add_to_channels(&ops, &mut first, &second, 2).unwrap();
        check(&ops, "add to channels", &first, shape, &added, EXACT);
        assert!(add_to_channels(&ops, &mut first, &second, 6).is_err());
    }
}
