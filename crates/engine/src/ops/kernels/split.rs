//! f32 products on Intel's matrix unit: every value is the sum of two bf16, and of their four products the three that count are added.
//!
//! `x = upper + lower + rest` with `upper = bf16(x)`, `lower = bf16(x − upper)`: each holds 8 bits, so `|rest| ≤ 2^-16 |x|`. Left out are the
//! rests and `lower · lower`, which is as small; the sums are f32. Random products are then right to 4.4e-6 (relative L2), where f32
//! itself reaches some 3e-7; the unit does them several times as fast as the vector registers. The scheme is that of G. Henry, P. Tang
//! and A. Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations" (2019).
//!
//! Inputs and weights take as much memory as f32: where a step of 32 k begins lie the upper halves, behind them the lower ones.

use std::sync::Arc;

use half::bf16;

use super::amx::{self, TILE_CHANNELS, TILE_ROWS};
use super::kernel::{Kernel, Rows, Sums};
use super::loops::PANEL;
use super::math::Lane;
use crate::error::Result;
use crate::ops::arena::{Arena, Scratch};

/// f32 values that a step of a panel takes: 32 k of 32 outputs.
const PANEL_STEP: usize = TILE_CHANNELS * PANEL;
/// f32 values that a step of a tile of positions takes: 16 positions of 32 k.
const TILE_STEP: usize = TILE_ROWS * TILE_CHANNELS;
/// Bytes from one row of a tile of inputs to the next.
const ROW_BYTES: usize = TILE_CHANNELS * size_of::<bf16>();
/// Values of a row's halves, upper or lower, counted as f32.
const ROW: usize = TILE_CHANNELS / 2;

/// The inputs of a block.
pub(crate) struct Halves {
    /// `[pair of tiles][step][tile of the pair][upper, lower][position][k]`, bf16; where the tiles are odd, the last pair is one tile.
    values: Scratch<f32>,
    /// Tiles of positions.
    tiles: usize,
    /// Steps of K.
    steps: usize,
}

/// The kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitMatrixUnit;

impl Kernel for SplitMatrixUnit {
    type Value = f32;
    type Session = amx::Session;
    type Inputs<'a> = Halves;

    const GROUP: usize = 1;
    const STEP: usize = TILE_CHANNELS;
    // one with all inputs of a chunk: sums go out of the tiles as seldom as can be, and weights come from the second-level cache
    const BLOCK: usize = 640;
    // inputs of at most 819 KB, in a second-level cache of 2 MB
    const CHUNK: usize = 640;
    const HEIGHT: usize = TILE_ROWS;
    const TASK_POSITIONS: usize = 320;
    const TASK_PANELS: usize = 40;
    const TASK_QUERIES: usize = 64;
    const TASK_KEYS: usize = 256;

    unsafe fn begin() -> amx::Session {
        // SAFETY: passed on.
        unsafe { amx::MatrixUnit::begin() }
    }

    unsafe fn prepare(arena: &Arc<Arena>, rows: Rows<'_, f32>) -> Result<Halves> {
        let tiles = rows.count.div_ceil(TILE_ROWS);
        let depth = rows.segments.iter().map(|segment| segment.length).sum::<usize>();
        let steps = depth.div_ceil(TILE_CHANNELS);
        assert!(rows.segments.iter().all(|segment| segment.tap * rows.stride + tiles * TILE_ROWS <= rows.pointers.len()));
        let mut values = arena.take::<f32>(tiles * steps * TILE_STEP)?;
        // SAFETY: the processor has AVX-512 with BF16 beside the tiles; the pointers are readable by contract.
        unsafe { fill(&rows, tiles, steps, &mut values) };
        Ok(Halves { values, tiles, steps })
    }

