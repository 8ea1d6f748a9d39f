//! Convolutions and linear layers.

use super::*;
use crate::ops::{Conv2d, Conv2dConfig, Epilogue, Function, Linear, Output, Padding};
use crate::weights::Declarations;
use crate::weights::Scope;

/// The convolution in f64, channels last, before any epilogue but the bias.
fn exact_conv(input: &[f32], shape: Shape, weight: &[f32], bias: &[f32], config: &Conv2dConfig) -> (Shape, Vec<f64>) {
    let Conv2dConfig { in_channels, out_channels, kernel, stride, padding } = *config;
    let height = (shape.height + padding.top + padding.bottom - kernel) / stride + 1;
    let width = (shape.width + padding.left + padding.right - kernel) / stride + 1;
    let result = Shape::new(shape.rows, height, width, out_channels);
    let mut values = Vec::with_capacity(result.elements());
    for row in 0..shape.rows {
        for y in 0..height {
            for x in 0..width {
                for out in 0..out_channels {
                    let mut sum = f64::from(bias[out]);
                    for (down, across) in (0..kernel).flat_map(|down| (0..kernel).map(move |across| (down, across))) {
                        let from_y = (y * stride + down).wrapping_sub(padding.top);
                        let from_x = (x * stride + across).wrapping_sub(padding.left);
                        if from_y >= shape.height || from_x >= shape.width {
                            continue;
                        }
                        let from = ((row * shape.height + from_y) * shape.width + from_x) * in_channels;
                        for channel in 0..in_channels {
                            let weight = weight[((out * in_channels + channel) * kernel + down) * kernel + across];
                            sum += f64::from(input[from + channel]) * f64::from(weight);
                        }
                    }
                    values.push(sum);
                }
            }
        }
    }
    (result, values)
}

fn apply(function: Function, x: f64) -> f64 {
    match function {
        Function::Identity => x,
        Function::Silu => x * exact_sigmoid(x),
        Function::QuickGelu => x * exact_sigmoid(1.702 * x),
        Function::Gelu => exact_gelu(x),
    }
}

/// One convolution with one epilogue on every backend.
fn check_conv(config: Conv2dConfig, rows: usize, height: usize, width: usize, function: Function, output: Output) {
    let Conv2dConfig { in_channels, out_channels, kernel, .. } = config;
    let shape = Shape::new(rows, height, width, in_channels);
    let input = random(1, shape.elements());
    let fan_in = in_channels * kernel * kernel;
    let weight = weights(2, out_channels * fan_in, fan_in);
    let bias = random(3, out_channels);
    let (result, product) = exact_conv(&input, shape, &weight, &bias, &config);
    let per_row = random(4, rows * out_channels);
    let residual = random(5, result.elements());
    let exact: Vec<f64> = (0..result.elements())
        .map(|index| {
            let row = index / (result.positions() * out_channels);
            let sum = product[index] + f64::from(per_row[row * out_channels + index % out_channels]);
            apply(function, sum) + f64::from(residual[index])
        })
        .collect();
    let source = Tensors::default().with("layer.weight", &[out_channels, in_channels, kernel, kernel], weight).with(
        "layer.bias",
        &[out_channels],
        bias,
    );
    for (ops, tolerance) in backends() {
        let conv = Conv2d::load(&ops, &Scope::root(&source).enter("layer"), config).unwrap();
        let input = ops.upload(shape, &input).unwrap();
        let plain = conv.forward(&ops, &input, Epilogue { output, ..Epilogue::default() }).unwrap();
        check(&ops, "plain convolution", &plain, result, &product, tolerance);
        let per_row = ops.upload(Shape::vectors(rows, out_channels), &per_row).unwrap();
        let residual = ops.upload(result, &residual).unwrap();
        let epilogue = Epilogue { per_row: Some(&per_row), residual: Some(&residual), function, output, ..Epilogue::default() };
        let full = conv.forward(&ops, &input, epilogue).unwrap();
        check(&ops, &format!("{config:?}"), &full, result, &exact, tolerance);
    }
}

