//! Channels that grow: what the convolutions of a densely connected block read and add to.
//!
//! Every convolution of such a block reads the channels of all before it. Side by side in one piece of memory from the start, with
//! room for those to come, they are written once; joined anew for each convolution, they would cost a third of its arithmetic.

use candle_core::Tensor;
use rayon::prelude::*;

use super::kernels::loops::convert;
use super::kernels::matrix::Values;
use super::kernels::pack::Arrangement;
use super::storage::{AsF32, Backend, Cpu, Storage, TASK_VALUES, declared, foreign, with_result};
use super::{Ops, Output};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// An operand whose positions have room for more channels than they hold.
#[derive(Debug)]
pub struct Growing {
    /// Rows, height and width; room for so many channels.
    room: Shape,
    /// Channels that are there.
    channels: usize,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    /// Memory for all channels.
    Cpu(Storage),
    /// `[rows, positions, channels]` each.
    Candle(Vec<Tensor>),
}

impl Growing {
    /// No channels, with room for `room.channels`.
    pub fn new(ops: &Ops, room: Shape) -> Result<Self> {
        let parts = match &ops.backend {
            Backend::Cpu(cpu) => Parts::Cpu(cpu.result(room, Output::Operand)?),
            Backend::Candle(_) => Parts::Candle(Vec::new()),
            Backend::Declaring => return Err(declared()),
        };
        Ok(Self { room, channels: 0, parts })
    }

    /// The shape, with the channels that are there.
    pub fn shape(&self) -> Shape {
        self.room.with_channels(self.channels)
    }

    /// Forgets the channels; the room stays.
    pub fn clear(&mut self) {
        self.channels = 0;
        if let Parts::Candle(parts) = &mut self.parts {
            parts.clear();
        }
    }

    /// Adds the channels of `addend`, which has the same rows and positions.
    pub fn push(&mut self, ops: &Ops, addend: &Activation) -> Result<()> {
        let Shape { channels: added, .. } = addend.shape();
        let (room, from) = (self.room.channels, self.channels);
        if addend.shape() != self.room.with_channels(added) || from + added > room {
            return Err(Error::Device(format!("{:?} does not fit beside {from} channels of {:?}", addend.shape(), self.room)));
        }
        match (&ops.backend, &mut self.parts) {
            (Backend::Cpu(cpu), Parts::Cpu(storage)) => {
                with_result!(storage, output => {
                    match addend.values()? {
                        Values::F32(values) => place(cpu, values, added, output, room, from),
                        Values::Bf16(values) => place(cpu, values, added, output, room, from),
                    }
                    Ok(())
                })?;
            }
            (Backend::Candle(_), Parts::Candle(parts)) => parts.push(addend.tensor()?),
            _ => return Err(foreign()),
        }
        self.channels += added;
        Ok(())
    }

    /// The values in the type that weights of `arrangement` are multiplied with, and how many there are from one position to the next.
    pub(crate) fn with_values<R>(
        &self,
        cpu: &Cpu,
        arrangement: Arrangement,
        call: impl FnOnce(Values<'_>, usize) -> Result<R>,
    ) -> Result<R> {
        let stride = self.room.channels;
        let values = match &self.parts {
            Parts::Cpu(Storage::F32(values)) => Values::F32(values),
            Parts::Cpu(Storage::Bf16(values)) => Values::Bf16(values),
            _ => return Err(foreign()),
        };
        if arrangement != Arrangement::PairedPanels {
            let values: AsF32<'_> = cpu.as_f32(values)?;
            return call(Values::F32(&values), stride);
        }
        if !self.channels.is_multiple_of(2) {
            return Err(Error::Device(format!("{} growing channels are no whole pairs", self.channels)));
        }
        call(values, stride)
    }

    /// `[rows, positions, channels]` on a candle device.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        match &self.parts {
            Parts::Candle(parts) => Ok(Tensor::cat(parts, 2)?),
            Parts::Cpu(_) => Err(foreign()),
        }
    }
}

/// Copies positions of `channels` values into positions of `room` values, from value `from` on.
fn place<I: super::kernels::math::Lane, O: super::kernels::math::Lane>(
    cpu: &Cpu,
    values: &[I],
    channels: usize,
    output: &mut [O],
    room: usize,
    from: usize,
) {
    if channels == 0 {
        return;
    }
    let positions = (TASK_VALUES / room).max(1);
    let tasks = output.par_chunks_mut(positions * room).zip(values.par_chunks(positions * channels));
    tasks.for_each(|(output, values)| {
        for (output, values) in output.chunks_exact_mut(room).zip(values.chunks_exact(channels)) {
            convert(cpu.kernels.level(), values, &mut output[from..from + channels]);
        }
    });
}
