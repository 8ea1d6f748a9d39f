//! The kernel of Intel's matrix unit (AMX): 32 positions × 32 outputs in four tile registers, 32 k an instruction.
//!
//! A tile register holds 16 rows of 64 bytes. One load takes 16 positions, at a regular distance, over 32 channels; or 16 outputs
//! over 16 pairs of k, which is how the packed weights lie. Positions at irregular distances (where a line of a picture ends, at its
//! padding) and channels that do not fill a load are gathered first, once for all panels of a task.

use std::sync::{Arc, OnceLock};

use half::bf16;

use super::kernel::{Kernel, Rows, Segment, Sums};
use super::loops::PANEL;
use super::math::Lane;
use crate::error::Result;
use crate::ops::arena::{Arena, Scratch};

/// Rows of a tile register: positions of the inputs, pairs of k of the weights.
pub(super) const TILE_ROWS: usize = 16;
/// Channels of a load: 64 bytes.
pub(super) const TILE_CHANNELS: usize = 32;

/// Weights of the next panel that every step of a pair of tiles fetches ahead: eight pairs fetch all of it.
const STEP_AHEAD: usize = TILE_CHANNELS * PANEL / 8;

/// Whether this processor has the matrix unit with bf16, and the system lets this process use it. Asks once.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| processor_has_tiles() && system_saves_tiles() && system_permits_tiles())
}

/// CPUID leaf 7: AMX-BF16 is bit 22, AMX-TILE bit 24 of EDX.
fn processor_has_tiles() -> bool {
    const BITS: u32 = 1 << 22 | 1 << 24;
    std::arch::x86_64::__get_cpuid_max(0).0 >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & BITS == BITS
}

/// XCR0 bits 17 and 18: the system saves the tiles' configuration and contents when it switches threads.
fn system_saves_tiles() -> bool {
    #[target_feature(enable = "xsave")]
    fn enabled_states() -> u64 {
        // SAFETY: called only where the system enabled XSAVE; register 0 exists there.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    const BITS: u64 = 1 << 17 | 1 << 18;
    // CPUID leaf 1, ECX bit 27: the system enabled XSAVE.
    let enabled = std::arch::x86_64::__cpuid(1).ecx & 1 << 27 != 0;
    // SAFETY: XSAVE is enabled, so the processor has XGETBV.
    enabled && unsafe { enabled_states() } & BITS == BITS
}

/// Linux lets a process use the tiles only after it asked: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, which holds for all
/// threads, those of the future included. Systems older than that refuse.
fn system_permits_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of the process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// `LDTILECFG`'s memory: palette 1, and for every tile its bytes a row and its rows.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles at their full size.
static CONFIGURATION: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        row_bytes[tile] = 64;
        rows[tile] = 16;
        tile += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// The tiles of this thread, configured. Released when dropped: the system then has less to save, and the core may rest deeper.
pub(crate) struct Session {
    // the configuration belongs to the thread
    thread: std::marker::PhantomData<*const ()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session exists only where the processor has the tiles, and nobody else on this thread uses them.
        unsafe { std::arch::asm!("tilerelease", options(nostack, preserves_flags)) };
    }
}

/// What a pair of tiles of positions loads: `steps` times 32 channels from either pointer on, rows at the strides in bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Piece {
    upper: *const bf16,
    upper_stride: isize,
    lower: *const bf16,
    lower_stride: isize,
    steps: usize,
}

/// The inputs of a block as tiles.
pub(crate) struct Tiles<'a> {
    /// `[pair of tiles][segment]`.
    pieces: Vec<Piece>,
    /// Pieces of a pair.
    pieces_per_pair: usize,
    /// Tiles of positions. The lower tile of the last pair is missing where they are odd.
    count: usize,
    /// K of the block.
    depth: usize,
    /// Keeps what was gathered alive: the pieces point into it.
    _gathered: Option<Scratch<bf16>>,
    borrow: std::marker::PhantomData<&'a [bf16]>,
}