fn conv(in_channels: usize, out_channels: usize, kernel: usize, stride: usize, padding: Padding) -> Conv2dConfig {
    Conv2dConfig { in_channels, out_channels, kernel, stride, padding }
}

#[test]
fn convolutions_of_odd_shapes() {
    let one = Padding::all(1);
    check_conv(conv(4, 40, 3, 1, one), 2, 13, 9, Function::Silu, Output::Stream);
    check_conv(conv(9, 33, 3, 1, one), 1, 7, 5, Function::Identity, Output::Stream);
    check_conv(conv(3, 32, 3, 1, one), 3, 5, 6, Function::Gelu, Output::Operand);
    check_conv(conv(37, 3, 3, 1, one), 2, 13, 9, Function::Identity, Output::Stream);
    check_conv(conv(16, 24, 3, 2, one), 2, 13, 9, Function::QuickGelu, Output::Stream);
    check_conv(
        conv(16, 24, 3, 2, Padding { top: 0, left: 0, bottom: 1, right: 1 }),
        2,
        12,
        10,
        Function::Identity,
        Output::Stream,
    );
    check_conv(conv(10, 70, 1, 1, Padding::default()), 3, 4, 3, Function::Silu, Output::Operand);
    check_conv(conv(6, 8, 1, 2, Padding::default()), 1, 5, 5, Function::Identity, Output::Stream);
    check_conv(conv(3, 20, 14, 14, Padding::default()), 1, 28, 28, Function::Identity, Output::Stream);
    check_conv(conv(3, 8, 3, 1, one), 1, 1, 1, Function::Identity, Output::Stream);
}

#[test]
fn convolutions_longer_than_a_block_of_k() {
    let one = Padding::all(1);
    check_conv(conv(229, 33, 3, 1, one), 1, 5, 4, Function::Identity, Output::Stream);
    check_conv(conv(450, 64, 3, 1, one), 2, 3, 5, Function::Silu, Output::Stream);
    check_conv(conv(128, 96, 3, 1, one), 1, 17, 15, Function::Identity, Output::Operand);
}

fn exact_linear(input: &[f32], weight: &[f32], bias: Option<&[f32]>, in_channels: usize) -> Vec<f64> {
    let out_channels = weight.len() / in_channels;
    let mut values = Vec::new();
    for position in input.chunks_exact(in_channels) {
        for out in 0..out_channels {
            let row = &weight[out * in_channels..][..in_channels];
            let sum: f64 = position.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            values.push(sum + bias.map_or(0.0, |bias| f64::from(bias[out])));
        }
    }
    values
}

#[test]
fn linears_of_odd_shapes() {
    for (rows, tokens, in_channels, out_channels, bias) in
        [(1, 1, 5, 3, true), (3, 77, 64, 100, true), (2, 15, 900, 33, false), (1, 300, 33, 32, true), (7, 1, 320, 1280, true)]
    {
        let shape = Shape::sequence(rows, tokens, in_channels);
        let input = random(1, shape.elements());
        let weight = weights(2, in_channels * out_channels, in_channels);
        let bias_values = random(3, out_channels);
        let exact = exact_linear(&input, &weight, bias.then_some(&bias_values), in_channels);
        let mut source = Tensors::default().with("weight", &[out_channels, in_channels], weight);
        if bias {
            source = source.with("bias", &[out_channels], bias_values);
        }
        for (ops, tolerance) in backends() {
            let linear = Linear::load(&ops, &Scope::root(&source), in_channels, out_channels, bias).unwrap();
            assert_eq!(linear.out_channels(), out_channels);
            let result = linear.forward(&ops, &ops.upload(shape, &input).unwrap(), Epilogue::default()).unwrap();
            check(&ops, &format!("linear {shape:?}"), &result, shape.with_channels(out_channels), &exact, tolerance);
        }
    }
}

