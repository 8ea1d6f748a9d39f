//! Weights in the order in which the kernels read them.

use half::bf16;
use rayon::prelude::*;

use super::KernelPath;
use super::kernel::{Kernel, Segment};
use super::loops::PANEL;
use super::mapped::{Floats, MappedPiece, Parameters};
use super::math::Lane;
use super::memory::{AlignedMemory, as_bytes};
use super::tile::Vectors;
use crate::error::{Error, Result};

/// Raised whenever the same weights come to lie differently: packed weights that were kept are then packed again.
const PACKING_VERSION: u32 = 3;

/// What the place of a packed weight follows from, besides the shape of its layer.
pub(crate) fn packing_format() -> String {
    let blocks = [Grain::F32, Grain::BF16, Grain::AMX, Grain::SPLIT].map(|grain| grain.block);
    format!("{PACKING_VERSION}: panels of {PANEL}, blocks of {blocks:?}")
}

/// What the blocks of K follow from.
#[derive(Clone, Copy, Debug)]
struct Grain {
    /// See [`Kernel::GROUP`].
    group: usize,
    /// See [`Kernel::STEP`].
    step: usize,
    /// See [`Kernel::BLOCK`].
    block: usize,
}

impl Grain {
    const F32: Self = Self::of::<Vectors<f32>>();
    const BF16: Self = Self::of::<Vectors<bf16>>();
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    const AMX: Self = Self::of::<super::amx::MatrixUnit>();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    const AMX: Self = Self::BF16;
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    const SPLIT: Self = Self::of::<super::split::SplitMatrixUnit>();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    const SPLIT: Self = Self::F32;

    const fn of<K: Kernel>() -> Self {
        Self { group: K::GROUP, step: K::STEP, block: K::BLOCK }
    }
}

/// A block of K: a few segments whose weights lie together, panel by panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The channels and taps.
    pub(crate) segments: Vec<Segment>,
    /// Their lengths together, filled up with zeros to what the kernel takes at a time.
    pub(crate) depth: usize,
    /// Where the first panel starts, in values.
    pub(crate) offset: usize,
}

impl Block {
    /// A panel of this block among all weights.
    pub(crate) fn panel<'a, T>(&self, weights: &'a [T], panel: usize) -> &'a [T] {
        let length = self.depth * PANEL;
        &weights[self.offset + panel * length..self.offset + (panel + 1) * length]
    }
}

/// How the values are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// `[K block][panel of 32 outputs][k][32]`, f32.
    Panels,
    /// The same with pairs of k interleaved, bf16.
    PairedPanels,
    /// As [`Arrangement::Panels`], every 32 k sealed by the matrix unit's kernel for f32: values as two bf16.
    SplitPanels,
    /// `[tap][channel][output]`, f32, for the `gemm` crate.
    Plain,
}

/// How the weights of a convolution or of a linear layer (one tap) lie in memory.
#[derive(Clone, Debug)]
pub(crate) struct MatrixLayout {
    arrangement: Arrangement,
    /// Packed weights, in values.
    length: usize,
    blocks: Vec<Block>,
    in_channels: usize,
    taps: usize,
    weight_rows: usize,
    /// Outputs, padded to whole panels.
    columns: usize,
    gated: bool,
    /// Whether the weights are rounded to bf16.
    half: bool,
}

/// The weights of a layer in their layout, with their bias.
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    layout: MatrixLayout,
    weights: Parameters,
    bias: Floats,
    zeros: AlignedMemory,
}

/// Fills a [`PackedMatrix`].
#[derive(Debug)]
pub(crate) struct MatrixPacker {
    layout: MatrixLayout,
    weights: AlignedMemory,
    bias: Vec<f32>,
}

/// Cuts K into blocks of at most the grain's: whole taps together where several fit, equal parts of a tap where one does not.
fn plan_blocks(channels: usize, taps: usize, panels: usize, grain: Grain) -> Vec<Block> {
    let Grain { group, step, block: longest } = grain;
    let channels = channels.next_multiple_of(group);
    let mut blocks = Vec::new();
    let mut offset = 0;
    let mut push = |segments: Vec<Segment>| {
        let depth = segments.iter().map(|segment| segment.length).sum::<usize>().next_multiple_of(step);
        blocks.push(Block { segments, depth, offset });
        offset += depth * PANEL * panels;
    };
    if channels <= longest {
        let together = taps.div_ceil(taps.div_ceil(longest / channels));
        for first in (0..taps).step_by(together) {
            let last = (first + together).min(taps);
            push((first..last).map(|tap| Segment { tap, channel: 0, length: channels }).collect());
        }
    } else {
        let part = channels.div_ceil(channels.div_ceil(longest)).next_multiple_of(step);
        for tap in 0..taps {
            for channel in (0..channels).step_by(part) {
                push(vec![Segment { tap, channel, length: part.min(channels - channel) }]);
            }
        }
    }
    blocks
}