/// Rows of a tile over one segment.
enum Source {
    /// At a regular distance in bytes.
    Regular(*const bf16, isize),
    /// Everywhere: to be copied to this place among what is gathered, in rows of so many values.
    Scattered(usize, usize),
}

/// The kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixUnit;

impl Kernel for MatrixUnit {
    type Value = bf16;
    type Session = Session;
    type Inputs<'a> = Tiles<'a>;

    const GROUP: usize = 2;
    const STEP: usize = TILE_CHANNELS;
    // a panel of 20 KB
    const BLOCK: usize = 320;
    // inputs of at most 819 KB, in a second-level cache of 2 MB
    const CHUNK: usize = 1280;
    const HEIGHT: usize = TILE_ROWS;
    const TASK_POSITIONS: usize = 320;
    const TASK_PANELS: usize = 40;
    const TASK_QUERIES: usize = 64;
    // beside these products, what the softmax does once a block counts
    const TASK_KEYS: usize = 512;

    unsafe fn begin() -> Session {
        // SAFETY: the processor has the tiles by contract, and the configuration is 64 bytes of palette 1.
        unsafe {
            std::arch::asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, preserves_flags, readonly));
        }
        Session { thread: std::marker::PhantomData }
    }

    unsafe fn prepare<'a>(arena: &Arc<Arena>, rows: Rows<'a, bf16>) -> Result<Tiles<'a>> {
        // SAFETY: passed on.
        unsafe { Tiles::new(arena, rows) }
    }

    unsafe fn multiply(_session: &Session, inputs: &Tiles<'_>, panel: &[bf16], next: &[bf16], sums: Sums<'_>) {
        let Sums { values, stride, accumulate } = sums;
        assert!(inputs.depth * PANEL <= panel.len(), "weights for every k");
        let height = inputs.count * TILE_ROWS;
        assert!(height > 0 && stride >= PANEL && (height - 1) * stride + PANEL <= values.len(), "sums for every position");
        for (pair, pieces) in inputs.pieces.chunks_exact(inputs.pieces_per_pair).enumerate() {
            let sums = values[pair * 2 * TILE_ROWS * stride..].as_mut_ptr();
            let stride = stride * size_of::<f32>();
            let ahead = next.get(pair * inputs.depth / TILE_CHANNELS * STEP_AHEAD..).unwrap_or(panel).as_ptr();
            // SAFETY: weights and sums are in bounds by the assertions, the pieces by construction while what they were made from
            // is readable; the session configured the tiles.
            unsafe {
                if 2 * pair + 2 <= inputs.count {
                    multiply_pair(pieces, panel.as_ptr(), ahead, sums, stride, accumulate);
                } else {
                    multiply_single(pieces, panel.as_ptr(), sums, stride, accumulate);
                }
            }
        }
    }

    fn as_f32(_values: &[bf16]) -> Option<&[f32]> {
        None
    }
}

