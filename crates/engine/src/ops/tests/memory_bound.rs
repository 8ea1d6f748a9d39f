//! `silu`, sums, concatenation, selection, enlargement.

use super::*;
use crate::ops::Output;
use crate::ops::elementwise::{add_scaled, concatenate_channels, select_rows, silu};
use crate::ops::upsample::upsample_nearest;

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn silu_of_all_magnitudes() {
    let shape = Shape::new(2, 3, 5, 7);
    let input: Vec<f32> = random(1, shape.elements()).into_iter().map(|value| value * 20.0).collect();
    let exact: Vec<f64> = widened(&input).into_iter().map(|value| value * exact_sigmoid(value)).collect();
    for (ops, tolerance) in backends() {
        let input = ops.upload(shape, &input).unwrap();
        check(&ops, "silu", &silu(&ops, &input, Output::Stream).unwrap(), shape, &exact, tolerance.min(1e-6));
        check(&ops, "silu", &silu(&ops, &input, Output::Operand).unwrap(), shape, &exact, tolerance);
    }
}

#[test]
fn sums_concatenations_and_selections() {
    let (first, second) = (Shape::new(3, 4, 5, 6), Shape::new(3, 4, 5, 9));
    let (left, right, other) = (random(1, first.elements()), random(2, second.elements()), random(3, first.elements()));
    let sum: Vec<f64> = left.iter().zip(&other).map(|(a, b)| f64::from(*a) - 0.75 * f64::from(*b)).collect();
    let joined: Vec<f64> =
        left.chunks(6).zip(right.chunks(9)).flat_map(|(left, right)| widened(left).into_iter().chain(widened(right))).collect();
    for (ops, _) in backends() {
        let mut target = ops.upload(first, &left).unwrap();
        let (right, other) = (ops.upload(second, &right).unwrap(), ops.upload(first, &other).unwrap());
        let result = concatenate_channels(&ops, &target, &right).unwrap();
        check(&ops, "concatenation", &result, first.with_channels(15), &joined, 0.0);
        let selected = select_rows(&ops, &target, 1, 2).unwrap();
        check(&ops, "selection", &selected, Shape { rows: 2, ..first }, &widened(&left)[120..], 0.0);
        assert!(select_rows(&ops, &target, 2, 2).is_err());
        assert!(select_rows(&ops, &target, 1, usize::MAX).is_err());
        add_scaled(&ops, &mut target, &other, -0.75).unwrap();
        check(&ops, "sum", &target, first, &sum, 1e-6);
        assert!(add_scaled(&ops, &mut target, &right, 1.0).is_err());
        let narrow = ops.upload(Shape::new(3, 4, 4, 1), &[0.0; 48]).unwrap();
        assert!(concatenate_channels(&ops, &target, &narrow).is_err());
    }
}

#[test]
fn enlargement_follows_torchs_rule() {
    let shape = Shape::new(2, 3, 5, 4);
    let input: Vec<f32> = (0..shape.elements()).map(|value| value as f32 % 61.0).collect();
    for (height, width) in [(6, 10), (7, 9), (3, 5), (5, 13)] {
        let mut exact = Vec::new();
        for row in 0..2 {
            for y in 0..height {
                for x in 0..width {
                    let from = (row * 3 + y * 3 / height) * 5 + x * 5 / width;
                    exact.extend(input[from * 4..from * 4 + 4].iter().map(|value| f64::from(*value)));
                }
            }
        }
        for (ops, _) in backends() {
            let result = upsample_nearest(&ops, &ops.upload(shape, &input).unwrap(), height, width).unwrap();
            // small whole numbers are exact in bf16
            check(&ops, "enlargement", &result, Shape { height, width, ..shape }, &exact, 0.0);
        }
    }
}
