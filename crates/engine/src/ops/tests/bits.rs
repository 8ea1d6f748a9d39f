//! A row's bits depend neither on its batch mates nor on the number of threads.

use super::*;
use crate::ops::elementwise::select_rows;
use crate::ops::{
    Conv2d, Conv2dConfig, Epilogue, Function, GroupNorm, Interrupt, KeysValues, LayerNorm, Linear, Mask, Output, Padding, Slice,
    attention,
};
use crate::weights::Scope;

/// A small network of every operation that computes.
struct Network {
    conv: Conv2d,
    group_norm: GroupNorm,
    layer_norm: LayerNorm,
    joined: Linear,
    gated: Linear,
    out: Linear,
}

const CHANNELS: usize = 40;

fn source() -> Tensors {
    let c = CHANNELS;
    Tensors::default()
        .with("conv.weight", &[c, 4, 3, 3], weights(1, c * 36, 36))
        .with("conv.bias", &[c], random(2, c))
        .with("norm.weight", &[c], random(3, c))
        .with("norm.bias", &[c], random(4, c))
        .with("joined.weight", &[3 * c, c], weights(5, 3 * c * c, c))
        .with("gated.weight", &[600, c], weights(6, 600 * c, c))
        .with("gated.bias", &[600], random(7, 600))
        .with("out.weight", &[c, 300], weights(8, c * 300, 300))
        .with("out.bias", &[c], random(9, c))
}

impl Network {
    fn load(ops: &Ops) -> Self {
        let source = source();
        let root = Scope::root(&source);
        let conv = Conv2dConfig { in_channels: 4, out_channels: CHANNELS, kernel: 3, stride: 1, padding: Padding::all(1) };
        Self {
            conv: Conv2d::load(ops, &root.enter("conv"), conv).unwrap(),
            group_norm: GroupNorm::load(ops, &root.enter("norm"), CHANNELS, 8, 1e-5).unwrap(),
            layer_norm: LayerNorm::load(ops, &root.enter("norm"), CHANNELS, 1e-5).unwrap(),
            joined: Linear::load(ops, &root.enter("joined"), CHANNELS, 3 * CHANNELS, false).unwrap(),
            gated: Linear::load_geglu(ops, &root.enter("gated"), CHANNELS, 300).unwrap(),
            out: Linear::load(ops, &root.enter("out"), 300, CHANNELS, true).unwrap(),
        }
    }

    fn run(&self, ops: &Ops, input: &Activation) -> Activation {
        let stream = self.conv.forward(ops, input, Epilogue { function: Function::Silu, ..Epilogue::default() }).unwrap();
        let operand = self.group_norm.forward(ops, &stream, true, Output::Operand).unwrap();
        let joined = self.joined.forward(ops, &operand, Epilogue { output: Output::Operand, ..Epilogue::default() }).unwrap();
        let slice = |index: usize| Slice { activation: &joined, offset: index * CHANNELS };
        let keys_values = KeysValues::SameRows { keys: slice(1), values: slice(2) };
        let attended = attention(ops, slice(0), keys_values, 5, 8, Mask::None, &Interrupt::default()).unwrap();
        let normal = self.layer_norm.forward(ops, &attended, Output::Operand).unwrap();
        let gated = self.gated.forward(ops, &normal, Epilogue { output: Output::Operand, ..Epilogue::default() }).unwrap();
        self.out.forward(ops, &gated, Epilogue { residual: Some(&stream), ..Epilogue::default() }).unwrap()
    }
}

#[test]
fn batched_equals_alone() {
    for ops in cpu_backends() {
        let network = Network::load(&ops);
        for (height, width) in [(13, 9), (1, 1), (2, 7), (20, 31)] {
            let shape = Shape::new(3, height, width, 4);
            let batch = ops.upload(shape, &random(11, shape.elements())).unwrap();
            let together = bits(&ops, &network.run(&ops, &batch));
            for row in 0..3 {
                let alone = bits(&ops, &network.run(&ops, &select_rows(&ops, &batch, row, 1).unwrap()));
                let length = alone.len();
                assert!(
                    together[row * length..(row + 1) * length] == alone[..],
                    "row {row}, {height} × {width}, {}",
                    ops.description()
                );
            }
        }
    }
}

#[test]
fn linears_of_any_number_of_rows() {
    for ops in cpu_backends() {
        let network = Network::load(&ops);
        let shape = Shape::vectors(40, CHANNELS);
        let all = ops.upload(shape, &random(12, shape.elements())).unwrap();
        let together = bits(&ops, &network.joined.forward(&ops, &all, Epilogue::default()).unwrap());
        for rows in [1, 2, 3, 5, 8, 13, 14, 15, 29, 40] {
            let some = select_rows(&ops, &all, 40 - rows, rows).unwrap();
            let result = bits(&ops, &network.joined.forward(&ops, &some, Epilogue::default()).unwrap());
            assert!(together[(40 - rows) * 3 * CHANNELS..] == result[..], "{rows} rows on {}", ops.description());
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for ops in cpu_backends() {
        let network = Network::load(&ops);
        let shape = Shape::new(2, 26, 18, 4);
        let input = random(13, shape.elements());
        let results = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&ops, &network.run(&ops, &ops.upload(shape, &input).unwrap())))
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{}", ops.description());
    }
}

#[test]
fn rows_at_regular_and_at_other_distances_add_alike() {
    // Channels that the matrix unit loads from where they are, save where a line of a picture ends: elsewhere in a batch than alone.
    let (channels, out_channels) = (64, 70);
    let config = Conv2dConfig { in_channels: channels, out_channels, kernel: 3, stride: 1, padding: Padding::all(1) };
    let source = Tensors::default()
        .with("weight", &[out_channels, channels, 3, 3], weights(1, out_channels * channels * 9, channels * 9))
        .with("bias", &[out_channels], random(2, out_channels));
    for ops in cpu_backends() {
        let conv = Conv2d::load(&ops, &Scope::root(&source), config).unwrap();
        for (height, width) in [(16, 20), (7, 5), (1, 40), (3, 64)] {
            let shape = Shape::new(3, height, width, channels);
            let batch = ops.upload(shape, &random(14, shape.elements())).unwrap();
            let together = bits(&ops, &conv.forward(&ops, &batch, Epilogue::default()).unwrap());
            for (row, together) in together.chunks_exact(together.len() / 3).enumerate() {
                let alone = select_rows(&ops, &batch, row, 1).unwrap();
                let alone = bits(&ops, &conv.forward(&ops, &alone, Epilogue::default()).unwrap());
                assert!(together == alone, "row {row}, {height} × {width}, {}", ops.description());
            }
        }
    }
}