impl<'a> Tiles<'a> {
    /// # Safety
    /// As for [`Kernel::prepare`].
    unsafe fn new(arena: &Arc<Arena>, rows: Rows<'a, bf16>) -> Result<Self> {
        let Rows { segments, count, .. } = rows;
        let tiles = count.div_ceil(TILE_ROWS);
        let depth = segments.iter().map(|segment| segment.length).sum::<usize>().next_multiple_of(TILE_CHANNELS);
        let fills_loads = segments.iter().all(|segment| segment.length > 0 && segment.length.is_multiple_of(TILE_CHANNELS));
        let pieces_per_tile = if fills_loads { segments.len() } else { 1 };

        let mut sources = Vec::with_capacity(tiles * pieces_per_tile);
        let mut length = 0;
        let mut scattered = |width: usize| {
            let source = Source::Scattered(length, width);
            length += TILE_ROWS * width;
            source
        };
        for tile in 0..tiles {
            if fills_loads {
                for segment in segments {
                    let source = regular(tile_pointers(&rows, segment, tile), segment.channel);
                    sources.push(source.unwrap_or_else(|| scattered(segment.length)));
                }
            } else {
                sources.push(scattered(depth));
            }
        }

        let mut gathered = if length > 0 { Some(arena.take::<bf16>(length)?) } else { None };
        let mut found = Vec::with_capacity(sources.len());
        for (index, source) in sources.into_iter().enumerate() {
            found.push(match (source, &mut gathered) {
                (Source::Regular(pointer, stride), _) => (pointer, stride),
                (Source::Scattered(start, width), gathered) => {
                    let (tile, piece) = (index / pieces_per_tile, index % pieces_per_tile);
                    let segments = if fills_loads { &segments[piece..=piece] } else { segments };
                    let target = gathered.as_deref_mut().map_or(&mut [][..], |all| &mut all[start..start + TILE_ROWS * width]);
                    // SAFETY: passed on.
                    unsafe { gather(&rows, segments, tile, target, width) };
                    (target.as_ptr(), (width * size_of::<bf16>()) as isize)
                }
            });
        }

        let mut pieces = Vec::with_capacity(tiles.div_ceil(2) * pieces_per_tile);
        for pair in found.chunks(2 * pieces_per_tile) {
            for piece in 0..pieces_per_tile {
                let (upper, upper_stride) = pair[piece];
                let (lower, lower_stride) = pair.get(pieces_per_tile + piece).copied().unwrap_or((upper, upper_stride));
                let steps = if fills_loads { segments[piece].length } else { depth } / TILE_CHANNELS;
                pieces.push(Piece { upper, upper_stride, lower, lower_stride, steps });
            }
        }
        let borrow = std::marker::PhantomData;
        Ok(Self { pieces, pieces_per_pair: pieces_per_tile.max(1), count: tiles, depth, _gathered: gathered, borrow })
    }
}

/// The row pointers of a tile at the tap of a segment.
fn tile_pointers<'a>(rows: &Rows<'a, bf16>, segment: &Segment, tile: usize) -> &'a [*const bf16] {
    &rows.pointers[segment.tap * rows.stride + tile * TILE_ROWS..][..TILE_ROWS]
}

/// The rows as a regular load, if they are one.
fn regular(pointers: &[*const bf16], channel: usize) -> Option<Source> {
    let distance = |pair: &[*const bf16]| pair[1].addr().wrapping_sub(pair[0].addr()).cast_signed();
    let stride = distance(pointers);
    let first = pointers[0].wrapping_add(channel);
    pointers.windows(2).all(|pair| distance(pair) == stride).then_some(Source::Regular(first, stride))
}

/// Copies the rows of a tile, segment after segment, to rows of `width` values with zeros at their ends.
///
/// # Safety
/// The pointers of the tile must be readable over the channels of the segments.
unsafe fn gather(rows: &Rows<'_, bf16>, segments: &[Segment], tile: usize, target: &mut [bf16], width: usize) {
    for (row, target) in target.chunks_exact_mut(width).enumerate() {
        let mut filled = 0;
        for segment in segments {
            let pointer = tile_pointers(rows, segment, tile)[row];
            // SAFETY: readable by contract.
            let values = unsafe { std::slice::from_raw_parts(pointer.add(segment.channel), segment.length) };
            target[filled..filled + segment.length].copy_from_slice(values);
            filled += segment.length;
        }
        target[filled..].fill(bf16::narrow(0.0));
    }
}