impl MatrixLayout {
    /// The layout of `weight_rows` outputs of `taps · in_channels`; with `gated` the first half of the outputs are values, the second
    /// half gates (GEGLU), and a panel holds 16 of each. `half` asks for bf16; paths that do not multiply it get values that
    /// are rounded to bf16 and kept as f32.
    pub(crate) fn plan(
        path: KernelPath,
        half: bool,
        in_channels: usize,
        taps: usize,
        weight_rows: usize,
        gated: bool,
    ) -> Result<Self> {
        let refuse =
            |reason: &str| Err(Error::Device(format!("a layer of {weight_rows} × {taps} × {in_channels} weights {reason}")));
        if in_channels == 0 || taps == 0 || weight_rows == 0 {
            return refuse("has nothing in it");
        }
        if gated && !weight_rows.is_multiple_of(2) {
            return refuse("cannot be halved into values and gates");
        }
        let panels = if gated { (weight_rows / 2).div_ceil(PANEL / 2) } else { weight_rows.div_ceil(PANEL) };
        let arrangement = match (path, half) {
            (KernelPath::Gemm, _) => Arrangement::Plain,
            (path, true) if path.multiplies_bf16() => Arrangement::PairedPanels,
            (KernelPath::AmxBf16, false) => Arrangement::SplitPanels,
            _ => Arrangement::Panels,
        };
        let grain = match (path, arrangement) {
            (KernelPath::AmxBf16, Arrangement::PairedPanels) => Grain::AMX,
            (_, Arrangement::PairedPanels) => Grain::BF16,
            (_, Arrangement::SplitPanels) => Grain::SPLIT,
            (_, Arrangement::Panels | Arrangement::Plain) => Grain::F32,
        };
        // the most that steps can make of it, where every tap is a block
        let Some(most) = in_channels
            .checked_next_multiple_of(grain.step)
            .and_then(|channels| channels.checked_mul(taps))
            .and_then(|depth| depth.checked_mul(panels * PANEL))
            .filter(|length| *length < usize::MAX / 16)
        else {
            return refuse("is too large");
        };
        let (length, blocks) = match arrangement {
            Arrangement::Panels | Arrangement::PairedPanels | Arrangement::SplitPanels => {
                let blocks = plan_blocks(in_channels, taps, panels, grain);
                (blocks.iter().map(|block| block.depth).sum::<usize>() * panels * PANEL, blocks)
            }
            Arrangement::Plain => (most, Vec::new()),
        };
        Ok(Self { arrangement, length, blocks, in_channels, taps, weight_rows, columns: panels * PANEL, gated, half })
    }

    /// Memory of that layout, all zeros.
    pub(crate) fn packer(self) -> Result<MatrixPacker> {
        let weights = AlignedMemory::zeroed(self.weights_bytes())?;
        Ok(MatrixPacker { weights, bias: vec![0.0; self.columns], layout: self })
    }

    /// Packed weights, in bytes.
    pub(crate) const fn weights_bytes(&self) -> usize {
        self.length * self.value_bytes()
    }

    /// The packed bias, in bytes.
    pub(crate) const fn bias_bytes(&self) -> usize {
        self.columns * size_of::<f32>()
    }

    const fn value_bytes(&self) -> usize {
        match self.arrangement {
            Arrangement::Panels | Arrangement::SplitPanels | Arrangement::Plain => size_of::<f32>(),
            Arrangement::PairedPanels => size_of::<bf16>(),
        }
    }
}