#[test]
fn joined_layers_lie_side_by_side() {
    let (in_channels, parts) = (24, [20, 7, 40]);
    let shape = Shape::sequence(2, 11, in_channels);
    let input = random(1, shape.elements());
    let mut source = Tensors::default();
    let (mut weight, mut bias) = (Vec::new(), Vec::new());
    for (index, out_channels) in parts.into_iter().enumerate() {
        let these = weights(2 + index as u64, in_channels * out_channels, in_channels);
        let biases = random(20 + index as u64, out_channels);
        weight.extend_from_slice(&these);
        bias.extend_from_slice(&biases);
        source = source.with(&format!("{index}.weight"), &[out_channels, in_channels], these);
        source = source.with(&format!("{index}.bias"), &[out_channels], biases);
    }
    let exact = exact_linear(&input, &weight, Some(&bias), in_channels);
    for (ops, tolerance) in backends() {
        let root = Scope::root(&source);
        let scopes: Vec<_> = parts.into_iter().enumerate().map(|(index, channels)| (root.enter(index), channels)).collect();
        let linear = Linear::load_joined(&ops, &scopes, in_channels, true).unwrap();
        let result = linear.forward(&ops, &ops.upload(shape, &input).unwrap(), Epilogue::default()).unwrap();
        check(&ops, "joined", &result, shape.with_channels(67), &exact, tolerance);
    }
}

#[test]
fn geglu_multiplies_values_with_their_gates() {
    for inner in [16, 20, 50, 64] {
        let in_channels = 30;
        let shape = Shape::sequence(2, 19, in_channels);
        let input = random(1, shape.elements());
        let weight = weights(2, in_channels * 2 * inner, in_channels);
        let bias = random(3, 2 * inner);
        let both = exact_linear(&input, &weight, Some(&bias), in_channels);
        let residual = random(4, 2 * 19 * inner);
        let exact: Vec<f64> = both
            .chunks_exact(2 * inner)
            .flat_map(|both| (0..inner).map(|index| both[index] * exact_gelu(both[inner + index])))
            .zip(&residual)
            .map(|(value, residual)| value + f64::from(*residual))
            .collect();
        let source = Tensors::default().with("weight", &[2 * inner, in_channels], weight).with("bias", &[2 * inner], bias);
        for (ops, tolerance) in backends() {
            let linear = Linear::load_geglu(&ops, &Scope::root(&source), in_channels, inner).unwrap();
            assert_eq!(linear.out_channels(), inner);
            let residual = ops.upload(shape.with_channels(inner), &residual).unwrap();
            let epilogue = Epilogue { residual: Some(&residual), output: Output::Operand, ..Epilogue::default() };
            let input = ops.upload(shape, &input).unwrap();
            let result = linear.forward(&ops, &input, epilogue).unwrap();
            check(&ops, "geglu", &result, shape.with_channels(inner), &exact, tolerance);
            let refused = Epilogue { function: Function::Silu, ..Epilogue::default() };
            assert!(linear.forward(&ops, &input, refused).is_err());
        }
    }
}