    unsafe fn multiply(_session: &amx::Session, inputs: &Halves, panel: &[f32], next: &[f32], sums: Sums<'_>) {
        let Sums { values, stride, accumulate } = sums;
        let Halves { values: inputs, tiles, steps } = inputs;
        let (tiles, steps) = (*tiles, *steps);
        assert!(steps * PANEL_STEP <= panel.len(), "weights for every k");
        let height = tiles * TILE_ROWS;
        assert!(height > 0 && stride >= PANEL && (height - 1) * stride + PANEL <= values.len(), "sums for every position");
        for (pair, inputs) in inputs[..tiles * steps * TILE_STEP].chunks(2 * steps * TILE_STEP).enumerate() {
            let sums = values[pair * 2 * TILE_ROWS * stride..].as_mut_ptr();
            let stride = stride * size_of::<f32>();
            // eight pairs fetch all of the next panel
            let ahead = next.get(pair * steps * (PANEL_STEP / 8)..).unwrap_or(panel).as_ptr();
            let product = Product { inputs: inputs.as_ptr(), panel: panel.as_ptr(), ahead, steps, sums, stride, accumulate };
            // SAFETY: weights and sums are in bounds by the assertions, the inputs by their length; the session configured the tiles.
            unsafe {
                if inputs.len() == 2 * steps * TILE_STEP {
                    multiply_pair(product);
                } else {
                    multiply_single(product);
                }
            }
        }
    }

    fn seal(panel: &mut [f32]) {
        for step in panel.chunks_exact_mut(PANEL_STEP) {
            let mut halves = [0.0; PANEL_STEP];
            let (uppers, lowers) = halves.split_at_mut(PANEL_STEP / 2);
            for (index, (upper, lower)) in uppers.iter_mut().zip(lowers).enumerate() {
                let (pair, lane) = (index / PANEL, index % PANEL);
                let [first, second] = [2 * pair, 2 * pair + 1].map(|k| split(step[k * PANEL + lane]));
                (*upper, *lower) = (paired(first.0, second.0), paired(first.1, second.1));
            }
            step.copy_from_slice(&halves);
        }
    }

    fn as_f32(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }
}

/// The two halves of a value.
fn split(value: f32) -> (bf16, bf16) {
    let upper = bf16::narrow(value);
    (upper, bf16::narrow(value - upper.widen()))
}

/// Two bf16 in the place of one f32, the first at the lower address.
fn paired(first: bf16, second: bf16) -> f32 {
    f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16)
}

/// Splits the rows of all tiles.
///
/// # Safety
/// The processor must have AVX-512 with BF16; the pointers of `tiles` tiles must be there, and readable over the channels of their
/// segments.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn fill(rows: &Rows<'_, f32>, tiles: usize, steps: usize, values: &mut [f32]) {
    let fills_steps = rows.segments.iter().all(|segment| segment.length.is_multiple_of(TILE_CHANNELS));
    let mut gathered = Vec::new();
    if !fills_steps {
        gathered.resize(steps * TILE_CHANNELS, 0.0);
    }
    for (pair, values) in values[..tiles * steps * TILE_STEP].chunks_mut(2 * steps * TILE_STEP).enumerate() {
        let paired_tiles = values.len() / (steps * TILE_STEP);
        for tile in 0..paired_tiles {
            for row in 0..TILE_ROWS {
                let position = (2 * pair + tile) * TILE_ROWS + row;
                let mut step = 0;
                let place = |step: usize| {
                    let start = (step * paired_tiles + tile) * TILE_STEP + row * ROW;
                    start..start + TILE_STEP / 2 + ROW
                };
                // SAFETY: readable by contract over every segment; what was gathered is as long as all steps.
                unsafe {
                    if fills_steps {
                        for segment in rows.segments {
                            let input = rows.pointers[segment.tap * rows.stride + position].add(segment.channel);
                            for part in 0..segment.length / TILE_CHANNELS {
                                split_row(input.add(part * TILE_CHANNELS), &mut values[place(step)]);
                                step += 1;
                            }
                        }
                    } else {
                        let mut filled = 0;
                        for segment in rows.segments {
                            let input = rows.pointers[segment.tap * rows.stride + position].add(segment.channel);
                            let input = std::slice::from_raw_parts(input, segment.length);
                            gathered[filled..filled + segment.length].copy_from_slice(input);
                            filled += segment.length;
                        }
                        for part in 0..steps {
                            split_row(gathered[part * TILE_CHANNELS..][..TILE_CHANNELS].as_ptr(), &mut values[place(part)]);
                        }
                    }
                }
            }
        }
    }
}