impl MatrixPacker {
    /// Packs `values` (`[rows, in_channels, taps]`, torch's order) as the weight rows from `first_row` on.
    pub(crate) fn pack(&mut self, values: &[f32], first_row: usize) -> Result<()> {
        let Self { layout, weights, .. } = self;
        let row_length = layout.in_channels * layout.taps;
        let rows = values.len() / row_length;
        if rows * row_length != values.len() || first_row + rows > layout.weight_rows {
            return Err(Error::Device(format!(
                "{} weights do not fill whole rows of {row_length} from row {first_row} of {}",
                values.len(),
                layout.weight_rows
            )));
        }
        let source = Source { values, first_row, rows, channels: layout.in_channels, taps: layout.taps };
        let (gated, half_rows) = (layout.gated, layout.weight_rows / 2);
        let weight_row = |column: usize| weight_row(column, gated, half_rows);
        let MatrixLayout { columns, half, length, ref blocks, .. } = *layout;
        match layout.arrangement {
            Arrangement::Panels | Arrangement::SplitPanels => {
                pack_panels::<f32>(Grain::F32.group, blocks, weights.values_mut(length), columns, &source, weight_row, half);
            }
            Arrangement::PairedPanels => {
                pack_panels::<bf16>(Grain::BF16.group, blocks, weights.values_mut(length), columns, &source, weight_row, half);
            }
            Arrangement::Plain => pack_plain(weights.values_mut(length), columns, &source, weight_row, half),
        }
        Ok(())
    }

    /// Sets the bias of the weight rows from `first_row` on.
    pub(crate) fn pack_bias(&mut self, values: &[f32], first_row: usize) {
        let (gated, half_rows) = (self.layout.gated, self.layout.weight_rows / 2);
        for (column, bias) in self.bias.iter_mut().enumerate() {
            let value =
                weight_row(column, gated, half_rows).and_then(|row| row.checked_sub(first_row)).and_then(|row| values.get(row));
            if let Some(value) = value {
                *bias = *value;
            }
        }
    }

    /// Brings the weights into their last order; after every part was packed.
    pub(crate) fn seal(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.layout.arrangement == Arrangement::SplitPanels {
            // every panel is whole steps
            let panels = self.weights.values_mut::<f32>(self.layout.length).par_chunks_mut(Grain::SPLIT.step * PANEL);
            panels.for_each(super::split::SplitMatrixUnit::seal);
        }
    }

    /// The packed weights as they lie in memory.
    pub(crate) fn weights_as_bytes(&self) -> &[u8] {
        self.weights.values(self.layout.weights_bytes())
    }

    /// The packed bias as it lies in memory.
    pub(crate) fn bias_as_bytes(&self) -> &[u8] {
        as_bytes(&self.bias)
    }

    /// The matrix, in memory of its own.
    pub(crate) fn finish(self) -> Result<PackedMatrix> {
        PackedMatrix::new(self.layout, Parameters::Owned(self.weights), Floats::Owned(self.bias))
    }
}

impl PackedMatrix {
    /// A matrix that was packed in this layout before: pieces of as many bytes as the layout says.
    pub(crate) fn mapped(layout: MatrixLayout, weights: MappedPiece, bias: MappedPiece) -> Result<Self> {
        Self::new(layout, Parameters::Mapped(weights), Floats::Mapped(bias))
    }

    fn new(layout: MatrixLayout, weights: Parameters, bias: Floats) -> Result<Self> {
        let zeros = AlignedMemory::zeroed((layout.in_channels + 1) * layout.value_bytes())?;
        Ok(Self { layout, weights, bias, zeros })
    }

    /// Channels of the result.
    pub(crate) fn out_channels(&self) -> usize {
        if self.layout.gated { self.layout.weight_rows / 2 } else { self.layout.weight_rows }
    }

    /// Channels of the input.
    pub(crate) const fn in_channels(&self) -> usize {
        self.layout.in_channels
    }

    /// Taps of the convolution; 1 for a linear layer.
    pub(crate) const fn taps(&self) -> usize {
        self.layout.taps
    }

    /// Whether a panel is 16 values and 16 gates.
    pub(crate) const fn gated(&self) -> bool {
        self.layout.gated
    }

    /// The arrangement.
    pub(crate) const fn arrangement(&self) -> Arrangement {
        self.layout.arrangement
    }

    /// The blocks of K; none in the plain arrangement.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.layout.blocks
    }

    /// Columns, padded to whole panels.
    pub(crate) const fn columns(&self) -> usize {
        self.layout.columns
    }

    /// The bias, one per column.
    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The packed weights; `T` must be the arrangement's type.
    pub(crate) fn weights<T: Lane>(&self) -> &[T] {
        self.weights.values(self.layout.length)
    }

    /// A row of zeros as long as a position of the input, rounded up to a pair.
    pub(crate) fn zeros<T: Lane>(&self) -> &[T] {
        self.zeros.values(self.layout.in_channels + 1)
    }
}

