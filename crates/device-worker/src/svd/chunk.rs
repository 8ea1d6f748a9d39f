//! Decoding a chunk of frames, in pieces where memory has no room for it.

use framewright_engine::latent::Latent;
use framewright_engine::{Error, Result};

use crate::task::is_out_of_memory;

/// Decodes the frames of `latent` by `decode`, at most `most` (but at least one) of them together. When the device has no memory for so
/// many, half as many are tried after `relieve`, and `most` says so for the next chunk.
pub(super) fn decode_chunk<D>(
    latent: &Latent,
    most: &mut usize,
    mut decode: impl FnMut(&Latent) -> Result<Vec<D>>,
    mut relieve: impl FnMut(),
) -> Result<Vec<D>> {
    loop {
        match decode_in_pieces(latent, *most, &mut decode) {
            Err(error) if *most > 1 && is_out_of_memory(&error) => {
                relieve();
                *most /= 2;
            }
            decoded => return decoded,
        }
    }
}

fn decode_in_pieces<D>(latent: &Latent, most: usize, mut decode: impl FnMut(&Latent) -> Result<Vec<D>>) -> Result<Vec<D>> {
    let mut decoded = Vec::with_capacity(latent.frames);
    for piece in pieces(latent, most.max(1)) {
        let frames = decode(&piece)?;
        if frames.len() != piece.frames {
            return Err(Error::Device(format!("the model decoded {} frames to {}", piece.frames, frames.len())));
        }
        decoded.extend(frames);
    }
    Ok(decoded)
}

/// The frames of a latent, `most` at a time.
fn pieces(latent: &Latent, most: usize) -> impl Iterator<Item = Latent> {
    let frame = latent.height * latent.width * latent.channels;
    latent.values.chunks((frame * most).max(1)).map(move |values| Latent {
        frames: values.len() / frame.max(1),
        values: values.to_vec(),
        ..*latent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven frames of two values, which are the frame's number.
    fn latent() -> Latent {
        let values = (0..7).flat_map(|frame| [frame as f32; 2]).collect();
        Latent { frames: 7, height: 1, width: 2, channels: 1, values }
    }

    #[test]
    fn frames_come_in_order_and_few_at_a_time() {
        for (most, expected) in [(3, vec![3, 3, 1]), (7, vec![7]), (100, vec![7]), (1, vec![1; 7]), (0, vec![1; 7])] {
            let mut calls = Vec::new();
            let decoded = decode_in_pieces(&latent(), most, |piece| {
                calls.push(piece.frames);
                Ok(piece.values.chunks(2).map(|frame| frame[0] as usize).collect())
            });
            assert_eq!(decoded.unwrap(), (0..7).collect::<Vec<_>>());
            assert_eq!(calls, expected);
        }
    }

    #[test]
    fn a_model_that_loses_frames_is_found_out() {
        let error = decode_in_pieces(&latent(), 4, |_| Ok(vec![0; 3])).unwrap_err();
        assert_eq!(error.to_string(), "device: the model decoded 4 frames to 3");
    }

    #[test]
    fn too_little_memory_is_tried_again_with_fewer_frames() {
        for (room, most, relieved) in [(7, 7, 0), (3, 3, 1), (2, 1, 2)] {
            let (mut allowed, mut relieves) = (7, 0);
            let decode = |piece: &Latent| match piece.frames {
                frames if frames > room => Err(Error::Device("out of memory".to_owned())),
                _ => Ok(piece.values.chunks(2).map(|frame| frame[0] as usize).collect()),
            };
            let decoded = decode_chunk(&latent(), &mut allowed, decode, || relieves += 1).unwrap();
            assert_eq!(decoded, (0..7).collect::<Vec<_>>());
            assert_eq!((allowed, relieves), (most, relieved));
        }
        let full = |_: &Latent| Err::<Vec<usize>, _>(Error::Device("out of memory".to_owned()));
        assert!(is_out_of_memory(&decode_chunk(&latent(), &mut 7, full, || {}).unwrap_err()));
        let broken = |_: &Latent| Err::<Vec<usize>, _>(Error::Device("broken".to_owned()));
        let error = decode_chunk(&latent(), &mut 7, broken, || panic!("there is memory")).unwrap_err();
        assert_eq!(error.to_string(), "device: broken");
    }
}