/// Splits 32 values: the upper halves to the beginning of `target`, the lower ones to its end.
///
/// # Safety
/// The processor must have AVX-512 with BF16, and 32 values be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn split_row(input: *const f32, target: &mut [f32]) {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_castsi512_ps, _mm512_castsi512_si256, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
        _mm512_extracti64x4_epi64, _mm512_loadu_ps, _mm512_slli_epi32, _mm512_storeu_si512, _mm512_sub_ps,
    };
    assert!(target.len() == TILE_STEP / 2 + ROW, "a row of either half");
    // SAFETY: 32 values are readable by contract; the stores take the first and the last 16 places of the target.
    unsafe {
        let (first, second): (__m512, __m512) = (_mm512_loadu_ps(input), _mm512_loadu_ps(input.add(16)));
        let upper: __m512i = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
        let widened = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        let first = _mm512_sub_ps(first, widened(_mm512_castsi512_si256(upper)));
        let second = _mm512_sub_ps(second, widened(_mm512_extracti64x4_epi64::<1>(upper)));
        let lower: __m512i = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
        _mm512_storeu_si512(target.as_mut_ptr().cast(), upper);
        _mm512_storeu_si512(target.as_mut_ptr().add(TILE_STEP / 2).cast(), lower);
    }
}

/// The arguments of a product of one or two tiles of positions with a panel.
#[derive(Clone, Copy)]
struct Product {
    inputs: *const f32,
    panel: *const f32,
    /// What is fetched meanwhile; any address will do.
    ahead: *const f32,
    steps: usize,
    sums: *mut f32,
    /// From one position's sums to the next, bytes.
    stride: usize,
    accumulate: bool,
}