#[test]
fn operands_feed_the_next_product() {
    let (first, second) = (weights(1, 24 * 10, 10), weights(2, 9 * 24, 24));
    let shape = Shape::sequence(2, 5, 10);
    let input = random(3, shape.elements());
    let between: Vec<f32> = exact_linear(&input, &first, None, 10).into_iter().map(|value| value as f32).collect();
    let exact = exact_linear(&between, &second, None, 24);
    let source = Tensors::default().with("0.weight", &[24, 10], first).with("1.weight", &[9, 24], second);
    for (ops, tolerance) in backends() {
        let root = Scope::root(&source);
        let first = Linear::load(&ops, &root.enter(0), 10, 24, false).unwrap();
        let second = Linear::load(&ops, &root.enter(1), 24, 9, false).unwrap();
        let operand = Epilogue { output: Output::Operand, ..Epilogue::default() };
        let between = first.forward(&ops, &ops.upload(shape, &input).unwrap(), operand).unwrap();
        let result = second.forward(&ops, &between, Epilogue::default()).unwrap();
        check(&ops, "two layers", &result, shape.with_channels(9), &exact, 2.0 * tolerance);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let source = Tensors::default().with("weight", &[8, 4, 3, 3], vec![0.0; 288]).with("bias", &[8], vec![0.0; 8]);
    for (ops, _) in backends() {
        let conv = Conv2d::load(&ops, &Scope::root(&source), conv(4, 8, 3, 1, Padding::default())).unwrap();
        let good = ops.upload(Shape::new(1, 4, 4, 4), &[0.0; 64]).unwrap();
        let channels = ops.upload(Shape::new(1, 4, 4, 5), &[0.0; 80]).unwrap();
        let small = ops.upload(Shape::new(1, 2, 2, 4), &[0.0; 16]).unwrap();
        assert!(conv.forward(&ops, &good, Epilogue::default()).is_ok());
        assert!(conv.forward(&ops, &channels, Epilogue::default()).is_err());
        assert!(conv.forward(&ops, &small, Epilogue::default()).is_err());
        let wrong = ops.upload(Shape::vectors(2, 8), &[0.0; 16]).unwrap();
        assert!(conv.forward(&ops, &good, Epilogue { per_row: Some(&wrong), ..Epilogue::default() }).is_err());
        assert!(conv.forward(&ops, &good, Epilogue { residual: Some(&good), ..Epilogue::default() }).is_err());
    }
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    let stride = Conv2dConfig { stride: 0, ..conv(4, 8, 3, 1, Padding::default()) };
    assert!(Conv2d::load(&ops, &Scope::root(&source), stride).is_err());
    assert!(Linear::load(&ops, &Scope::root(&source), 4, 8, false).is_err());
}

#[test]
fn a_layer_without_weights_is_not_allocated() {
    // four terabytes, and a gated layer of eight
    for ops in cpu_backends() {
        let source = Tensors::default();
        let root = Scope::root(&source);
        let refused = [
            Linear::load(&ops, &root, 1 << 20, 1 << 20, false).unwrap_err(),
            Linear::load_geglu(&ops, &root, 1 << 20, 1 << 20).unwrap_err(),
            Conv2d::load(&ops, &root, conv(1 << 20, 1 << 20, 3, 1, Padding::all(1))).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(&error, Error::Checkpoint { reason, .. } if reason.contains("weight")), "{error}");
        }
    }
}

#[test]
fn declaring_asks_for_everything_and_computes_nothing() {
    let declarations = Declarations::default();
    let ops = Ops::declaring();
    let root = Scope::root(&declarations);
    Conv2d::load(&ops, &root.enter("conv"), conv(4, 8, 3, 1, Padding::all(1))).unwrap();
    let linear = Linear::load_geglu(&ops, &root.enter("ff"), 1 << 20, 1 << 20).unwrap();
    assert_eq!(linear.out_channels(), 1 << 20);
    let asked: Vec<_> = declarations.asked().into_iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    assert_eq!(asked, ["conv.weight [8, 4, 3, 3]", "conv.bias [8]", "ff.weight [2097152, 1048576]", "ff.bias [2097152]"]);
    let cpu = Ops::cpu(Precision::F32, None).unwrap();
    let input = cpu.upload(Shape::vectors(1, 1 << 20), &vec![0.0; 1 << 20]).unwrap();
    assert!(linear.forward(&cpu, &input, Epilogue::default()).is_err());
    assert!(linear.forward(&ops, &input, Epilogue::default()).is_err());
    assert!(Linear::load(&cpu, &root, 4, 4, false).is_err());
}