/// 32 positions × 32 outputs. Tiles 0 to 3 are the sums (upper left, upper right, lower left, lower right), 4 and 5 the inputs, 6 and
/// 7 the weights. Both this and [`multiply_single`] add the k of a position in one order.
///
/// # Safety
/// The tiles are configured; the pieces readable; the weights as long as their steps; the sums 32 rows at `sums_stride` bytes. `ahead` may
/// be any address: what is there is fetched, not read.
#[inline]
unsafe fn multiply_pair(
    pieces: &[Piece],
    weights: *const bf16,
    ahead: *const bf16,
    sums: *mut f32,
    sums_stride: usize,
    accumulate: bool,
) {
    // SAFETY: the addresses are readable and writable by contract. The tiles are declared as clobbered, and hold nothing before or
    // after: loads, sums and stores are within this one block.
    unsafe {
        std::arch::asm!(
            "test {steps}, {steps}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {sums_stride}]",
            "tileloadd tmm1, [{sums} + {sums_stride} + 64]",
            "mov {lower}, {sums_stride}",
            "shl {lower}, 4",
            "add {lower}, {sums}",
            "tileloadd tmm2, [{lower} + {sums_stride}]",
            "tileloadd tmm3, [{lower} + {sums_stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "mov {upper}, [{piece}]",
            "mov {upper_stride}, [{piece} + 8]",
            "mov {lower}, [{piece} + 16]",
            "mov {lower_stride}, [{piece} + 24]",
            "mov {steps}, [{piece} + 32]",
            "add {piece}, 40",
            "4:",
            "prefetcht1 [{ahead}]",
            "prefetcht1 [{ahead} + 64]",
            "prefetcht1 [{ahead} + 128]",
            "prefetcht1 [{ahead} + 192]",
            "tileloaddt1 tmm4, [{upper} + {upper_stride}]",
            "tileloadd tmm6, [{weights} + {weights_stride}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{weights} + {weights_stride} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloaddt1 tmm5, [{lower} + {lower_stride}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {ahead}, 256",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {weights}, 2048",
            "dec {steps}",
            "jnz 4b",
            "dec {pieces}",
            "jnz 3b",
            "tilestored [{sums} + {sums_stride}], tmm0",
            "tilestored [{sums} + {sums_stride} + 64], tmm1",
            "mov {lower}, {sums_stride}",
            "shl {lower}, 4",
            "add {lower}, {sums}",
            "tilestored [{lower} + {sums_stride}], tmm2",
            "tilestored [{lower} + {sums_stride} + 64], tmm3",
            sums = in(reg) sums,
            sums_stride = in(reg) sums_stride,
            piece = inout(reg) pieces.as_ptr() => _,
            pieces = inout(reg) pieces.len() => _,
            weights = inout(reg) weights => _,
            ahead = inout(reg) ahead => _,
            weights_stride = in(reg) 2 * PANEL * size_of::<bf16>(),
            upper = out(reg) _,
            upper_stride = out(reg) _,
            lower = out(reg) _,
            lower_stride = out(reg) _,
            steps = inout(reg) usize::from(accumulate) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// 16 positions × 32 outputs: the upper half of [`multiply_pair`].
///
/// # Safety
/// As there, with 16 rows of sums.
#[inline]
unsafe fn multiply_single(pieces: &[Piece], weights: *const bf16, sums: *mut f32, sums_stride: usize, accumulate: bool) {
    // SAFETY: as in `multiply_pair`.
    unsafe {
        std::arch::asm!(
            "test {steps}, {steps}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {sums_stride}]",
            "tileloadd tmm1, [{sums} + {sums_stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "3:",
            "mov {upper}, [{piece}]",
            "mov {upper_stride}, [{piece} + 8]",
            "mov {steps}, [{piece} + 32]",
            "add {piece}, 40",
            "4:",
            "tileloaddt1 tmm4, [{upper} + {upper_stride}]",
            "tileloadd tmm6, [{weights} + {weights_stride}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{weights} + {weights_stride} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {upper}, 64",
            "add {weights}, 2048",
            "dec {steps}",
            "jnz 4b",
            "dec {pieces}",
            "jnz 3b",
            "tilestored [{sums} + {sums_stride}], tmm0",
            "tilestored [{sums} + {sums_stride} + 64], tmm1",
            sums = in(reg) sums,
            sums_stride = in(reg) sums_stride,
            piece = inout(reg) pieces.as_ptr() => _,
            pieces = inout(reg) pieces.len() => _,
            weights = inout(reg) weights => _,
            weights_stride = in(reg) 2 * PANEL * size_of::<bf16>(),
            upper = out(reg) _,
            upper_stride = out(reg) _,
            steps = inout(reg) usize::from(accumulate) => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