/// 32 positions × 32 outputs. Tiles 0 to 3 are the sums (upper left, upper right, lower left, lower right of the block), 4 and 5 the
/// inputs, 6 and 7 the weights. Both this and [`multiply_single`] add the products of a position in one order: of every step first
/// upper inputs · lower weights, then upper · upper, then lower · upper.
///
/// # Safety
/// The tiles are configured; the inputs as long as two tiles of the steps, at least one, and the panel as long as the steps; the sums 32
/// rows at the stride.
#[inline]
unsafe fn multiply_pair(product: Product) {
    let Product { inputs, panel, ahead, steps, sums, stride, accumulate } = product;
    // SAFETY: the addresses are readable and writable by contract. The tiles are declared as clobbered, and hold nothing before or
    // after: loads, sums and stores are within this one block.
    unsafe {
        std::arch::asm!(
            "mov {below}, {stride}",
            "shl {below}, 4",
            "add {below}, {sums}",
            "test {accumulate}, {accumulate}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {stride}]",
            "tileloadd tmm1, [{sums} + {stride} + 64]",
            "tileloadd tmm2, [{below} + {stride}]",
            "tileloadd tmm3, [{below} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "prefetcht1 [{ahead}]",
            "prefetcht1 [{ahead} + 64]",
            "prefetcht1 [{ahead} + 128]",
            "prefetcht1 [{ahead} + 192]",
            "tileloaddt1 tmm4, [{inputs} + {row}]",
            "tileloadd tmm6, [{panel} + 2 * {row} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloaddt1 tmm5, [{inputs} + {row} + 2048]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{panel} + 2 * {row} + 2112]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "prefetcht1 [{ahead} + 256]",
            "prefetcht1 [{ahead} + 320]",
            "prefetcht1 [{ahead} + 384]",
            "prefetcht1 [{ahead} + 448]",
            "tileloadd tmm6, [{panel} + 2 * {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{panel} + 2 * {row} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloaddt1 tmm4, [{inputs} + {row} + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloaddt1 tmm5, [{inputs} + {row} + 3072]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {ahead}, 512",
            "add {inputs}, 4096",
            "add {panel}, 4096",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{sums} + {stride}], tmm0",
            "tilestored [{sums} + {stride} + 64], tmm1",
            "tilestored [{below} + {stride}], tmm2",
            "tilestored [{below} + {stride} + 64], tmm3",
            sums = in(reg) sums,
            stride = in(reg) stride,
            accumulate = in(reg) usize::from(accumulate),
            inputs = inout(reg) inputs => _,
            panel = inout(reg) panel => _,
            ahead = inout(reg) ahead => _,
            steps = inout(reg) steps => _,
            row = in(reg) ROW_BYTES,
            below = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// 16 positions × 32 outputs: the upper half of [`multiply_pair`].
///
/// # Safety
/// As there, with one tile of inputs and 16 rows of sums.
#[inline]
unsafe fn multiply_single(product: Product) {
    let Product { inputs, panel, steps, sums, stride, accumulate, .. } = product;
    // SAFETY: as in `multiply_pair`.
    unsafe {
        std::arch::asm!(
            "test {accumulate}, {accumulate}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {stride}]",
            "tileloadd tmm1, [{sums} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "3:",
            "tileloaddt1 tmm4, [{inputs} + {row}]",
            "tileloadd tmm6, [{panel} + 2 * {row} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{panel} + 2 * {row} + 2112]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm6, [{panel} + 2 * {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{panel} + 2 * {row} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloaddt1 tmm4, [{inputs} + {row} + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {inputs}, 2048",
            "add {panel}, 4096",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{sums} + {stride}], tmm0",
            "tilestored [{sums} + {stride} + 64], tmm1",
            sums = in(reg) sums,
            stride = in(reg) stride,
            accumulate = in(reg) usize::from(accumulate),
            inputs = inout(reg) inputs => _,
            panel = inout(reg) panel => _,
            steps = inout(reg) steps => _,
            row = in(reg) ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_hold_sixteen_bits() {
        for value in [0.0, -0.0, 1.0, -1.0, 1.0 / 3.0, std::f32::consts::PI * 1e20, -7.123_456e-20, 65_504.0, 1.003_906_3] {
            let (upper, lower) = split(value);
            let rest = f64::from(value) - (f64::from(upper.widen()) + f64::from(lower.widen()));
            assert!(rest.abs() <= f64::from(value.abs()) * 2.0_f64.powi(-16), "{value}: {upper} + {lower}");
        }
    }

    #[test]
    fn inputs_are_split_as_weights_are() {
        if !amx::is_available() {
            println!("skipped: this processor has no matrix unit");
            return;
        }
        let special = [0.0, -0.0, 1e30, -1e30, 1e-30, 1.003_906_3, -7.123_456, 1.0 / 3.0];
        let values: Vec<f32> =
            (0..TILE_CHANNELS).map(|k| if k < special.len() { special[k] } else { ((k * k) as f32).sin() }).collect();
        let mut target = vec![0.0; TILE_STEP / 2 + ROW];
        // SAFETY: a processor with the matrix unit and these kernels has AVX-512 with BF16; there are 32 values.
        unsafe { split_row(values.as_ptr(), &mut target) };
        for (pair, halves) in values.chunks_exact(2).enumerate() {
            let [first, second] = [halves[0], halves[1]].map(split);
            let placed = [target[pair], target[TILE_STEP / 2 + pair]].map(f32::to_bits);
            assert_eq!(placed, [paired(first.0, second.0), paired(first.1, second.1)].map(f32::to_bits), "{halves:?}");
        }
    }

    #[test]
    fn sealed_panels_pair_their_k_with_the_upper_halves_first() {
        let panel: Vec<f32> = (0..2 * PANEL_STEP).map(|index| (index as f32).sqrt()).collect();
        let mut sealed = panel.clone();
        SplitMatrixUnit::seal(&mut sealed);
        for (k, lane) in [(0, 0), (1, 0), (0, 1), (31, 31), (32, 5), (45, 17), (63, 31)] {
            let (upper, lower) = split(panel[k * PANEL + lane]);
            let place = k / TILE_CHANNELS * PANEL_STEP + k % TILE_CHANNELS / 2 * PANEL + lane;
            let half = |place: usize| (sealed[place].to_bits() >> (16 * (k % 2))) as u16;
            assert_eq!((half(place), half(place + PANEL_STEP / 2)), (upper.to_bits(), lower.to_bits()), "{k}, {lane}");
        }
    }
}