/// The weight row that a packed column holds, before asking whether there is one.
fn weight_row(column: usize, gated: bool, half_rows: usize) -> Option<usize> {
    if !gated {
        return Some(column);
    }
    let (panel, lane) = (column / PANEL, column % PANEL);
    let index = panel * (PANEL / 2) + lane % (PANEL / 2);
    (index < half_rows).then_some(if lane < PANEL / 2 { index } else { half_rows + index })
}

/// Weights as published.
struct Source<'a> {
    values: &'a [f32],
    first_row: usize,
    rows: usize,
    channels: usize,
    taps: usize,
}

impl<'a> Source<'a> {
    /// The values of a weight row, if this source has it: `[channel][tap]`.
    fn row(&self, weight_row: Option<usize>) -> Option<&'a [f32]> {
        let row = weight_row?.checked_sub(self.first_row).filter(|row| *row < self.rows)?;
        let length = self.channels * self.taps;
        self.values.get(row * length..(row + 1) * length)
    }
}

fn pack_panels<T: Lane>(
    group: usize,
    blocks: &[Block],
    mut memory: &mut [T],
    columns: usize,
    source: &Source<'_>,
    weight_row: impl Fn(usize) -> Option<usize> + Sync,
    half: bool,
) {
    let mut jobs = Vec::new();
    for block in blocks {
        let (these, rest) = std::mem::take(&mut memory).split_at_mut(block.depth * columns);
        memory = rest;
        jobs.extend(these.chunks_exact_mut(block.depth * PANEL).enumerate().map(|(panel, target)| (block, panel, target)));
    }
    jobs.into_par_iter().for_each(|(block, panel, target)| {
        for lane in 0..PANEL {
            let Some(row) = source.row(weight_row(panel * PANEL + lane)) else { continue };
            let mut before = 0;
            for segment in &block.segments {
                let channels = segment.channel..(segment.channel + segment.length).min(source.channels);
                for (k, channel) in channels.enumerate() {
                    let depth = before + k;
                    let index = depth / group * group * PANEL + lane * group + depth % group;
                    target[index] = T::narrow(rounded(row[channel * source.taps + segment.tap], half));
                }
                before += segment.length;
            }
        }
    });
}

fn pack_plain(
    memory: &mut [f32],
    columns: usize,
    source: &Source<'_>,
    weight_row: impl Fn(usize) -> Option<usize> + Sync,
    half: bool,
) {
    /// Channels that one task transposes together: a cache line of the source.
    const TOGETHER: usize = 16;
    for (tap, target) in memory.chunks_exact_mut(source.channels * columns).take(source.taps).enumerate() {
        target.par_chunks_mut(TOGETHER * columns).enumerate().for_each(|(part, target)| {
            for column in 0..columns {
                let Some(row) = source.row(weight_row(column)) else { continue };
                for (k, target) in target.chunks_exact_mut(columns).enumerate() {
                    target[column] = rounded(row[(part * TOGETHER + k) * source.taps + tap], half);
                }
            }
        });
    }
}

/// `value`, rounded to bf16 when asked.
fn rounded(value: f32, half: bool) -> f32 {
    if half { bf16::narrow(value).widen() } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_k_once_and_stay_short() {
        for (channels, taps) in [(4, 9), (9, 9), (3, 1), (128, 9), (320, 9), (640, 1), (1281, 4), (224, 1), (225, 1), (1, 1)] {
            for grain in [Grain::F32, Grain::BF16, Grain::AMX, Grain::SPLIT] {
                let Grain { group, step, block: longest } = grain;
                let blocks = plan_blocks(channels, taps, 3, grain);
                let mut seen = vec![0; channels.next_multiple_of(group) * taps];
                let mut offset = 0;
                for block in &blocks {
                    assert_eq!(block.offset, offset);
                    assert!(block.depth <= longest && block.depth.is_multiple_of(step));
                    for segment in &block.segments {
                        assert!(segment.length.is_multiple_of(group));
                        for channel in segment.channel..segment.channel + segment.length {
                            seen[segment.tap * channels.next_multiple_of(group) + channel] += 1;
                        }
                    }
                    offset += block.depth * 3 * PANEL;
                }
                assert!(seen.iter().all(|count| *count == 1), "{channels} channels, {taps} taps");
            }
        }
    }

    #[test]
    fn gated_columns_pair_values_with_their_gates() {
        assert_eq!(weight_row(0, true, 20), Some(0));
        assert_eq!(weight_row(16, true, 20), Some(20));
        assert_eq!(weight_row(35, true, 20), Some(19));
        assert_eq!(weight_row(51, true, 20), Some(39));
        assert_eq!(weight_row(36, true, 20), None);
    }
}
