//! The clips of a fake device.

use framewright_engine::vision::RgbPicture;
use framewright_engine::vision::resize::resize_lanczos;

use super::pattern::scaled_sides;
use crate::task::ClipRequest;

/// Motion buckets for every pixel that a frame moves further.
const BUCKETS_PER_PIXEL: u32 = 64;
/// Squares that fit along the shorter side.
const SQUARES: usize = 6;

/// `picture` in the shape of `width × height` with the longer side at most `most` pixels. Sides are even, as videos want them.
pub(super) fn first_frame(picture: &RgbPicture, width: u32, height: u32, most: u32) -> RgbPicture {
    let (width, height) = scaled_sides(width, height, most);
    let even = |side: usize| (side & !1).max(2);
    resize_lanczos(picture, even(height), even(width))
}

/// Frame `index` of a clip that begins with `first`: everything moves on round the edges, and a square of the seed's colour with it, so
/// that the frames of a picture of one colour differ too.
pub(super) fn frame(first: &RgbPicture, index: u32, request: &ClipRequest) -> RgbPicture {
    if index == 0 {
        return first.clone();
    }
    // Knuth's multiplicative hash: neighbouring seeds look different.
    let [red, green, blue, across, down, ..] = request.seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let speed = 1 + (request.motion_bucket_id / BUCKETS_PER_PIXEL) as usize;
    let (width, height) = (first.width, first.height);
    // Where the frame's upper left corner comes from.
    let moved = |pixels: u8, side: usize| (index as usize * (speed + usize::from(pixels % 3))) % side;
    let (across, down) = (moved(across, width), moved(down, height));
    let square = (width.min(height) / SQUARES).max(1);
    let mut bytes = Vec::with_capacity(first.bytes.len());
    for y in 0..height {
        for x in 0..width {
            let (from_x, from_y) = ((x + across) % width, (y + down) % height);
            if from_x < square && from_y < square {
                bytes.extend([red, green, blue]);
            } else {
                let from = (from_y * width + from_x) * 3;
                bytes.extend(first.bytes.get(from..from + 3).unwrap_or_default());
            }
        }
    }
    RgbPicture { height, width, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(seed: u64) -> ClipRequest {
        ClipRequest {
            width: 1024,
            height: 560,
            num_frames: 25,
            num_inference_steps: 2,
            min_guidance_scale: 1.0,
            max_guidance_scale: 3.0,
            fps: 7,
            motion_bucket_id: 127,
            noise_aug_strength: 0.02,
            decode_chunk_size: 8,
            seed,
        }
    }

    #[test]
    fn a_clip_begins_with_its_picture_and_every_frame_differs() {
        let grey = RgbPicture { height: 10, width: 20, bytes: vec![127; 600] };
        let first = first_frame(&grey, 1024, 560, 64);
        assert_eq!((first.width, first.height), (64, 34), "even sides");
        assert_eq!(first_frame(&first, 1024, 560, 64), first, "a frame begins the next clip as it is");
        let frames: Vec<RgbPicture> = (0..25).map(|index| frame(&first, index, &request(7))).collect();
        assert_eq!(frames[0], first);
        assert!(frames.iter().all(RgbPicture::is_whole));
        for (index, frame) in frames.iter().enumerate() {
            assert!(!frames[..index].contains(frame), "{index}");
        }
        assert_ne!(frame(&first, 1, &request(8)), frames[1]);
    }
}
